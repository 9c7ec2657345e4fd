"""Forget, commit, remember, come back: on a backend that is a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping

import pytest

from clusterip.clock import ManualClock
from clusterip.diff import Changes, patched
from clusterip.proxy.backends import Compiled, Refused
from clusterip.proxy.model import Node, Plan
from clusterip.proxy.runner import Runner, Synced, diff_parts, with_due

Parts = Mapping[Hashable, Mapping[str, int]]


class Backend:
    """Keys that begin with "slow" are removed one commit late."""

    mode = "dictionary"

    def __init__(self) -> None:
        self.kernel: dict[str, int] = {}
        self.wanted: Parts = {}
        self.reads = 0
        self.refuse = False

    def compile(self, plan: Plan) -> Compiled[str, int]:
        return Compiled(self.wanted)

    async def read(self) -> Mapping[str, int]:
        self.reads += 1
        return dict(self.kernel)

    async def commit(self, changes: Changes[str, int]) -> Changes[str, int]:
        if self.refuse or "bad" in changes.put:
            raise Refused("full")
        others = {key for key in (*changes.put, *changes.remove) if not key.startswith("slow")}
        late = {k: v for k, v in changes.remove.items() if k.startswith("slow") and others and k not in changes.put}
        for key, value in changes.remove.items():
            assert self.kernel[key] == value
        now = {key: value for key, value in changes.remove.items() if key not in late}
        self.kernel = patched(self.kernel, Changes(changes.put, now))
        return Changes(remove=late)


def runner(backend: Backend, **options: object) -> Runner[str, int]:
    return Runner(backend, lambda: Plan(Node("n")), ManualClock(), **options)  # type: ignore[arg-type]


def test_reads_once_then_remembers() -> None:
    async def play() -> None:
        backend = Backend()
        backend.kernel = {"old": 1, "kept": 2}
        found = runner(backend)
        backend.wanted = {"p": {"kept": 2, "new": 3}}
        assert (await found.sync()).changes == 2
        backend.wanted = {"p": {"kept": 4, "new": 3}}
        assert (await found.sync()).changes == 2
        assert (await found.sync()).changes == 0
        assert backend.kernel == {"kept": 4, "new": 3}
        assert backend.reads == 1

    asyncio.run(play())


def test_after_a_refusal_and_after_a_doubt_it_reads_again() -> None:
    async def play() -> None:
        backend = Backend()
        backend.wanted = {"p": {"a": 1}}
        found = runner(backend)
        backend.refuse = True
        with pytest.raises(Refused):
            await found.sync()
        backend.refuse = False
        assert (await found.sync()).was_full
        backend.kernel["foreign"] = 9
        assert not (await found.sync()).was_full
        found.doubt()
        assert (await found.sync()).changes == 1
        assert backend.kernel == {"a": 1}
        assert backend.reads == 3

    asyncio.run(play())


def test_what_is_due_comes_later_or_not_at_all() -> None:
    async def play() -> None:
        backend = Backend()
        found = runner(backend)
        backend.wanted = {"p": {"count": 2, "slow-1": 1, "slow-2": 2}}
        await found.sync()
        backend.wanted = {"p": {"count": 1, "slow-1": 1}}
        await found.sync()
        assert backend.kernel == {"count": 1, "slow-1": 1, "slow-2": 2}
        backend.wanted = {"p": {"count": 2, "slow-1": 1, "slow-2": 2}}
        await found.sync()
        assert backend.kernel == {"count": 2, "slow-1": 1, "slow-2": 2}
        backend.wanted = {"p": {"count": 1, "slow-1": 1}}
        await found.sync()
        await found.sync()
        assert backend.kernel == {"count": 1, "slow-1": 1}
        assert (await found.sync()).changes == 0

    asyncio.run(play())


def test_runs_when_woken_and_comes_back_for_what_is_due() -> None:
    async def play() -> None:
        backend, first, done = Backend(), asyncio.Event(), asyncio.Event()
        seen: list[Synced] = []

        def on_synced(synced: Synced) -> None:
            seen.append(synced)
            first.set()
            if len(seen) == 3:
                done.set()

        found = runner(backend, on_synced=on_synced)
        backend.wanted = {"p": {"count": 2, "slow-2": 2}}
        task = asyncio.create_task(found.run())
        found.wake()
        async with asyncio.timeout(5):
            await first.wait()
        backend.wanted = {"p": {"count": 1}}
        found.wake()
        async with asyncio.timeout(5):
            await done.wait()
        task.cancel()
        assert backend.kernel == {"count": 1}

    asyncio.run(play())


def test_a_refusal_is_counted_and_tried_again() -> None:
    async def play() -> None:
        backend, failed, done = Backend(), [], asyncio.Event()
        backend.wanted, backend.refuse = {"p": {"a": 1}}, True

        def on_failed() -> None:
            failed.append(True)
            backend.refuse = False

        found = runner(backend, on_failed=on_failed, on_synced=lambda synced: done.set())
        task = asyncio.create_task(found.run())
        found.wake()
        async with asyncio.timeout(5):
            await done.wait()
        task.cancel()
        assert backend.kernel == {"a": 1}
        assert failed == [True]

    asyncio.run(play())


def test_parts_that_are_the_same_object_are_not_looked_at() -> None:
    class Untouchable(dict[str, int]):
        def items(self) -> object:  # type: ignore[override]
            raise AssertionError

    same = Untouchable(a=1)
    assert diff_parts({"p": same, "q": {"b": 1}}, {"p": same, "q": {"b": 2}}) == Changes({"b": 2}, {"b": 1})


def test_a_key_that_moves_between_parts_stays() -> None:
    assert not diff_parts({"p": {"a": 1}, "q": {}}, {"p": {}, "q": {"a": 1}})
    assert diff_parts({"p": {"a": 1}}, {"q": {"a": 2}}) == Changes({"a": 2}, {"a": 1})
    assert with_due(Changes({"a": 1}), {"a": 1, "b": 2}) == Changes({}, {"b": 2})


def test_one_bad_part_leaves_the_others_alone() -> None:
    async def play() -> None:
        backend = Backend()
        backend.kernel = {"stale": 1}
        found = runner(backend)
        wanted: dict[Hashable, Mapping[str, int]] = {f"p{number}": {f"k{number}": number} for number in range(9)}
        wanted |= {"q": {"bad": 1, "x": 1}, "r": {"last": 1}}
        backend.wanted = wanted
        await found.sync()
        assert backend.kernel == {**{f"k{number}": number for number in range(9)}, "last": 1}
        backend.wanted = {**wanted, "r": {"last": 2}}
        assert (await found.sync()).changes == 2
        backend.wanted = {**wanted, "q": {"better": 1}, "r": {"last": 2}}
        assert (await found.sync()).changes == 1

    asyncio.run(play())
