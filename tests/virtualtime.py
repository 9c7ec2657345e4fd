"""An event loop whose time passes only while nothing else is to do: what waits for a clock is exact everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from clusterip.clock import ManualClock

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """It goes on at once to the moment that is next; not for what sockets, threads or processes bring."""

    _moment = 0.0

    def time(self) -> float:
        return self._moment

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready  # type: ignore[attr-defined]
        if scheduled and not ready:
            self._moment = max(self._moment, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class LoopClock(ManualClock):
    """A clock that agrees with the loop about how much time has passed."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()
