"""Forget, commit, remember, come back: on a backend that is a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager

import pytest

import virtualtime
from clusterip.api.meta import ObjectKey
from clusterip.clock import Clock, ManualClock, SystemClock
from clusterip.diff import Changes, patched
from clusterip.proxy.backends import Compiled, Refused
from clusterip.proxy.model import Family, Node, Plan, ServicePlan, Traits
from clusterip.proxy.pace import Periods
from clusterip.proxy.runner import MANY_SERVICES, Runner, Synced

Parts = Mapping[Hashable, Mapping[str, int]]


class Backend:
    """Keys that begin with "slow" are removed one commit late."""

    mode = "dictionary"
    family, traits = Family.IPV4, Traits()

    def __init__(self) -> None:
        self.changed: frozenset[Hashable] | None = None
        self.intact = True
        self.kernel: dict[str, int] = {}
        self.wanted: Parts = {}
        self.reads = 0
        self.refuse = False
        self.refused = "bad"  # this key

    def compile(self, plan: Plan) -> Compiled[str, int]:
        return Compiled(self.wanted, self.changed)

    async def prepare(self) -> None: ...

    @asynccontextmanager
    async def watch(self, on_foreign: Callable[[], None]) -> AsyncIterator[None]:
        yield

    async def is_intact(self) -> bool:
        return self.intact

    async def read(self) -> Mapping[str, int]:
        self.reads += 1
        return dict(self.kernel)

    async def commit(self, changes: Changes[str, int]) -> Changes[str, int]:
        if self.refuse or self.refused in changes.put:
            raise Refused("full")
        others = {key for key in (*changes.put, *changes.remove) if not key.startswith("slow")}
        late = {k: v for k, v in changes.remove.items() if k.startswith("slow") and others and k not in changes.put}
        for key, value in changes.remove.items():
            assert self.kernel[key] == value
        now = {key: value for key, value in changes.remove.items() if key not in late}
        self.kernel = patched(self.kernel, Changes(changes.put, now))
        return Changes(remove=late)


class ByService(Backend):
    """One part a Service; remembers what each commit put."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[set[str]] = []

    def compile(self, plan: Plan) -> Compiled[str, int]:
        return Compiled({key: {str(key): 1} for key in plan.services})

    async def commit(self, changes: Changes[str, int]) -> Changes[str, int]:
        self.commits.append(set(changes.put))
        return await super().commit(changes)


def runner(backend: Backend, clock: Clock | None = None, **options: object) -> Runner[str, int]:
    return Runner(backend, lambda: Plan(Node("n")), clock or ManualClock(), **options)  # type: ignore[arg-type]


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
        async with asyncio.timeout(30):
            await first.wait()
        backend.wanted = {"p": {"count": 1}}
        found.wake()
        async with asyncio.timeout(30):
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
        async with asyncio.timeout(30):
            await done.wait()
        task.cancel()
        assert backend.kernel == {"a": 1}
        assert failed == [True]

    asyncio.run(play())


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


def test_parts_that_are_not_named_as_changed_are_not_looked_at() -> None:
    class Untouchable(dict[str, int]):
        def items(self) -> object:  # type: ignore[override]
            if looking:
                raise AssertionError
            return super().items()

    looking = False

    async def play() -> None:
        nonlocal looking
        backend = Backend()
        found = runner(backend)
        backend.wanted = {"p": Untouchable(a=1), "q": {"b": 1}}
        await found.sync()
        looking = True
        backend.wanted, backend.changed = {"p": Untouchable(a=2), "q": {"b": 2}}, frozenset({"q", "gone"})
        assert (await found.sync()).changes == 2
        assert backend.kernel == {"a": 1, "b": 2}

    asyncio.run(play())


def test_a_refused_part_is_tried_again_and_then_known_by_name_only() -> None:
    async def play() -> None:
        backend = Backend()
        refused: list[Hashable] = []
        found = runner(backend, on_refused=lambda part, why: refused.append(part))
        bad = {"bad": 1}
        backend.wanted = {"p": {"a": 1}, "q": bad}
        await found.sync()
        assert (backend.kernel, refused) == ({"a": 1}, ["q"])
        backend.wanted, backend.changed = {"p": {"a": 2}, "q": bad}, frozenset({"p"})
        await found.sync()
        assert backend.kernel == {"a": 2}
        backend.wanted, backend.changed = {"p": {"a": 2}, "q": {"good": 1}}, frozenset({"q"})
        await found.sync()
        assert backend.kernel == {"a": 2, "good": 1}
        backend.wanted, backend.changed = {"p": {"a": 2}}, frozenset({"q"})
        await found.sync()
        assert backend.kernel == {"a": 2}

    asyncio.run(play())


