"""Pace: a lone change waits for nothing, changes that keep coming are gathered, what is configured holds."""

from __future__ import annotations

import asyncio

from clusterip.proxy.pace import MOST_QUIET_SECONDS, QUIET_SECONDS, Pace
from virtualtime import run


def test_a_lone_change_waits_for_nothing() -> None:
    async def play() -> float:
        loop, pace = asyncio.get_running_loop(), Pace()
        began = loop.time()
        pace.count()
        await pace.gather()
        return loop.time() - began

    assert run(play()) == 0


def test_a_burst_is_gathered_until_it_is_quiet_or_long_enough() -> None:
    async def play() -> tuple[int, float]:
        loop, pace, count = asyncio.get_running_loop(), Pace(), 0

        async def changes() -> None:
            nonlocal count
            while True:
                pace.count()
                count += 1
                await asyncio.sleep(0.0005)

        pace.count()
        task = asyncio.create_task(changes())
        began = loop.time()
        await pace.gather()
        task.cancel()
        return count, loop.time() - began

    count, seconds = run(play())
    assert count > 5
    assert MOST_QUIET_SECONDS <= seconds < MOST_QUIET_SECONDS + 2 * QUIET_SECONDS


def test_the_configured_period_holds_after_the_first_sync() -> None:
    async def play() -> tuple[float, float]:
        loop, pace = asyncio.get_running_loop(), Pace(min_sync_seconds=0.05)
        began = loop.time()
        await pace.gather()
        first = loop.time() - began
        pace.began()
        pace.ended()
        await pace.gather()
        return first, loop.time() - began

    assert run(play()) == (0, 0.05)
