"""The store in etcd under faults: away, frozen, compacted, gone back, answers that get lost, other writers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterip.failure import Failure
from clusterip.store import etcd as module
from clusterip.store import etcdload
from clusterip.store import etcdwire as wire
from clusterip.store.contract import Away, Event, Moved, Store, TooLarge, Write
from clusterip.store.etcd import EtcdStore, opened
from clusterip.store.etcdclient import Doubtful, Endpoints, EtcdClient
from clusterip.store.opening import EtcdOptions, remove
from clusterip.transport.certificates import new_authority
from store.etcdserver import Etcd, brief, etcd

PATIENCE = 240


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    with etcd() as found:
        yield found


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers wait for an etcd that a busy machine makes slow."""
    monkeypatch.setattr(module, "WRITE_SECONDS", 30.0)
    monkeypatch.setattr(module, "TRY_SECONDS", 15.0)


def go(body: Awaitable[None]) -> None:
    async def inside() -> None:
        await asyncio.wait_for(body, PATIENCE)

    asyncio.run(inside())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0.02)


async def put(store: Store, key: str, value: bytes) -> int:
    """A write on top of what the store has, again when another was first."""
    while True:
        found = store.get(key)
        try:
            return await store.commit([Write(key, value, found.revision if found else 0)])
        except Moved:
            continue


