"""What every store must do: one suite, run on all of them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clusterip.store.contract import Compacted, Conflict, Event, FutureRevision, Store, Write, watch
from clusterip.store.etcd import opened
from clusterip.store.memory import MemoryStore
from clusterip.store.sqlite import SqliteStore
from store.etcdserver import Etcd, etcd

KINDS = ("memory", "sqlite", "etcd")
SERVER: list[Etcd] = []


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One etcd for all, if there is one; each store has a prefix of its own."""
    with ExitStack() as stack:
        SERVER[:] = [stack.enter_context(etcd())] if shutil.which("etcd") else []
        yield
    SERVER.clear()


@asynccontextmanager
async def made(kind: str, folder: Path) -> AsyncIterator[Store]:
    """A fresh store."""
    if kind == "etcd":
        if not SERVER:
            pytest.skip("etcd is not installed (Debian's etcd-server)")
        async with opened(SERVER[0].endpoints()) as store:
            yield store
        return
    store = MemoryStore() if kind == "memory" else SqliteStore(folder / "store.db")
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., object]:
    """Run a test's coroutine function with a fresh store."""

    def with_store(body: Callable[[Store], object]) -> object:
        async def inside() -> object:
            async with made(request.param, tmp_path) as store:
                return await body(store)

        return asyncio.run(inside())

    return with_store


def test_a_batch_gives_consecutive_revisions(run) -> None:
    async def body(store: Store) -> None:
        assert await store.commit([Write("/a", b"1", 0), Write("/b", b"2", 0)]) == 2
        assert await store.commit([Write("/a", b"3", 1)]) == 3
        found = store.get("/a")
        assert (found.value, found.created, found.revision) == (b"3", 1, 3)
        assert store.get("/c") is None

    run(body)


def test_a_conflict_keeps_nothing_of_its_batch(run) -> None:
    async def body(store: Store) -> None:
        await store.commit([Write("/a", b"1", 0)])
        for bad in (Write("/a", b"2", 0), Write("/a", b"2", 7), Write("/c", None, 0), Write("/c", None, 3)):
            with pytest.raises(Conflict):
                await store.commit([Write("/b", b"x", 0), bad])
        assert store.revision == 1
        assert [item.key for item in store.range("/")] == ["/a"]

    run(body)


def test_a_batch_may_touch_a_key_twice(run) -> None:
    async def body(store: Store) -> None:
        await store.commit([Write("/a", b"1", 0), Write("/a", b"2", 1), Write("/a", None, 2), Write("/a", b"3", 0)])
        found = store.get("/a")
        assert (found.value, found.created, found.revision) == (b"3", 4, 4)

    run(body)


def test_ranges_at_a_revision_with_pages(run) -> None:
    async def body(store: Store) -> None:
        await store.commit([Write(f"/p/{n}", b"x", 0) for n in range(5)])
        await store.commit([Write("/p/1", None, 2), Write("/q/1", b"y", 0)])
        assert [item.key for item in store.range("/p/")] == ["/p/0", "/p/2", "/p/3", "/p/4"]
        assert [item.key for item in store.range("/p/", revision=5, limit=2)] == ["/p/0", "/p/1"]
        assert [item.key for item in store.range("/p/", revision=5, after="/p/1")] == ["/p/2", "/p/3", "/p/4"]
        assert store.get("/p/1", 5).value == b"x"
        with pytest.raises(FutureRevision):
            store.range("/p/", revision=99)

    run(body)


def test_history_and_compaction(run) -> None:
    async def body(store: Store) -> None:
        await store.commit([Write("/a", b"1", 0)])
        await store.commit([Write("/a", b"2", 1)])
        await store.commit([Write("/b", b"1", 0)])
        await store.commit([Write("/a", None, 2)])
        events = store.history("/a", 1)
        assert [(e.revision, e.value, e.old.value) for e in events] == [(2, b"2", b"1"), (4, None, b"2")]
        await store.compact(3)
        assert [e.old.value for e in store.history("/", 3)] == [b"2"]
        with pytest.raises(Compacted):
            store.history("/", 2)
        with pytest.raises(Compacted):
            store.range("/", revision=2)
        assert store.get("/a", 3).value == b"2"
        await store.compact(4)
        assert await store.commit([Write("/a", b"new", 0)]) == 5

    run(body)


def test_a_follower_hears_before_the_writer(run) -> None:
    async def body(store: Store) -> None:
        heard: list[int] = []
        stop = store.follow(lambda events: heard.extend(e.revision for e in events))
        await store.commit([Write("/a", b"1", 0), Write("/b", b"1", 0)])
        assert heard == [1, 2]
        stop()
        await store.commit([Write("/c", b"1", 0)])
        assert heard == [1, 2]

    run(body)


