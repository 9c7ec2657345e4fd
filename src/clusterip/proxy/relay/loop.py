"""The relay's loop: which file is ready, what is to be done soon, what at a certain time.

Stage: none; the relay's engine.  Rules: one thread; files are watched edge-triggered, so whoever is told reads or
writes until it would block; what is closed is closed after all events of a turn, because a number that is used again at
once would get the events of its forerunner.
Truth: epoll(7).
"""

from __future__ import annotations

import heapq
import logging
import select
import time
from collections.abc import Callable
from typing import Protocol

IN, OUT, HANG_UP, ERROR = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP, select.EPOLLERR
ALL = IN | OUT | select.EPOLLRDHUP | select.EPOLLET
INCOMING = IN | select.EPOLLET
EVENTS_A_TURN = 256
logger = logging.getLogger(__name__)


class Closable(Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Loop:
    """Runs until `stop`."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._soon: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbered = 0
        self._leaving: list[Closable] = []
        self.running = True

    def watch(self, fd: int, act: Callable[[int], None], events: int = ALL) -> None:
        """Call with the events of a file that is new here."""
        self._poll.register(fd, events)
        self._watched[fd] = act

    def hand_over(self, fd: int, act: Callable[[int], None]) -> None:
        """From now on somebody else is told."""
        self._watched[fd] = act

    def close(self, file: Closable) -> None:
        """Watch it no more, and close it at the end of this turn."""
        self._watched.pop(file.fileno(), None)
        self._leaving.append(file)

    def soon(self, act: Callable[[], None]) -> None:
        """Call in the next turn, after other files had theirs."""
        self._soon.append(act)

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Call at that time; whoever asks must bear being told in vain."""
        self._numbered += 1
        heapq.heappush(self._timers, (moment, self._numbered, act))

    def stop(self) -> None:
        self.running = False

    def run(self) -> None:
        while self.running:
            self.turn()

    def turn(self) -> None:
        """Wait for what is next, and do all that is due."""
        for fd, events in self._poll.poll(self._patience(), EVENTS_A_TURN):
            act = self._watched.get(fd)
            if act is not None:
                _guarded(act, events)
        due, self._soon = self._soon, []
        for task in due:
            _guarded(task)
        while self._timers and self._timers[0][0] <= self.now():
            _guarded(heapq.heappop(self._timers)[2])
        leaving, self._leaving = self._leaving, []
        for file in leaving:
            file.close()

    def _patience(self) -> float:
        if self._soon or self._leaving:
            return 0
        return max(0.0, self._timers[0][0] - self.now()) if self._timers else -1

    def end(self) -> None:
        self._poll.close()


def _guarded(act: Callable[..., None], *arguments: int) -> None:
    """One connection's trouble is not the others'."""
    try:
        act(*arguments)
    except Exception:
        logger.exception("The relay goes on after an error")
