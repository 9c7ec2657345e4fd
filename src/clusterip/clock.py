"""Time as a parameter: the clock that parts are given, and the one that tests move.

Stage: none; a value passed to shells.  Rules: nothing else in the package reads the machine's time.
Truth: RFC 3339 for the text forms; metav1.Time has seconds, metav1.MicroTime microseconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """What a part may know of time."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for durations and deadlines."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now = datetime.fromtimestamp(self._now.timestamp() + seconds, UTC)
        self._monotonic += seconds


def rfc3339(moment: datetime) -> str:
    """metav1.Time: seconds, UTC, a Z."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{_minute(moment.year, moment.month, moment.day, moment.hour, moment.minute)}{moment.second:02d}Z"


@lru_cache(maxsize=64)
def _minute(year: int, month: int, day: int, hour: int, minute: int) -> str:
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:"


def rfc3339_micro(moment: datetime) -> str:
    """metav1.MicroTime: microseconds, UTC, a Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