def test_watch_has_no_gap_between_past_and_present(run) -> None:
    async def body(store: Store) -> None:
        await store.commit([Write("/a/1", b"1", 0), Write("/b/1", b"1", 0)])
        seen: list[int] = []

        async def follow() -> None:
            async for event in watch(store, "/a/", 0):
                seen.append(event.revision)
                if len(seen) == 4:
                    return

        task = asyncio.ensure_future(follow())
        for n in range(2, 5):
            await asyncio.sleep(0)
            await store.commit([Write(f"/a/{n}", b"1", 0)])
        await asyncio.wait_for(task, 30)
        assert seen == [1, 3, 4, 5]

    run(body)


def test_sqlite_keeps_all_over_a_restart(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write("/a", b"1", 0), Write("/b", b"1", 0), Write("/b", None, 2)])
        await store.compact(3)
        await store.close()
        again = SqliteStore(tmp_path / "store.db")
        assert (again.revision, again.compacted) == (3, 3)
        assert [item.key for item in again.range("/")] == ["/a"]
        assert await again.commit([Write("/b", b"2", 0)]) == 4
        await again.close()

    asyncio.run(body())


KEYS = st.sampled_from(["/a/x", "/a/y", "/b/x", "/b/x/z"])


class Model(RuleBasedStateMachine):
    """A store beside the plainest model: a list of states, one per revision."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.ended = asyncio.Event()
        ready: asyncio.Future[Store] = self.loop.create_future()
        self.life = self.loop.create_task(self.live(ready))
        self.store = self.loop.run_until_complete(ready)
        self.states: list[dict[str, tuple[bytes, int, int]]] = [{}]
        self.events: list[Event] = []
        self.store.follow(self.events.extend)

    async def live(self, ready: asyncio.Future[Store]) -> None:
        async with made(self.kind, Path(self.folder.name)) as store:
            ready.set_result(store)
            await self.ended.wait()

    def teardown(self) -> None:
        self.ended.set()
        self.loop.run_until_complete(self.life)
        self.loop.close()
        self.folder.cleanup()

    @rule(batch=st.lists(st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=3)), st.booleans()), max_size=4))
    def commit(self, batch: list[tuple[str, bytes | None, bool]]) -> None:
        states, writes, wrong = [self.states[-1]], [], False
        for key, value, honest in batch:
            state = dict(states[-1])
            found = state.get(key, (b"", 0, 0))[2]
            writes.append(Write(key, value, found if honest else found + 1))
            wrong = wrong or not honest or (value is None and not found)
            revision = len(self.states) + len(states) - 1
            state.pop(key, None)
            if value is not None:
                state[key] = (value, states[-1].get(key, (b"", revision, 0))[1], revision)
            states.append(state)
        try:
            self.loop.run_until_complete(self.store.commit(writes))
        except Conflict:
            assert wrong
        else:
            assert not wrong
            self.states += states[1:]

    @precondition(lambda self: len(self.states) > 1)
    @rule(part=st.integers(0, 100))
    def compact(self, part: int) -> None:
        self.loop.run_until_complete(self.store.compact((len(self.states) - 1) * part // 100))

    @rule(part=st.integers(0, 100), prefix=st.sampled_from(["/", "/a/", "/b/x"]))
    def read_the_past(self, part: int, prefix: str) -> None:
        revision = (len(self.states) - 1) * part // 100
        try:
            found = self.store.range(prefix, revision=revision)
            events = self.store.history(prefix, revision)
        except Compacted:
            assert revision < self.store.compacted
            return
        state = self.states[revision or -1]
        assert {item.key: (item.value, item.created, item.revision) for item in found} == {
            key: kept for key, kept in state.items() if key.startswith(prefix)
        }
        assert events == [e for e in self.events if e.revision > revision and e.key.startswith(prefix)]

    @invariant()
    def the_present_agrees(self) -> None:
        assert self.store.revision == len(self.states) - 1 == len(self.events)
        found = {item.key: (item.value, item.created, item.revision) for item in self.store.range("/")}
        assert found == self.states[-1]


class SqliteModel(Model):
    kind = "sqlite"


class EtcdModel(Model):
    kind = "etcd"


LIMITS = settings(max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
TestMemoryModel = Model.TestCase
TestMemoryModel.settings = LIMITS
TestSqliteModel = SqliteModel.TestCase
TestSqliteModel.settings = LIMITS
TestEtcdModel = EtcdModel.TestCase
TestEtcdModel.settings = LIMITS
