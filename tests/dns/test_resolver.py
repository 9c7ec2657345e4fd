"""Packets in, packets out: what is known here, and what is asked of others."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.dns import corefile, message, relayed
from clusterip.dns.model import Endpoint, Port, Service, Slice
from clusterip.dns.resolver import Resolver, Way, is_below
from clusterip.dns.zone import Settings, Zone

PORTS = (Port(b"", b"tcp", 80),)
WEB = "web.n.svc.cluster.local"


def zone(endpoints: int = 0) -> Zone:
    zone = Zone(Settings())
    zone.put_namespace("n", True, 1)
    zone.put_service(("n", "web"), Service("n", "web", (), PORTS), 1)
    found = tuple(Endpoint((ip_address(0x0AF40000 + n),), b"h%d" % n, PORTS) for n in range(endpoints))
    zone.put_slice(("n", "web-1"), Slice("n", "web", found), 1)
    return zone


def ask(
    where: Zone | None, name: str, type: str = "A", *, stream: bool = False, **settings: object
) -> dns.message.Message:
    query = dns.message.make_query(name, type, **settings)  # type: ignore[arg-type]
    packet = Resolver(where or Zone(Settings()), ready=where is not None).reply(query.to_wire(), stream=stream)
    assert isinstance(packet, bytes)
    reply = dns.message.from_wire(packet)
    assert query.is_response(reply)
    return reply


def test_before_the_first_sync_nothing_is_known() -> None:
    assert ask(None, WEB).rcode() == dns.rcode.SERVFAIL


def test_a_long_answer_comes_whole_by_tcp() -> None:
    served = zone(200)
    short = ask(served, WEB)
    assert short.flags & dns.flags.TC
    assert 0 < len(short.answer[0]) < 200
    assert len(ask(served, WEB, stream=True).answer[0]) == 200
    assert len(ask(served, WEB, use_edns=0, payload=1232).answer[0]) > len(short.answer[0])


def test_other_classes_and_versions_are_refused() -> None:
    assert ask(zone(), "version.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED
    assert ask(zone(), WEB, use_edns=1).rcode() == dns.rcode.BADVERS


def test_the_askers_spelling_comes_back() -> None:
    reply = ask(zone(1), "wEb.N.sVC.clusTER.local")
    assert reply.answer[0].name.to_text() == "wEb.N.sVC.clusTER.local."


RESOLVER = Resolver(zone(3), ready=True)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"\0\1\1\0\0\1\0\0\0\0\0\0" + tail))
def test_whatever_comes_the_answer_is_a_message_or_nothing(packet: bytes) -> None:
    found = RESOLVER.reply(packet, stream=False)
    if found is not None:
        assert isinstance(found, bytes)
        assert found[:2] == packet[:2]
        dns.message.from_wire(found)


def test_a_reply_that_is_known_by_heart_changes_with_its_service() -> None:
    where = zone(3)
    resolver = Resolver(where, ready=True)

    def told(id: int) -> list[str]:
        packet = resolver.reply(dns.message.make_query(WEB, "A", id=id).to_wire(), stream=False)
        assert isinstance(packet, bytes)
        reply = dns.message.from_wire(packet)
        assert reply.id == id
        return [item.to_text() for item in reply.answer[0]]

    first = [told(id) for id in range(1, 7)]
    assert {each[0] for each in first} == {"10.244.0.0", "10.244.0.1", "10.244.0.2"}, "each comes first in turn"
    assert [told(id) for id in range(1, 7)] == first
    where.put_slice(("n", "web-1"), Slice("n", "web", (Endpoint((ip_address("10.244.9.9"),), b"h", PORTS),)), 2)
    assert told(1) == told(2) == ["10.244.9.9"]


def test_blocks_are_chosen_by_the_longest_zone() -> None:
    text = """
    . {
      kubernetes cluster.local
      forward . 192.0.2.1
    }
    acme.local {
      forward . 192.0.2.2
    }
    deep.acme.local {
    }
    """
    blocks = corefile.parse(text).blocks
    ways = tuple(Way(block, tuple(Asked(each) for each in block.forwards)) for block in blocks)  # type: ignore[misc]
    resolver = Resolver(zone(1), ways, ready=True)

    def asked(name: str) -> object:
        found = resolver.reply(dns.message.make_query(name, "A").to_wire(), stream=False)
        return dns.message.from_wire(found).rcode() if isinstance(found, bytes) else asyncio.run(awaited(found))

    async def awaited(found: object) -> object:
        with pytest.raises(ToldTo) as told:
            await found  # type: ignore[misc]
        return told.value.args[0]

    assert asked(WEB) == dns.rcode.NOERROR
    assert asked("absent.n.svc.cluster.local") == dns.rcode.NXDOMAIN
    assert asked("www.example.org") == "192.0.2.1"
    assert asked("x.acme.local") == asked("ACME.local") == "192.0.2.2"
    assert asked("x.deep.acme.local") == dns.rcode.SERVFAIL, "nobody is asked there"
    assert asked("notacme.local") == "192.0.2.1"


class ToldTo(Exception):
    """Whom a question went to."""


class Asked:
    def __init__(self, settings: corefile.Forward) -> None:
        self.settings = settings

    def kept(self, _query: object) -> None:
        return None

    async def ask(self, _query: object, *, stream: bool) -> None:
        raise ToldTo(self.settings.to[0])


@pytest.mark.parametrize(
    ("name", "zone", "below"),
    [("a.b", "b", True), ("b", "b", True), ("ab", "b", False), ("a.b", ".", True), ("b", "a.b", False)],
)
def test_below(name: str, zone: str, below: bool) -> None:
    assert is_below(message.name(name), message.name(zone)) == below


class Answers:
    """A forwarder that gives one answer, or none."""

    def __init__(self, found: relayed.Relayed | None) -> None:
        self.settings, self.cache_seconds, self.found = corefile.Forward(b"\0", ()), 30, found

    def kept(self, _query: object) -> None:
        return None

    async def ask(self, _query: object, *, stream: bool) -> relayed.Relayed | None:
        return self.found


@pytest.mark.parametrize("type", ["A", "CNAME"])
@pytest.mark.parametrize("answered", [True, False])
def test_an_alias_into_the_world(type: str, answered: bool) -> None:
    """With what the world says of it, or alone: nobody answered, or only the alias was asked for."""
    where = zone()
    where.put_service(("n", "ext"), Service("n", "ext", (), (), "www.example.org"), 1)
    asked = dns.message.make_query("www.example.org", "A", id=5)
    reply = dns.message.make_response(asked)
    reply.answer.append(dns.rrset.from_text("www.example.org.", 300, "IN", "A", "192.0.2.7"))
    parsed = message.parse(asked.to_wire())
    assert isinstance(parsed, message.Query)
    found = relayed.read(reply.to_wire(), 5, parsed.question) if answered else None
    way = Way(corefile.Block((b"\0",), corefile.Kubernetes()), (Answers(found),))  # type: ignore[arg-type]
    told = Resolver(where, (way,), ready=True).reply(
        dns.message.make_query("ext.n.svc.cluster.local", type).to_wire(), stream=False
    )

    async def awaited() -> bytes:
        return told if isinstance(told, bytes) else await told  # type: ignore[misc]

    lines = [
        line for rrset in dns.message.from_wire(asyncio.run(awaited())).answer for line in rrset.to_text().split("\n")
    ]
    assert lines[0] == "ext.n.svc.cluster.local. 30 IN CNAME www.example.org."
    assert lines[1:] == (["www.example.org. 30 IN A 192.0.2.7"] if type == "A" and answered else [])


def test_another_block_takes_a_name_that_was_known_by_heart() -> None:
    where = zone(1)
    resolver = Resolver(where, ready=True)
    packet = dns.message.make_query(WEB, "A").to_wire()
    known = resolver.reply(packet, stream=False)
    assert isinstance(known, bytes)
    assert where.reply(packet) == known
    resolver.ways = (*resolver.ways, Way(corefile.Block((message.name("n.svc.cluster.local"),))))
    where.forget_replies()
    told = resolver.reply(packet, stream=False)
    assert isinstance(told, bytes)
    assert dns.message.from_wire(told).rcode() == dns.rcode.SERVFAIL
