"""Backups out of etcd and into it; one that was cut off is no store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterip.failure import Failure
from clusterip.store import backup, etcdrestore
from clusterip.store.contract import Away, Compacted, KeyValue, Write
from clusterip.store.etcd import opened
from clusterip.store.etcdclient import EtcdClient
from store.etcdserver import Etcd, etcd


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    with etcd() as found:
        yield found


def run(body: Any) -> None:
    asyncio.run(asyncio.wait_for(body, 240))


def test_out_and_in_again(server: Etcd, tmp_path: Path) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as store:
            await store.commit([Write(f"/{n}", b"x" * 10_000, 0) for n in range(90)])
            await store.commit([Write("/1", None, 2), Write("/2", b"new", 3)])
            state = store.range("/")
            await store.compact(10)
        items, revision = await etcdrestore.read(where)
        backup.save_items(items, revision, tmp_path / "file")
        async with opened(where) as store:
            await store.commit([Write("/later", b"1", 0)])
        items, revision = backup.read(tmp_path / "file")
        with pytest.raises(Failure, match="--force puts the backup in its place"):
            await etcdrestore.restore(where, items, revision, force=False)
        saved = await etcdrestore.restore(where, items, revision, force=True)
        assert saved == backup.Saved(89, 93 + backup.BUMP)
        for _ in range(2):
            async with opened(where) as store:
                assert [item for item in store.range("/") if item.key != "/c"] == state
                assert store.revision >= 93 + backup.BUMP
                with pytest.raises(Compacted):
                    store.history("/", 93)
                if store.get("/c") is None:
                    assert await store.commit([Write("/c", b"1", 0)]) == 94 + backup.BUMP
                    await store.compact(store.revision)

    run(body())


def test_a_restore_that_was_cut_off_is_no_store(server: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        where = server.endpoints()
        items = [KeyValue(f"/{n}", b"x", 1, n + 1) for n in range(300)]
        real, calls = EtcdClient.transact, [0]

        async def transact(self: EtcdClient, *given: Any) -> Any:
            calls[0] += 1
            if calls[0] == 3:
                raise OSError("killed")
            return await real(self, *given)

        monkeypatch.setattr(EtcdClient, "transact", transact)
        with pytest.raises(OSError, match="killed"):
            await etcdrestore.restore(where, items, 400, force=False)
        with pytest.raises(Failure, match="a restore is under way here, or was cut off"):
            async with opened(where):
                pass
        saved = await etcdrestore.restore(where, items, 400, force=True)
        async with opened(where) as store:
            assert (len(store.range("/")), store.revision) == (300, saved.revision)

    run(body())


def test_a_server_that_runs_on_what_is_restored_says_so(server: Etcd) -> None:
    async def body() -> None:
        where = server.endpoints()
        async with opened(where) as store:
            await store.commit([Write("/a", b"1", 0)])
            await etcdrestore.restore(where, [KeyValue("/a", b"old", 1, 1)], 1, force=True)
            async with asyncio.timeout(30):
                while not store.trouble:  # noqa: ASYNC110 - the watch tells it
                    await asyncio.sleep(0.01)
            with pytest.raises(Away, match="restart the API servers"):
                await store.commit([Write("/b", b"1", 0)])
        async with opened(where) as store:
            assert store.get("/a") == KeyValue("/a", b"old", 1, 1)
            assert await store.commit([Write("/b", b"1", 0)]) == 2 + backup.BUMP

    run(body())


def test_portions_that_etcd_takes() -> None:
    items = [KeyValue(f"/{n}", b"x" * (400_000 if n < 10 else 1), 1, n + 1) for n in range(250)]
    parts = list(etcdrestore.pieces(items))
    assert [item for part in parts for item in part] == items
    assert all(len(part) <= 100 and sum(len(item.value) for item in part) <= 1_000_000 for part in parts)
