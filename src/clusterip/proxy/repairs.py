"""Repair at once what others change, but not in a race with somebody who does the same.

Stage: time.  In: moments at which somebody else changed what is ours.  Out: calls to repair.
Rules: the first repair follows at once; while others go on, each next one waits twice as long, up to half a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
QUIET_SECONDS = 60.0  # after that long without a foreign change the next one is repaired at once again
FIGHT = 4  # repairs in a row after which somebody must be working against us


class Repairs:
    """Calls `repair` after foreign changes, ever less often while they go on."""

    def __init__(self, mode: str, repair: Callable[[], None]) -> None:
        self._mode, self._repair = mode, repair
        self._in_a_row = 0
        self._last = float("-inf")
        self._waits = False

    def on_foreign(self) -> None:
        """Somebody else changed what is ours."""
        if self._waits:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - self._last > QUIET_SECONDS:
            self._in_a_row = 0
        self._tell()
        delay = min(SHORTEST_SECONDS * 2.0 ** (self._in_a_row - 1), LONGEST_SECONDS) if self._in_a_row else 0.0
        self._waits = True
        loop.call_at(max(loop.time(), self._last + delay), self._now)

    def _tell(self) -> None:
        values = {"mode": self._mode, "repairs": self._in_a_row + 1}
        if self._in_a_row < FIGHT:
            logger.warning("Somebody else changed our rules, repairing them", extra={"kv": values})
        else:
            logger.error("Somebody else keeps changing our rules; does another proxy run here?", extra={"kv": values})

    def _now(self) -> None:
        self._waits = False
        self._in_a_row += 1
        self._last = asyncio.get_running_loop().time()
        self._repair()
