"""A conversation with a router, by the clock and by the bytes."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest

from clusterip.speaker.bgp_messages import (
    KEEPALIVE,
    Fault,
    Kind,
    Notification,
    Open,
    cut,
    message,
    read_notification,
    read_update,
    write_notification,
    write_open,
)
from clusterip.speaker.bgp_routes import Route, Way
from clusterip.speaker.bgp_session import Conversation, State, Terms

VIP = ip_network("10.9.0.10/32")
ROUTER = Open(64999, 6, IPv4Address("192.0.2.1"), frozenset({1}))


def talk(*, dynamic: str = "", peer_asn: int = 64999, restart: bool = False) -> Conversation:
    way = Way(64512, hop4=IPv4Address("192.0.2.9"))
    terms = Terms(64512, peer_asn, dynamic, IPv4Address("192.0.2.9"), graceful_restart=restart, way=way)
    made = Conversation(terms, 0.0)
    made.start()
    return made


def established() -> Conversation:
    made = talk()
    made.feed(write_open(ROUTER) + KEEPALIVE, 0.0)
    assert made.state is State.ESTABLISHED
    return made


def said(octets: bytes) -> list[tuple[Kind, bytes]]:
    return list(cut(bytearray(octets)))


def told(octets: bytes) -> Notification:
    return read_notification(said(octets)[-1][1])


def test_routes_follow_the_first_keepalive_and_changes_alone_follow_them() -> None:
    made = talk()
    assert made.tell({VIP: Route()}) == b""
    assert said(made.feed(write_open(ROUTER), 0.0)) == [(Kind.KEEPALIVE, b"")]
    first = read_update(said(made.feed(KEEPALIVE, 0.0))[0][1])
    assert first.prefixes == (VIP,)
    assert first.attributes[2] == b"\x02\x01\x00\x00\xfc\x00"
    assert made.tell({VIP: Route()}) == b""
    assert read_update(said(made.tell({}))[0][1]).withdrawn == (VIP,)


def test_the_shorter_hold_time_counts() -> None:
    made = established()
    assert made.next_due() == 2.0
    assert said(made.tick(2.0)) == [(Kind.KEEPALIVE, b"")]
    assert told(made.tick(6.0)).code == Fault.HOLD
    assert "silent" in made.ended


@pytest.mark.parametrize(
    ("octets", "code", "subcode"),
    [
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", Fault.HEADER, 1),
        (KEEPALIVE, Fault.MACHINE, 1),
        (write_open(Open(1, 6, IPv4Address("192.0.2.1"), frozenset({1}))), Fault.OPEN, 2),
        (write_open(Open(64999, 2, IPv4Address("192.0.2.1"), frozenset({1}))), Fault.OPEN, 6),
        (write_open(Open(64999, 6, IPv4Address("192.0.2.1"), frozenset({2}))), Fault.OPEN, 7),
    ],
)
def test_a_router_that_is_wrong_is_told_why(octets: bytes, code: int, subcode: int) -> None:
    made = talk()
    answer = told(made.feed(octets, 0.0))
    assert (answer.code, answer.subcode) == (code, subcode)
    assert made.ended
    assert made.feed(KEEPALIVE, 0.0) == b""


@pytest.mark.parametrize(("dynamic", "is_welcome"), [("external", True), ("internal", False)])
def test_a_number_may_be_left_to_the_router(dynamic: str, is_welcome: bool) -> None:
    made = talk(dynamic=dynamic, peer_asn=0)
    made.feed(write_open(ROUTER), 0.0)
    assert (not made.ended) is is_welcome


def test_farewell_is_cease_but_for_graceful_restart() -> None:
    assert told(established().farewell()) == Notification(Fault.CEASE, 2)
    assert talk(restart=True).farewell() == b""


def test_a_router_that_asks_again_hears_everything_again() -> None:
    made = established()
    made.tell({VIP: Route()})
    again = read_update(said(made.feed(message(Kind.REFRESH, b"\0\1\0\1"), 0.0))[0][1])
    assert again.prefixes == (VIP,)


def test_the_routers_own_words_end_it() -> None:
    made = established()
    assert made.feed(write_notification(Notification(Fault.CEASE, 4)), 0.0) == b""
    assert "cease (6/4)" in made.ended
