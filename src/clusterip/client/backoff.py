"""How long to wait before the next attempt: exponential, with jitter.

Stage: shell support.  Rules: no sleeping here, chance is a parameter.
Truth: client-go wait.Backoff; full jitter on the upper half, so that a herd spreads out and none comes back at once.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import SystemRandom

Chance = Callable[[], float]  # uniform in [0, 1)
system_chance: Chance = SystemRandom().random


class Backoff:
    """A series of delays; reset after success."""

    def __init__(
        self, first: float = 0.05, longest: float = 1.5, factor: float = 1.5, chance: Chance = system_chance
    ) -> None:
        self._first, self._longest, self._factor, self._chance = first, longest, factor, chance
        self._next = first

    def delay(self) -> float:
        """Seconds to wait now; the following one is longer."""
        delay = self._next * (0.5 + 0.5 * self._chance())
        self._next = min(self._longest, self._next * self._factor)
        return delay

    def reset(self) -> None:
        self._next = self._first
