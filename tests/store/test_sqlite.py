"""The file behind the durable store: faults of the medium, and what survives."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.store.contract import Unwritable, Write
from clusterip.store.sqlite import SqliteStore


def test_a_full_disk_keeps_what_was_and_goes_on_later(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write("/a", b"1", 0)])
        pages = store._file.writer().execute("PRAGMA page_count").fetchone()[0]
        store._file.writer().execute(f"PRAGMA max_page_count={pages + 1}")
        with pytest.raises(Unwritable) as failure:
            await store.commit([Write("/b", b"2", 0), Write("/c", b"x" * 100_000, 0)])
        assert failure.value.full
        assert [item.key for item in store.range("/")] == ["/a"]
        store._file.writer().execute(f"PRAGMA max_page_count={pages + 100}")
        assert await store.commit([Write("/b", b"2", 0)]) == 2
        await store.close()

    asyncio.run(body())


def test_a_file_that_is_no_store_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Failure, match="file is not a database"):
        SqliteStore(path)
    with pytest.raises(Failure, match="unable to open database file"):
        SqliteStore(tmp_path / "nowhere" / "store.db")


def test_durability_is_asked_for(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        assert store._file.writer().execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert store._file.writer().execute("PRAGMA synchronous").fetchone()[0] == 2
        await store.close()

    asyncio.run(body())


def test_compaction_shrinks_the_log_and_not_the_state(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        for n in range(50):
            await store.commit([Write("/a", b"%d" % n, n)])
        await store.compact(50)
        assert store._reader.execute("SELECT COUNT(*) FROM log WHERE revision > 0").fetchone()[0] == 1
        found = store.get("/a")
        assert found is not None
        assert found.value == b"49"
        await store.close()

    asyncio.run(body())


def test_a_compaction_that_the_disk_refuses_is_tried_again_later(tmp_path: Path) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        for n in range(20):
            await store.commit([Write("/a", b"%d" % n, n)])
        store._file.writer().execute("PRAGMA query_only=ON")
        with pytest.raises(Unwritable):
            await store.compact(10)
        store._file.writer().execute("PRAGMA query_only=OFF")
        await store.compact(15)
        assert store._reader.execute("SELECT COUNT(*) FROM log WHERE revision > 0").fetchone()[0] == 6
        await store.close()

    asyncio.run(body())
