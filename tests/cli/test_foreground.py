"""Parts in the foreground end at a signal, and what went wrong is said in one line."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from clusterip.cli import foreground
from clusterip.failure import Failure


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_work_in_order(number: int) -> None:
    happened: list[str] = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(60)
        finally:
            happened.append("cancelled")

    foreground.run(work(), stopping=lambda: happened.append("told"))
    assert happened == ["told", "cancelled"]


def test_failures_of_tasks_are_one() -> None:
    async def fail() -> None:
        raise Failure("port 53 is taken")

    async def work() -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(fail())

    with pytest.raises(Failure, match=r"^port 53 is taken$"):
        foreground.run(work())


def test_what_is_no_failure_is_not_hidden() -> None:
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.wait_for(asyncio.sleep(60), 0))

    with pytest.raises(BaseExceptionGroup):
        foreground.run(work())