def test_another_writer_is_heard_before_the_refusal(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as one, opened(where) as other:
            heard: list[int] = []
            own: list[int] = []
            other.follow(
                lambda events: own.extend(event.revision for event in events),
                lambda events: heard.extend(event.revision for event in events),
            )
            await one.commit([Write("/a", b"1", 0)])
            await other.catch_up()
            answers = await asyncio.gather(  # both are sent before either is answered
                one.commit([Write("/one", b"1", 0)]), other.commit([Write("/other", b"1", 0)]), return_exceptions=True
            )
            assert {type(each) for each in answers} == {Moved, int}
            await other.catch_up()
            assert sorted(heard + own) == [1, 2]
            assert other.get("/a") == one.get("/a")

    go(body())


def test_many_writers_make_one_story(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        stories: list[list[Event]] = [[], [], []]
        async with opened(where) as one, opened(where) as two, opened(where) as three:
            stores = (one, two, three)
            for store, story in zip(stores, stories, strict=True):
                store.follow(story.extend)
            await asyncio.gather(*(put(store, f"/{n}/{k}", b"x") for n, store in enumerate(stores) for k in range(30)))
            for store in stores:
                await store.catch_up()
            assert stories[0] == stories[1] == stories[2] == one.history("/", 0)
            assert [event.revision for event in stories[0]] == list(range(1, 91))

    go(body())


def test_a_restart_keeps_state_history_and_what_was_forgotten(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as store:
            for n in range(6):
                await put(store, "/a", b"%d" % n)
            await store.commit([Write("/b", b"1", 0), Write("/b", b"2", 7), Write("/b", None, 8), Write("/c", b"3", 0)])
            await store.compact(3)
            kept = store.history("/", 3), store.range("/"), store.range("/", revision=8)
        async with opened(where) as store:
            assert (store.revision, store.compacted) == (10, 3)
            assert (store.history("/", 3), store.range("/"), store.range("/", revision=8)) == kept
            await put(store, "/a", b"later")
            await store.compact(11)
        async with opened(where) as store:
            assert (store.revision, store.compacted) == (11, 11)
            assert [item.key for item in store.range("/")] == ["/a", "/c"]

    go(body())


def test_a_long_history_is_not_read(server: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as store:
            for n in range(30):
                await put(store, f"/{n}", b"x")
        monkeypatch.setattr(etcdload, "MOST_TURNS", 10)
        async with opened(where) as store:
            assert (store.revision, store.compacted, len(store.range("/"))) == (30, 30, 30)

    go(body())


def test_a_killed_etcd_is_missed_and_found_again() -> None:
    with etcd() as server:

        async def body() -> None:
            where = server.endpoints()
            async with opened(where) as one, opened(where) as other:
                heard: list[int] = []
                other.follow(lambda events: heard.extend(event.revision for event in events))
                await put(one, "/a", b"1")
                await other.catch_up()
                server.stop()
                with brief(), pytest.raises(Away):
                    await put(one, "/a", b"2")
                await until(lambda: one.trouble and other.trouble)
                assert "does not answer" in one.trouble or "is away" in one.trouble
                with brief(), pytest.raises(Away):
                    await other.catch_up()
                assert other.get("/a").value == b"1"  # reads of what is here go on
                await asyncio.to_thread(server.start)
                await until(lambda: not one.trouble and not other.trouble)
                for n in range(5):
                    await put(one, f"/after/{n}", b"x")
                await other.catch_up()
                assert heard == list(range(1, other.revision + 1))
                assert other.range("/") == one.range("/")

        go(body())


def test_a_store_ends_well_while_etcd_is_away() -> None:
    with etcd() as server:

        async def body() -> None:
            for _ in range(3):
                async with opened(server.endpoints()) as store:
                    await asyncio.to_thread(server.stop)
                    await until(lambda: store.trouble)
                await asyncio.to_thread(server.start)

        go(body())


def test_a_frozen_etcd_costs_time_and_no_write_twice() -> None:
    with etcd() as server:

        async def body() -> None:
            async with opened(server.endpoints()) as store:
                await put(store, "/a", b"1")
                server.freeze()
                with brief(), pytest.raises(Away) as error:
                    await store.commit([Write("/b", b"1", 0)])
                assert error.value.doubtful
                server.freeze(False)
                await until(lambda: not store.trouble)
                await store.catch_up()
                revision = store.revision
                assert revision in (1, 2)  # it was kept, or it was not; all agree from now on
                server.freeze()
                late = asyncio.ensure_future(store.commit([Write("/c", b"1", 0)]))
                await asyncio.sleep(0.5)
                server.freeze(False)
                try:
                    assert await late == store.revision
                except Moved:
                    assert store.get("/b") is not None
                    await put(store, "/c", b"1")
                assert store.get("/c").value == b"1"
                assert [event.key for event in store.history("/", 0)].count("/c") == 1

        go(body())


def test_an_etcd_that_is_slow_to_greet_is_waited_for() -> None:
    with etcd() as server:

        async def body() -> None:
            client = EtcdClient(server.endpoints())
            server.freeze()
            asked = asyncio.ensure_future(client.version())
            await asyncio.sleep(0.5)
            server.freeze(False)
            assert await asked
            await client.close()

        go(body())


def test_an_answer_that_is_lost_is_found(server: Etcd) -> None:
    class Forgetful(EtcdClient):
        forget = 0

        async def transact(self, request: bytes, seconds: float = 5.0) -> wire.Done:
            done = await super().transact(request, seconds)
            if self.forget:
                self.forget -= 1
                raise Doubtful("Socket closed")
            return done

    async def body() -> None:
        client = Forgetful(server.endpoints())
        store = EtcdStore(client)
        await store.start()
        heard: list[int] = []
        store.follow(lambda events: heard.extend(event.revision for event in events))
        following: asyncio.Future[None] | None = None
        for watched in (False, True):
            if watched:
                following = asyncio.ensure_future(store.run())
            client.forget = 1
            if watched:
                await store.commit([Write(f"/{watched}", b"1", 0)])
            else:  # only the head says that it was ours, and the watch must tell
                late = asyncio.ensure_future(store.commit([Write(f"/{watched}", b"1", 0)]))
                await asyncio.sleep(0.3)
                following = asyncio.ensure_future(store.run())
                await late
                following.cancel()
        assert heard == [1, 2]
        assert following is not None
        following.cancel()
        await store.close()

    go(body())


def test_history_that_was_compacted_while_away_is_told_shortened(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        client = EtcdClient(where)
        late = EtcdStore(client)
        async with opened(where) as store:
            for key in ("/a", "/b", "/c"):
                await put(store, key, b"1")
            await late.start()
            heard: list[Event] = []
            late.follow(heard.extend)
            for n in range(5):
                await put(store, "/a", b"%d" % n)
            await store.commit([Write("/b", None, 2)])
            await put(store, "/d", b"new")
            await store.compact(store.revision)
            following = asyncio.ensure_future(late.run())
            await until(lambda: late.revision == store.revision)
            assert late.range("/") == store.range("/")
            assert [(event.key, event.value) for event in heard] == [("/b", None), ("/a", b"4"), ("/d", b"new")] or {
                (event.key, event.value) for event in heard
            } == {("/b", None), ("/a", b"4"), ("/d", b"new")}
            revisions = [event.revision for event in heard]
            assert revisions == sorted(set(revisions))
            assert late.compacted == late.revision
            await put(store, "/e", b"1")
            await put(late, "/f", b"1")
            await store.catch_up()
            assert late.range("/") == store.range("/")
            following.cancel()
        await late.close()

    go(body())


def test_one_of_several_compacts(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as one, opened(where) as other:
            calls: list[str] = []
            for name, store in (("one", one), ("other", other)):
                former = store._client.compact

                async def compact(revision: int, name: str = name, former: Any = former) -> None:
                    calls.append(name)
                    await former(revision)

                store._client.compact = compact  # type: ignore[method-assign]
            for n in range(1, 4):
                await put(one, "/a", b"%d" % n)
                await other.catch_up()
                await asyncio.gather(one.compact(n), other.compact(n))
                assert (one.compacted, other.compacted) == (n, n)
            assert len(calls) <= 4
            assert calls

    go(body())


@pytest.mark.parametrize("told", [True, False])
def test_an_etcd_that_went_back_is_refused(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not told:  # etcd stops before its watch has told of the last writes: only their answers did
        monkeypatch.setattr(EtcdStore, "_hear", lambda self, events: True)
    with etcd() as server:

        async def body() -> None:
            async with opened(server.endpoints()) as store:
                await put(store, "/a", b"1")
                await asyncio.to_thread(server.stop)
                shutil.copytree(server.folder / "etcd", server.folder / "copy")
                await asyncio.to_thread(server.start)
                await until(lambda: not store.trouble)
                for n in range(10):
                    await put(store, "/a", b"%d" % n)
                await asyncio.to_thread(server.stop)
                shutil.rmtree(server.folder / "etcd")
                (server.folder / "copy").rename(server.folder / "etcd")
                await asyncio.to_thread(server.start)
                await until(lambda: store.trouble.startswith("etcd went back"))
                with pytest.raises(Away, match="restart the API servers"):
                    await put(store, "/a", b"after")
                with pytest.raises(Away, match="restart the API servers"):
                    await store.catch_up()

        go(body())


def test_a_state_that_was_removed_is_missed(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as store:
            await put(store, "/a", b"1")
            await remove(f"etcd={where.urls[0]}", EtcdOptions(prefix=where.prefix))
            with pytest.raises(Away, match="was removed"):
                await put(store, "/a", b"2")
        async with opened(where) as store:
            assert store.range("/") == []

    go(body())


def test_too_much_at_once_is_refused_and_nothing_is_kept(server: Etcd) -> None:
    async def body() -> None:
        async with opened(server.endpoints()) as store:
            with pytest.raises(TooLarge):
                await store.commit([Write("/a", b"x" * 3_000_000, 0)])
            assert await store.commit([Write("/b", b"x", 0)]) == 1

    go(body())


def test_a_history_too_large_for_memory_is_shortened(server: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 100_000)

    async def body() -> None:
        async with opened(server.endpoints()) as store:
            for _ in range(60):
                await put(store, "/a", b"x" * 10_000)
            kept = sum(len(event.value or b"") for event in store.history("/", store.compacted))
            assert kept <= 200_000

    go(body())


def test_what_is_not_ours_is_left_alone(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        client = EtcdClient(where)
        await client.transact(
            wire.transaction([], [wire.put_op(wire.put_request(f"{where.prefix}/head".encode(), b"x"))])
        )
        await client.close()
        with pytest.raises(Failure, match="choose another --etcd-prefix"):
            async with opened(where):
                pass

    go(body())


def test_nobody_there_is_one_line(server: Etcd) -> None:
    async def body() -> None:
        with pytest.raises(Failure, match=r"cannot use etcd at http://127\.0\.0\.1:1: "):
            async with opened(replace(server.endpoints(), urls=("http://127.0.0.1:1",))):
                pass

    go(body())


def test_certificates_both_ways(tmp_path: Path) -> None:
    authority = new_authority("etcd")
    pair, own = authority.server("etcd", ["127.0.0.1"]), authority.client("kube-apiserver")
    names = {"ca": authority.certificate, "crt": pair.certificate, "key": pair.key, "c": own.certificate, "k": own.key}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    options = (
        f"--cert-file={tmp_path}/crt",
        f"--key-file={tmp_path}/key",
        f"--trusted-ca-file={tmp_path}/ca",
        "--client-cert-auth",
    )

    async def body(where: Endpoints) -> None:
        async with opened(where) as store:
            assert await put(store, "/a", b"1") == 1
        with pytest.raises(Failure, match="cannot use etcd"):
            async with opened(replace(where, certificate=None, key=None)):
                pass

    with etcd() as server:
        server.stop()
        server.options, server.scheme = options, "https"
        server.start(wait=False)
        where = replace(server.endpoints(), authority=tmp_path / "ca", certificate=tmp_path / "c", key=tmp_path / "k")

        async def patient() -> None:
            while True:
                try:
                    return await body(where)
                except Failure:
                    await asyncio.sleep(0.1)

        go(patient())
