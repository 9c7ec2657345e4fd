"""Times as the API writes them, and a clock that moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from clusterip.clock import ManualClock, rfc3339, rfc3339_micro

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_texts_are_utc_whatever_the_zone() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert rfc3339(elsewhere) == "2026-01-02T03:04:05Z"
    assert rfc3339_micro(elsewhere) == "2026-01-02T03:04:05.000006Z"


def test_both_hands_of_a_manual_clock_move_together() -> None:
    clock = ManualClock(MOMENT)
    clock.advance(1.5)
    assert clock.now() - MOMENT == timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5
