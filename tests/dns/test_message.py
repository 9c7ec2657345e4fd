"""Wire forms against dnspython, and packets that are none."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.dns import message
from clusterip.dns.message import Query, Refusal, Sections

LABEL = st.text("abcXYZ019-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join).filter(lambda name: len(name) < 250)


@given(NAME, st.sampled_from(["A", "AAAA", "SRV", "TXT", "ANY"]), st.booleans(), st.integers(0, 65535))
def test_a_query_is_read_as_it_was_written(name: str, type: str, edns: bool, size: int) -> None:
    written = dns.message.make_query(name, type, **({"use_edns": 0, "payload": size} if edns else {}))
    query = message.parse(written.to_wire())
    assert isinstance(query, Query)
    assert query.name == message.name(name.lower())
    assert (query.type, query.class_, query.edns) == (int(written.question[0].rdtype), 1, edns)
    assert 512 <= query.size <= message.OUR_SIZE
    reply = dns.message.from_wire(message.reply(query, Sections(message.NXDOMAIN), 512))
    assert written.is_response(reply)
    assert reply.question[0].name.to_text() == name + "."


def test_a_question_is_a_query() -> None:
    asked = dns.message.from_wire(message.question(4711, "kubernetes.default.svc", message.A))
    assert asked == dns.message.make_query("kubernetes.default.svc", "A", id=4711)


@given(st.binary(max_size=100))
def test_noise_never_raises(noise: bytes) -> None:
    message.parse(noise)


@given(NAME, st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_query_never_raises(name: str, at: int, value: int) -> None:
    packet = bytearray(dns.message.make_query(name, "A", use_edns=0).to_wire())
    packet[at % len(packet)] = value
    found = message.parse(bytes(packet))
    if isinstance(found, Query):
        dns.message.from_wire(message.reply(found, Sections(), 512))


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (b"\0\1\x80\0\0\1" + b"\0" * 6, None),  # a response
        (b"\0\1\x28\0" + b"\0" * 8, Refusal(1, 0x2800, message.NOTIMP)),  # an update
        (b"\0\1\0\0" + b"\0" * 8, Refusal(1, 0, message.FORMERR)),  # no question
        (b"\0\1\0\0\0\2" + b"\0" * 6, Refusal(1, 0, message.FORMERR)),
        (b"\0\1\0\0\0\1" + b"\0" * 6 + b"\xc0\x0c\0\1\0\1", Refusal(1, 0, message.FORMERR)),  # a pointer to itself
        (b"\0\1\0\0\0\1" + b"\0" * 6 + b"\x3f", Refusal(1, 0, message.FORMERR)),
    ],
)
def test_what_is_not_a_question(packet: bytes, found: Refusal | None) -> None:
    assert message.parse(packet) == found
    if found:
        assert message.refuse(found)[:2] == packet[:2]


def big(count: int) -> Sections:
    return Sections(
        answers=tuple(message.record(message.THE_QUESTION, 1, 30, bytes((10, 0, 0, n))) for n in range(count))
    )


def query(**settings: object) -> tuple[dns.message.Message, Query]:
    written = dns.message.make_query("a.b", "A", **settings)  # type: ignore[arg-type]
    found = message.parse(written.to_wire())
    assert isinstance(found, Query)
    return written, found


def test_what_does_not_fit_says_so() -> None:
    written, found = query()
    reply = dns.message.from_wire(message.reply(found, big(100), found.size), ignore_trailing=False)
    assert reply.flags & dns.flags.TC
    assert written.is_response(reply)
    assert 0 < len(reply.answer[0]) < 100
    whole = dns.message.from_wire(message.reply(found, big(100), 65535))
    assert (len(whole.answer[0]), whole.flags & dns.flags.TC) == (100, 0)


def test_glue_that_does_not_fit_is_left_out_silently() -> None:
    _, found = query()
    sections = Sections(
        answers=big(1).answers, additional=tuple(message.address(message.name(f"n{n}.c"), 30, _ip()) for n in range(60))
    )
    reply = dns.message.from_wire(message.reply(found, sections, 512))
    assert not reply.flags & dns.flags.TC
    assert reply.answer
    assert 0 < len(reply.additional) < 60


def _ip() -> message.IPv4Address:
    return message.IPv4Address("10.0.0.1")


def test_edns_comes_back() -> None:
    cookie = dns.edns.GenericOption(10, b"12345678")  # type: ignore[arg-type]
    written, found = query(
        use_edns=0, payload=4096, want_dnssec=True, options=[cookie, dns.edns.GenericOption(12, b"\0\0")]
    )  # type: ignore[arg-type]
    reply = dns.message.from_wire(message.reply(found, big(1), found.size))
    assert written.is_response(reply)
    assert (reply.payload, reply.ednsflags & dns.flags.DO) == (message.OUR_SIZE, dns.flags.DO)
    assert [option.otype for option in reply.options] == [10]


def test_another_edns_version_is_said() -> None:
    _, found = query(use_edns=1)
    assert found.edns_version == 1
    assert dns.message.from_wire(message.reply(found, Sections(message.BADVERS), 512)).rcode() == dns.rcode.BADVERS


def test_answers_take_turns() -> None:
    records = big(3).answers
    assert {message.rotated(records, turn)[0] for turn in range(3)} == set(records)
    alias = (message.record(message.THE_QUESTION, message.CNAME, 1, b"\0"), records[0])
    assert message.rotated(alias, 1) == alias


@pytest.mark.parametrize("text", ["a..b", "x" * 64, ".".join(["x" * 60] * 5)])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="name"):
        message.name(text)


@given(NAME)
def test_labels_come_back(name: str) -> None:
    assert b".".join(message.labels(message.name(name))).decode() == name
