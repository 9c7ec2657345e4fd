"""When an address is said unasked, and where it is answered for."""

from __future__ import annotations

from ipaddress import ip_address

from clusterip.speaker.announcements import Announcements

A, B = ip_address("10.0.0.1"), ip_address("fd00::1")
ONE, TWO = ("default", "one"), ("default", "two")


def test_said_at_once_and_every_1100_ms_for_5_s() -> None:
    table = Announcements()
    table.set(ONE, frozenset({A}), None, 100.0)
    said = []
    while (due := table.next_due()) is not None:
        said += [(round(due - 100.0, 3), address) for address in table.due(due)]
    assert said == [(0.0, A), (1.1, A), (2.2, A), (3.3, A), (4.4, A)]
    assert table.set(ONE, frozenset({A}), None, 200.0) == []
    assert table.next_due() is None, "what has not changed is not said again"


def test_a_shared_address_stays_as_long_as_anybody_has_it() -> None:
    table = Announcements()
    assert set(table.set(ONE, frozenset({A, B}), None, 0)) == {A, B}
    assert table.set(TWO, frozenset({A}), None, 0) == []
    assert table.drop(ONE) == [B]
    assert table.answers(A, "eth0")
    assert table.drop(TWO) == [A]
    assert table.addresses() == []
    assert table.next_due() is None


def test_only_on_the_interfaces_chosen() -> None:
    table = Announcements()
    table.set(ONE, frozenset({A}), frozenset({"eth1"}), 0)
    assert table.answers(A, "eth1")
    assert not table.answers(A, "eth0")
    assert not table.answers(B, "eth1")


def test_a_defence_a_second() -> None:
    table = Announcements()
    table.set(ONE, frozenset({A}), None, 0)
    assert [table.contradicts(A, now) for now in (10.0, 10.5, 11.0, 11.9)] == [True, False, True, False]
    assert not table.contradicts(B, 10.0)
