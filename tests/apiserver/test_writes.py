"""The write path: groups, failures, and what is answered when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from apiserver.wire import CONFIGMAPS, SERVICES, Wire, config_map, served, service
from clusterip.api.errors import ApiError
from clusterip.apiserver.cache import Collection
from clusterip.apiserver.writes import Transaction, WritePath
from clusterip.store.contract import Unwritable, Write
from clusterip.store.memory import MemoryStore
from clusterip.store.sqlite import SqliteStore


class Gate(MemoryStore):
    """A store whose commits wait until they are let through, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.groups: list[int] = []
        self.fail = 0

    async def commit(self, writes: Sequence[Write]) -> int:
        await self.open.wait()
        self.groups.append(len(writes))
        if self.fail:
            self.fail -= 1
            raise Unwritable("database or disk is full", full=True)
        return await super().commit(writes)


def put(collection: Collection, key: str, value: str):
    def operation(transaction: Transaction) -> str:
        old = transaction.get(collection, key)
        if old is not None and value == "new":
            raise ApiError.already_exists("", "things", key)
        transaction.put(collection, key, {"metadata": {"name": key}, "value": value})
        return f"{key}={value} after {old.tree()['value'] if old else None}"

    return operation


def with_gate(test) -> None:
    async def run() -> None:
        store = Gate()
        collection = Collection("/registry/things/", {})
        path = WritePath(store, lambda key: collection)
        task = asyncio.ensure_future(path.run())
        try:
            await asyncio.wait_for(test(store, collection, path), 120)
        finally:
            task.cancel()

    asyncio.run(run())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_during_a_commit_is_one_group() -> None:
    async def body(store: Gate, collection: Collection, path: WritePath) -> None:
        tasks = [asyncio.ensure_future(path.do(put(collection, "a", "0")))]
        await settle()
        tasks += [asyncio.ensure_future(path.do(put(collection, key, "1"))) for key in "aabc"]
        await settle()
        assert not any(task.done() for task in tasks)
        assert not collection.entries  # nothing is visible before it is durable
        store.open.set()
        answers = await asyncio.gather(*tasks)
        assert answers == ["a=0 after None", "a=1 after 0", "a=1 after 1", "b=1 after None", "c=1 after None"]
        assert store.groups == [1, 4]
        assert collection.entries["a"].revision == 3
        assert path.pending == {}
        assert path.next_revision == store.revision + 1

    with_gate(body)


def test_a_refusal_from_pending_state_waits_for_that_state() -> None:
    async def body(store: Gate, collection: Collection, path: WritePath) -> None:
        first = asyncio.ensure_future(path.do(put(collection, "a", "new")))
        await settle()
        second = asyncio.ensure_future(path.do(put(collection, "a", "new")))
        await settle()
        assert not second.done()
        store.fail = 1
        store.open.set()
        with pytest.raises(ApiError) as failure:
            await first
        assert failure.value.code == 507
        assert await second == "a=new after None"  # decided anew: the first one never was

    with_gate(body)


def test_a_failed_group_changes_nothing_and_later_ones_go_on() -> None:
    async def body(store: Gate, collection: Collection, path: WritePath) -> None:
        told = []
        path.rolled_back.append(lambda: told.append(1))
        failed = asyncio.ensure_future(path.do(put(collection, "a", "1")))
        await settle()
        later = [asyncio.ensure_future(path.do(put(collection, key, "2"))) for key in "ab"]
        await settle()
        store.fail = 1
        store.open.set()
        with pytest.raises(ApiError):
            await failed
        assert await asyncio.gather(*later) == ["a=2 after None", "b=2 after None"]
        assert [collection.entries[key].revision for key in "ab"] == [1, 2]
        assert told == [1]

    with_gate(body)


def test_a_client_that_leaves_does_not_stop_its_group() -> None:
    async def body(store: Gate, collection: Collection, path: WritePath) -> None:
        leaving = asyncio.ensure_future(path.do(put(collection, "a", "1")))
        staying = asyncio.ensure_future(path.do(put(collection, "b", "1")))
        await settle()
        leaving.cancel()
        store.open.set()
        assert await staying == "b=1 after None"
        assert set(collection.entries) == {"a", "b"}

    with_gate(body)


def test_an_operation_that_breaks_is_an_internal_error_and_the_rest_goes_on() -> None:
    async def body(store: Gate, collection: Collection, path: WritePath) -> None:
        def broken(transaction: Transaction) -> None:
            transaction.put(collection, "a", {"metadata": {"name": "a"}})
            raise KeyError("x")

        store.open.set()
        with pytest.raises(ApiError) as failure:
            await path.do(broken)
        assert failure.value.code == 500
        assert await path.do(put(collection, "a", "1")) == "a=1 after None"

    with_gate(body)


def test_a_full_disk_is_a_clear_answer_and_not_the_end(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")

    async def body(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("before"))
        pages = store._file.writer().execute("PRAGMA page_count").fetchone()[0]
        store._file.writer().execute(f"PRAGMA max_page_count={pages + 2}")
        status, refused = await wire("POST", CONFIGMAPS, config_map("big", k="x" * 100_000))
        assert (status, refused["reason"]) == (507, "InsufficientStorage")
        assert "disk is full" in refused["message"]
        status, _ = await wire("GET", f"{CONFIGMAPS}/big")
        assert status == 404
        assert (await wire.ok("GET", f"{CONFIGMAPS}/before"))["metadata"]["name"] == "before"
        status, _ = await wire("POST", SERVICES, service("s", clusterIP="10.96.7.7") | {"x": "y" * 90_000})
        store._file.writer().execute(f"PRAGMA max_page_count={pages + 1000}")
        await wire.ok("POST", CONFIGMAPS, config_map("big", k="x" * 100_000))
        await wire.ok("POST", SERVICES, service("t", clusterIP="10.96.7.8"))
        await store.close()

    served(body, store=store)


def test_addresses_of_a_failed_write_are_free_again() -> None:
    class Failing(MemoryStore):
        fail = False

        async def commit(self, writes: Sequence[Write]) -> int:
            if self.fail:
                raise Unwritable("no")
            return await super().commit(writes)

    store = Failing()

    async def body(wire: Wire) -> None:
        store.fail = True
        status, _ = await wire("POST", SERVICES, service("s", clusterIP="10.96.7.7", type="NodePort"))
        assert status == 500
        store.fail = False
        await wire.ok("POST", SERVICES, service("t", clusterIP="10.96.7.7", type="NodePort"))

    served(body, store=store)
