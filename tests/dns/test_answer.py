"""Packets in, packets out."""

from __future__ import annotations

from ipaddress import ip_address

import dns.message
import dns.rcode
from hypothesis import given
from hypothesis import strategies as st

from clusterip.dns.answer import answer
from clusterip.dns.model import Endpoint, Port, Service, Slice
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
    packet = answer(where, query.to_wire(), stream=stream)
    assert packet is not None
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


ZONE = zone(3)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"\0\1\1\0\0\1\0\0\0\0\0\0" + tail))
def test_whatever_comes_the_answer_is_a_message_or_nothing(packet: bytes) -> None:
    found = answer(ZONE, packet)
    if found is not None:
        assert found[:2] == packet[:2]
        dns.message.from_wire(found)
