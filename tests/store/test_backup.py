"""Backups: one state however much is written meanwhile; what is replaced is kept; revisions only go forward."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.store import backup
from clusterip.store.contract import Compacted, KeyValue, Write
from clusterip.store.sqlite import SqliteStore


def run(body) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(asyncio.wait_for(body, 240))


def test_a_backup_is_one_state_while_writes_go_on(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write("/a", b"0", 0), Write("/b", b"0", 0)])
        ended = threading.Event()
        saved: list[backup.Saved] = []

        def save() -> None:
            saved.extend(backup.save_file(tmp_path / "store.db", tmp_path / f"backup-{n}") for n in range(8))
            ended.set()

        thread = threading.Thread(target=save)
        thread.start()
        n = 0
        while not ended.is_set():
            n += 1
            both = [store.get("/a"), store.get("/b")]
            await store.commit([Write(item.key, b"%d" % n, item.revision) for item in both if item])
        thread.join()
        await store.close()
        for number, each in enumerate(saved):
            items, revision = backup.read(tmp_path / f"backup-{number}")
            assert (each.objects, each.revision) == (2, revision)
            assert len({item.value for item in items}) == 1  # both of the same batch
            assert max(item.revision for item in items) == revision

    run(body())


def test_there_and_back_again(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write("/a", b"1", 0), Write("/gone", b"1", 0), Write("/b", b"\xff\x00", 0)])
        await store.commit([Write("/gone", None, 2), Write("/a", b"2", 1)])
        before = store.range("/")
        assert backup.save_file(tmp_path / "store.db", tmp_path / "file") == backup.Saved(2, 5)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
        await store.commit([Write("/later", b"1", 0)])
        with pytest.raises(Failure, match="in use by another process"):
            backup.restore_file(tmp_path / "file", tmp_path / "store.db", force=True)
        await store.close()
        with pytest.raises(Failure, match=r"there is a store .* already \(objects: .*, revision 6\); --force"):
            backup.restore_file(tmp_path / "file", tmp_path / "store.db", force=False)
        saved = backup.restore_file(tmp_path / "file", tmp_path / "store.db", force=True)
        assert saved == backup.Saved(2, 6 + backup.BUMP)
        again = SqliteStore(tmp_path / "store.db")
        assert again.range("/") == before
        assert again.revision == again.compacted == 6 + backup.BUMP
        with pytest.raises(Compacted):
            again.history("/", 6)
        assert await again.commit([Write("/c", b"1", 0)]) == 7 + backup.BUMP
        await again.compact(again.revision)
        assert len(again.range("/")) == 3
        await again.close()
        former = SqliteStore(tmp_path / "store.db.before-restore")
        assert former.get("/later") is not None
        await former.close()

    run(body())


def test_a_fresh_folder_takes_a_backup(tmp_path: Path) -> None:
    backup.save_items([KeyValue("/a", b"1", 3, 4)], 9, tmp_path / "file")
    assert (
        backup.restore_file(tmp_path / "file", tmp_path / "new" / "store.db", force=False).revision == 9 + backup.BUMP
    )

    async def body() -> None:
        store = SqliteStore(tmp_path / "new" / "store.db")
        assert store.get("/a") == KeyValue("/a", b"1", 3, 4)
        await store.close()

    run(body())


def test_what_is_no_backup_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write("/a", b"1", 0)])
        await store.close()

    run(body())
    garbage, other, cut = tmp_path / "garbage", tmp_path / "store.db", tmp_path / "cut"
    garbage.write_bytes(os.urandom(5000))
    backup.save_items([KeyValue(f"/{n}", b"x" * 500, 1, n + 1) for n in range(200)], 201, tmp_path / "good")
    cut.write_bytes((tmp_path / "good").read_bytes()[:30_000])
    for source, why in (
        (tmp_path / "nowhere", "there is no backup"),
        (garbage, "not a backup of clusterip's"),
        (other, "not a backup of clusterip's"),
        (cut, "damaged|not a backup"),
    ):
        with pytest.raises(Failure, match=why):
            backup.restore_file(source, tmp_path / "new" / "store.db", force=True)
    assert not (tmp_path / "new" / "store.db").exists()


def test_a_target_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nothing to back up"):
        backup.save_file(tmp_path / "store.db", tmp_path / "file")
    with pytest.raises(Failure, match="cannot write"):
        backup.save_items([], 1, tmp_path / "nowhere" / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_said_and_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def body() -> None:
        store = SqliteStore(path)
        await store.commit([Write(f"/{n:04}", b"%d" % n * 300, 0) for n in range(500)])
        await store.close()

    run(body())
    connection = sqlite3.connect(path)
    page = connection.execute("PRAGMA page_size").fetchone()[0]
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log_by_key'").fetchone()[0]
    connection.close()
    with open(path, "r+b") as file:
        for where in ((root - 1) * page, path.stat().st_size // page // 2 * page):
            file.seek(where)
            file.write(b"\xff" * page)
    content = path.read_bytes()
    with pytest.raises(Failure, match=r"is damaged: .*backup --salvage"):
        backup.save_file(path, tmp_path / "file")
    saved = backup.salvage(path, tmp_path / "file")
    assert 400 <= saved.objects < 500
    assert saved.lost
    assert path.read_bytes() == content
    backup.restore_file(tmp_path / "file", path, force=True)

    async def after() -> None:
        store = SqliteStore(path)
        items = store.range("/")
        assert len(items) == saved.objects
        assert all(item.value == b"%d" % int(item.key[1:]) * 300 for item in items)
        await store.close()

    run(after())
    assert (tmp_path / "store.db.before-restore").read_bytes() == content
