"""One proxy a network namespace: the second is told who is there, and takes over when the first goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest

from clusterip.failure import Failure
from clusterip.kernel import netns
from clusterip.proxy.sole import claim

pytestmark = pytest.mark.root


def inside(work: Coroutine[Any, Any, None]) -> None:
    """In a namespace of its own."""
    fd = netns.create()
    try:
        netns.inside(fd, lambda: asyncio.run(work))
    finally:
        os.close(fd)


def test_the_second_is_refused_by_name() -> None:
    async def play() -> None:
        held = await claim()
        with pytest.raises(Failure, match=f"process {os.getpid()}"):
            await claim(patience_seconds=0.05)
        held.close()

    inside(play())


def test_the_second_waits_for_one_that_is_ending() -> None:
    async def play() -> None:
        held = await claim()
        second = asyncio.create_task(claim())
        await asyncio.sleep(0)
        held.close()
        (await second).close()

    inside(play())


def test_another_namespace_is_another_node() -> None:
    async def play() -> None:
        (await claim()).close()

    async def outer() -> None:
        held = await claim()
        await asyncio.to_thread(inside, play())
        held.close()

    inside(outer())
