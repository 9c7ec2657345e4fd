"""The wait before a pod is told to stop: for pods that took traffic, and no longer than its grace period allows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from clusterip.clock import SystemClock
from clusterip.node.leaving import Leaving


class Proxies:
    """Those who have to hear: never done unless told."""

    def __init__(self, *late: str) -> None:
        self.late, self.asked = late, list[float]()

    async def wait(self, namespace: str, uid: str, seconds: float) -> tuple[str, ...]:
        self.asked.append(seconds)
        if not self.late:
            await asyncio.Event().wait()
        return self.late


def leaving(grace: int, proxies: Proxies | None = None, said: list[str] | None = None) -> Leaving:
    tools: Any = SimpleNamespace(clock=SystemClock(), settings=SimpleNamespace(drain_seconds=0.0), strict_drain=proxies)
    pod: Any = SimpleNamespace(grace=grace, namespace="default", uid="1")
    words = said if said is not None else []
    return Leaving(tools, lambda: pod, lambda type, reason, text: words.append(f"{reason}: {text}"))


def test_a_pod_that_took_no_traffic_goes_at_once() -> None:
    async def play() -> None:
        found = leaving(30, proxies := Proxies())
        await found.wait(was_ready=False)
        assert found.is_over
        assert found.left(30) == 30
        assert proxies.asked == []

    asyncio.run(play())


def test_who_has_not_heard_is_named() -> None:
    async def play() -> None:
        said: list[str] = []
        found = leaving(30, proxies := Proxies("node-2"), said)
        await found.wait(was_ready=True)
        assert proxies.asked == [15.0]
        assert said == ["DrainIncomplete: stopping although not everyone has heard within 15 s: node-2"]
        assert found.is_over

    asyncio.run(play())


def test_a_hurry_ends_the_wait() -> None:
    async def play() -> None:
        found = leaving(30, Proxies())
        async with asyncio.timeout(30):
            waiting = asyncio.ensure_future(found.wait(was_ready=True))
            found.hurry.set()
            await waiting
        assert found.is_over
        assert found.left(30) <= 30

    asyncio.run(play())


@pytest.mark.parametrize(("grace", "left"), [(0, 0), (1, 1.0)])
def test_containers_keep_a_second_at_least(grace: int, left: float) -> None:
    found = leaving(grace)
    found._took = 5.0
    assert found.left(grace) == left
