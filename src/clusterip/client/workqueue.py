"""Which keys are still to be worked on: each once, never two workers on one key, failures later.

Stage: shell.  In: keys.  Out: the same keys, one at a time.
Rules: a key added while it is worked on comes again after that; the queue knows nothing of what a key means.
Truth: client-go util/workqueue (de-duplication, rate limited retries: 5 ms doubling).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from clusterip.api.errors import ApiError

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_SECONDS = 0.005
LONGEST_RETRY_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told what happens to keys."""

    def added(self, key: Hashable) -> None: ...

    def taken(self, key: Hashable) -> None: ...

    def done(self, key: Hashable) -> None: ...

    def retried(self) -> None: ...


class WorkQueue(Generic[K]):
    """Keys in order of arrival, without doubles."""

    def __init__(
        self,
        first: float = FIRST_RETRY_SECONDS,
        longest: float = LONGEST_RETRY_SECONDS,
        listener: Listener | None = None,
    ) -> None:
        self._first, self._longest, self._listener = first, longest, listener
        self._waiting: deque[K] = deque()
        self._dirty: set[K] = set()  # to be worked on, waiting or not
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._arrival = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Work on the key soon."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if self._listener is not None:
            self._listener.added(key)
        if key not in self._working:
            self._waiting.append(key)
            self._arrival.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Work on the key then; the earliest of several times holds."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def add_rate_limited(self, key: K) -> None:
        """Work on the key again after a failure: later each time."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        if self._listener is not None:
            self._listener.retried()
        self.add_after(key, min(self._longest, self._first * 2 ** min(failures, 40)))

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure is its first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; the caller must say done."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        key = self._waiting.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        if self._listener is not None:
            self._listener.taken(key)
        return key

    def done(self, key: K) -> None:
        """The worker is through with the key; if it was added meanwhile, it comes again."""
        self._working.discard(key)
        if self._listener is not None:
            self._listener.done(key)
        if key in self._dirty:
            self._waiting.append(key)
            self._arrival.set()

    async def run(self, work: Callable[[K], Awaitable[None]], workers: int = 1) -> None:
        """Work for ever; a key whose work raises comes again later."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(work))

    async def _worker(self, work: Callable[[K], Awaitable[None]]) -> None:
        while True:
            key = await self.get()
            try:
                await work(key)
                self.forget(key)
            except Exception as error:
                _log(key, error, self.failures(key))
                self.add_rate_limited(key)
            finally:
                self.done(key)
            await asyncio.sleep(0)  # work that never waits must not keep everyone else from theirs

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)


def _log(key: Hashable, error: Exception, failures: int) -> None:
    """An API that is away is told of by those who follow it; conflicts are daily life; a fault of ours shows where."""
    values = {"key": key, "err": error, "failures": failures}
    if isinstance(error, (ConnectionError, TimeoutError)):
        logger.debug("Work failed, trying again", extra={"kv": values})
    elif isinstance(error, ApiError):
        logger.log(
            logging.WARNING if failures >= 5 else logging.DEBUG, "Work refused, trying again", extra={"kv": values}
        )
    else:
        logger.error("Work failed, trying again", extra={"kv": values}, exc_info=error)
