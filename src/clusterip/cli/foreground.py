"""A part in the foreground: on uvloop, until it ends or SIGTERM or SIGINT ends it.

Stage: shell.  In: the part's whole work.  Out: nothing; what it failed with, told to a person as one line.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import uvloop

from clusterip.failure import told

T = TypeVar("T")


def run(work: Coroutine[object, object, None], stopping: Callable[[], None] = lambda: None) -> None:
    """Run it; `stopping` is called when a signal came, before the work is cancelled."""
    complete(_until_told(work, stopping))


def complete(work: Coroutine[object, object, T]) -> T:
    """What the work returns; it looks after signals itself."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(work)
        except BaseExceptionGroup as group:
            if (failure := told(group)) is None:
                raise
            raise failure from group


async def _until_told(work: Coroutine[object, object, None], stopping: Callable[[], None]) -> None:
    running = asyncio.ensure_future(work)

    def stop() -> None:
        stopping()
        running.cancel()

    on_signals(stop)
    with suppress(asyncio.CancelledError):
        await running


def on_signals(stop: Callable[[], None]) -> None:
    """Have the running loop call this when the process is told to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
