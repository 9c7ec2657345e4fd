"""Operations that wait for others."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from clusterip.api.errors import ApiError
from clusterip.apiserver.webhooks_pending import TRIES, Pending, replayed, settled
from clusterip.clock import ManualClock


def parts() -> tuple[Any, Any]:
    resource = SimpleNamespace(group="", plural="pods")
    core = SimpleNamespace(clock=ManualClock(), random=random.Random(1))
    return core, SimpleNamespace(consulted=None, name="a", tallies=[], served=SimpleNamespace(resource=resource))


def test_each_run_after_the_first_sees_the_same_moment_and_chance() -> None:
    core, call = parts()
    seen: list[Any] = []
    answers: list[int] = []

    async def run() -> int:
        if call.consulted is None:
            raise Pending(fetch)
        core.clock.advance(5)
        with replayed(core, call.consulted):
            seen.append((core.clock.now(), core.random.random()))
        if not answers:
            raise Pending(fetch)
        return answers[0]

    async def fetch() -> None:
        answers.append(42)

    assert asyncio.run(settled(core, call, run)) == 42
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_there_is_an_end() -> None:
    core, call = parts()
    runs = 0

    async def nothing() -> None:
        nonlocal runs
        runs += 1

    async def never() -> None:
        raise Pending(nothing)

    with pytest.raises(ApiError) as caught:
        asyncio.run(settled(core, call, never))
    assert (caught.value.code, runs) == (409, TRIES)