@pytest.mark.parametrize("periods", [Periods(), Periods(sync_seconds=4.0)])
def test_a_refused_part_gets_in_once_the_kernel_takes_it(periods: Periods) -> None:
    """However often the runner looks around meanwhile, and however long the kernel refuses."""

    async def play() -> None:
        backend = Backend()
        backend.wanted = {"p": {"a": 1}, "q": {"bad": 1}}
        found = runner(backend, clock=virtualtime.LoopClock(), periods=periods)
        task = asyncio.create_task(found.run())
        found.wake()
        await asyncio.sleep(300)
        assert backend.kernel == {"a": 1}
        backend.refused = ""
        await asyncio.sleep(31)
        assert backend.kernel == {"a": 1, "bad": 1}
        task.cancel()

    virtualtime.run(play())


def test_a_kernel_that_takes_nothing_is_not_asked_for_every_part() -> None:
    async def run() -> None:
        backend = Counting()
        backend.wanted = {name: {f"key-{name}": 1} for name in range(1000)}
        backend.kernel = {"key-0": 1}
        backend.refuse = True
        found = runner(backend)
        with pytest.raises(Refused):
            await found.sync()
        assert backend.tries < 100
        backend.refuse = False
        await found.sync()
        assert len(backend.kernel) == 1000

    asyncio.run(run())


def test_many_bad_parts_are_given_up_and_few_are_found() -> None:
    async def run() -> None:
        backend = Counting()
        backend.wanted = {name: {f"bad-{name}" if name % 100 == 7 else f"key-{name}": 1} for name in range(1000)}
        found = runner(backend)
        await found.sync()
        assert len(backend.kernel) == 990

    asyncio.run(run())


class Counting(Backend):
    """Counts what it is asked; refuses keys that begin with bad."""

    tries = 0

    async def commit(self, changes: Changes[str, int]) -> Changes[str, int]:
        self.tries += 1
        if any(key.startswith("bad") for key in changes.put):
            raise Refused("bad")
        return await super().commit(changes)


def test_a_cold_start_brings_the_api_and_dns_first() -> None:
    names = [ObjectKey("default", f"web-{number}") for number in range(MANY_SERVICES)]
    urgent = {ObjectKey("default", "kubernetes"), ObjectKey("kube-system", "kube-dns")}

    async def play() -> None:
        backend = ByService()
        plan = Plan(Node("n"), dict.fromkeys([*names, *urgent], ServicePlan({})))
        found = Runner(backend, lambda: plan, ManualClock())
        assert (await found.sync()).was_full
        assert backend.commits[0] == {str(key) for key in urgent}
        assert len(backend.kernel) == len(plan.services)
        await Runner(backend, lambda: plan, ManualClock()).sync()
        assert len(backend.commits) == 2, "what is there already is not taken away"

    asyncio.run(play())


def test_it_looks_and_repairs_what_is_not_intact() -> None:
    async def play() -> None:
        backend, intact, done = Backend(), asyncio.Event(), asyncio.Event()
        backend.wanted = {"p": {"a": 1}}
        seen: list[Synced] = []

        def on_synced(synced: Synced) -> None:
            seen.append(synced)
            if len(seen) == 2:
                done.set()

        found = Runner(
            backend,
            lambda: Plan(Node("n")),
            SystemClock(),
            periods=Periods(sync_seconds=0.02),
            on_synced=on_synced,
            on_intact=intact.set,
        )
        task = asyncio.create_task(found.run())
        found.wake()
        async with asyncio.timeout(30):
            await intact.wait()
            backend.kernel = {}
            backend.intact = False
            await done.wait()
        task.cancel()
        assert backend.kernel == {"a": 1}
        assert seen[1].was_full

    asyncio.run(play())


def test_an_unexpected_error_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        backend, done = Backend(), asyncio.Event()
        backend.wanted = {"p": {"a": 1}}
        mistakes = [ValueError("what is this")]

        def plan() -> Plan:
            if mistakes:
                raise mistakes.pop()
            return Plan(Node("n"))

        found = Runner(backend, plan, ManualClock(), on_synced=lambda synced: done.set())
        task = asyncio.create_task(found.run())
        found.wake()
        async with asyncio.timeout(30):
            await done.wait()
        task.cancel()
        assert backend.kernel == {"a": 1}

    asyncio.run(play())
    assert "Cannot program the kernel, the old rules stand" in caplog.text


def test_a_burst_costs_few_syncs() -> None:
    async def play() -> int:
        backend, count, done = Backend(), 0, asyncio.Event()

        def on_synced(synced: Synced) -> None:
            nonlocal count
            count += 1
            if backend.kernel == {"a": 199}:
                done.set()

        found = runner(backend, on_synced=on_synced)
        task = asyncio.create_task(found.run())
        for number in range(200):
            backend.wanted = {"p": {"a": number}}
            found.wake()
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await done.wait()
        task.cancel()
        return count

    assert asyncio.run(play()) < 10
