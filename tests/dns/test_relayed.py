"""Answers of others: read, checked, told on; whatever they hold."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.dns import message, relayed
from clusterip.dns.message import Query, Sections

NAME = "www.example.org."


def query(name: str = NAME, type: str = "A", id: int = 7, **edns: object) -> Query:
    found = message.parse(dns.message.make_query(name, type, id=id, **edns).to_wire())  # type: ignore[arg-type]
    assert isinstance(found, Query)
    return found


def answered(asked: Query, *records: str, id: int = 99, rcode: int = 0, additional: tuple[str, ...] = ()) -> bytes:
    """What a server says to `relayed.ask(id, asked)`; with compression, as servers do."""
    reply = dns.message.make_response(dns.message.from_wire(relayed.ask(id, asked)), recursion_available=True)
    reply.set_rcode(rcode)
    for section, lines in ((reply.answer, records), (reply.additional, additional)):
        for line in lines:
            name, ttl, type, *content = line.split()
            section.append(dns.rrset.from_text(name, int(ttl), "IN", type, " ".join(content)))
    return reply.to_wire(max_size=65535)


RECORDS = (
    f"{NAME} 300 CNAME deep.example.org.",
    "deep.example.org. 60 A 192.0.2.7",
    "deep.example.org. 90 A 192.0.2.8",
)


def test_an_answer_is_told_with_the_askers_id_and_spelling_and_a_shorter_life() -> None:
    asked = query("wWw.Example.org.", id=7)
    found = relayed.read(answered(asked, *RECORDS, id=99), 99, asked.question)
    assert found is not None
    assert found.lifetime(30) == 30
    reply = dns.message.from_wire(relayed.reply(asked, found, 12, 512))
    assert reply.id == 7
    assert reply.question[0].name.to_text() == "wWw.Example.org."
    assert dns.flags.to_text(reply.flags) == "QR RD RA"
    assert {rrset.ttl for rrset in reply.answer} == {12}
    told = [item.to_text().lower() for rrset in reply.answer for item in rrset]
    assert told == ["deep.example.org.", "192.0.2.7", "192.0.2.8"]
    assert reply.edns == -1, "who asked without EDNS is not told with it"


def test_edns_is_ours() -> None:
    asked = query(use_edns=0, payload=4096)
    found = relayed.read(answered(asked, *RECORDS), 99, asked.question)
    assert found is not None
    assert dns.message.from_wire(relayed.reply(asked, found, 30, 1232)).payload == message.OUR_SIZE


def test_what_does_not_fit_is_cut_and_said() -> None:
    asked = query()
    many = [f"{NAME} 60 A 192.0.2.{number}" for number in range(100)]
    found = relayed.read(answered(asked, *many, additional=("x.org. 60 A 192.0.2.1",)), 99, asked.question)
    assert found is not None
    short = dns.message.from_wire(relayed.reply(asked, found, 30, 512))
    assert short.flags & dns.flags.TC
    assert not short.additional
    assert 0 < sum(map(len, short.answer)) < 100
    assert sum(map(len, dns.message.from_wire(relayed.reply(asked, found, 30, 65535)).answer)) == 100


def test_what_answers_another_question_is_no_answer() -> None:
    asked = query()
    packet = answered(asked, *RECORDS)
    assert relayed.read(packet, 98, asked.question) is None, "another id"
    assert relayed.read(answered(query("evil.org."), *RECORDS), 99, asked.question) is None, "another name"
    assert relayed.read(relayed.ask(99, asked), 99, asked.question) is None, "the question itself"
    assert all(relayed.read(packet[:size], 99, asked.question) is None for size in range(len(packet)))


def test_an_alias_is_followed_by_records_that_stand_alone() -> None:
    asked = query()
    found = relayed.read(answered(asked, *RECORDS), 99, asked.question)
    assert found is not None
    alias = message.record(message.THE_QUESTION, message.CNAME, 30, message.name(NAME))
    asked_here = query("ext.default.svc.cluster.local.")
    whole = message.reply(asked_here, relayed.followed(Sections(answers=(alias,)), found, 30), 512)
    lines = [line for rrset in dns.message.from_wire(whole).answer for line in rrset.to_text().splitlines()]
    assert lines == [
        "ext.default.svc.cluster.local. 30 IN CNAME www.example.org.",
        "www.example.org. 30 IN CNAME deep.example.org.",
        "deep.example.org. 30 IN A 192.0.2.7",
        "deep.example.org. 30 IN A 192.0.2.8",
    ]


ASKED = query()
WHOLE = answered(ASKED, *RECORDS, additional=("x.org. 60 A 192.0.2.1",))


@given(st.data())
def test_whatever_comes_nothing_raises(data: st.DataObject) -> None:
    """True answers with some bytes changed; most break a length or a pointer."""
    packet = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        packet[data.draw(st.integers(4, len(packet) - 1))] = data.draw(st.integers(0, 255))
    found = relayed.read(bytes(packet), 99, ASKED.question)
    if found is not None:
        assert len(relayed.reply(ASKED, found, 30, 512)) <= 512
        relayed.addresses(found, 30)


@pytest.mark.parametrize("tail", [b"\xc0\x0c", b"\3www\xc0\x0c"])
def test_names_that_go_round(tail: bytes) -> None:
    assert relayed.whole_name(bytes(12) + tail, 12) is None
