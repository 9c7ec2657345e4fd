"""When the next sync may begin: a lone change goes at once, changes that keep coming go together.

Stage: none; time.  In: when changes came, how long the last sync took.  Out: a wait.
Rules: no poll; what the configuration asks for (minSyncPeriod) holds always, the rest is the proxy's own choice.
Truth: measured in bench/: a thousand changes at once want company, one change wants none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

QUIET_SECONDS = 0.003  # in a burst: this long without a change ends the gathering
MOST_QUIET_SECONDS = 0.025
MOST_REST_SECONDS = 1.0  # in a burst: as long as the last sync took, so that half of the time is free


@dataclass(frozen=True, slots=True)
class Periods:
    """How often things are done."""

    min_sync_seconds: float = 0.0
    sync_seconds: float = 30.0
    full_read_seconds: float = 3600.0


class Pace:
    """Counts changes, and holds the runner back while more of them come."""

    def __init__(self, min_sync_seconds: float = 0.0) -> None:
        self._min_sync_seconds = min_sync_seconds
        self._changes = self._taken = 0
        self._began = self._ended = float("-inf")

    def count(self) -> None:
        """A change came."""
        self._changes += 1

    def began(self) -> None:
        self._began, self._taken = _now(), self._changes

    def ended(self) -> None:
        self._ended = _now()

    async def gather(self) -> None:
        """Wait until a sync may begin."""
        await asyncio.sleep(0)  # what has arrived already comes along
        await asyncio.sleep(0)
        is_burst = self._changes - self._taken > 1
        rest = self._began + self._min_sync_seconds - _now()
        if is_burst and self._ended > self._began:
            rest = max(rest, self._ended + min(self._ended - self._began, MOST_REST_SECONDS) - _now())
        if rest > 0:
            await asyncio.sleep(rest)
        if is_burst:
            await self._until_quiet()

    async def _until_quiet(self) -> None:
        end = _now() + MOST_QUIET_SECONDS
        before = -1
        while self._changes != before and _now() < end:
            before = self._changes
            await asyncio.sleep(QUIET_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
