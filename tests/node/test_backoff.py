"""The crash-loop back-off."""

from __future__ import annotations

from clusterip.node.backoff import Backoff, in_words


def delays(crashes: int) -> list[float]:
    """The waits of a container that ends at once, every time."""
    backoff, now, waits = Backoff(), 1000.0, []
    for _ in range(crashes):
        begin = max(now, backoff.wait_until(now))
        waits.append(begin - now)
        backoff, now = backoff.next(begin), begin
    return waits


def test_first_at_once_then_doubling_to_five_minutes() -> None:
    assert delays(8) == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_long_quiet_time_is_forgiven() -> None:
    tired = Backoff(300.0, 1000.0)
    assert tired.wait_until(1600.0) == 1900.0
    assert tired.wait_until(1601.0) == 1601.0
    assert tired.next(1601.0).delay == 10.0


def test_the_cap_can_be_set() -> None:
    assert Backoff(40.0, 0.0).next(10.0, longest=60.0).delay == 60.0


def test_words() -> None:
    assert [in_words(s) for s in (10, 80, 300, 3723)] == ["10s", "1m20s", "5m0s", "1h2m3s"]
