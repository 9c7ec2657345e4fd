"""Repairs after foreign changes: at once, then ever less often."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.proxy import repairs
from clusterip.proxy.repairs import Repairs
from virtualtime import run


def test_a_first_change_is_repaired_at_once_and_others_wait() -> None:
    async def play() -> list[float]:
        loop, moments = asyncio.get_running_loop(), list[float]()
        done = asyncio.Event()

        def repair() -> None:
            moments.append(loop.time())
            if len(moments) == 4:
                done.set()
            found.on_foreign()  # somebody works against us

        found = Repairs("nftables", repair)
        began = loop.time()
        found.on_foreign()
        found.on_foreign()
        async with asyncio.timeout(30):
            await done.wait()
        return [moment - began for moment in moments]

    shortest = repairs.SHORTEST_SECONDS
    assert run(play()) == [0, shortest, 3 * shortest, 7 * shortest]


def test_it_is_said_when_somebody_goes_on(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "SHORTEST_SECONDS", 0.0)

    async def play() -> None:
        count, done = 0, asyncio.Event()

        def repair() -> None:
            nonlocal count
            count += 1
            if count > repairs.FIGHT:
                done.set()
            else:
                found.on_foreign()

        found = Repairs("nftables", repair)
        found.on_foreign()
        async with asyncio.timeout(30):
            await done.wait()

    asyncio.run(play())
    words = [record.message for record in caplog.records]
    assert words.count("Somebody else changed our rules, repairing them") == repairs.FIGHT
    assert words.count("Somebody else keeps changing our rules; does another proxy run here?") == 1
