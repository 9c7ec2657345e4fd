"""The log is written back beside the commits: it begins anew, and whatever fails loses nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clusterip.store import sqlitecheckpoint
from clusterip.store.contract import Write
from clusterip.store.sqlite import SqliteStore

VALUE = b"x" * 10_000


async def write(store: SqliteStore, first: int, count: int) -> None:
    for number in range(first, first + count):
        await store.commit([Write(f"/{number:05}", VALUE, 0)])


def test_the_file_has_what_was_committed_while_the_store_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlitecheckpoint, "DUE_BYTES", 100_000)

    async def body() -> None:
        path = tmp_path / "store.db"
        store = SqliteStore(path)
        written = 0
        async with asyncio.timeout(60):
            while path.stat().st_size < 500_000:  # it grows when the log is written back, and only then
                await write(store, written, 20)
                written += 20
                assert (tmp_path / "store.db-wal").stat().st_size < 40_000_000
        assert len(store.range("/")) == written
        await store.close()
        again = SqliteStore(path)
        assert [item.value for item in again.range("/")] == [VALUE] * written
        await again.close()

    asyncio.run(body())


def test_a_log_that_cannot_be_written_back_keeps_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlitecheckpoint, "DUE_BYTES", 20_000)
    monkeypatch.setattr(sqlitecheckpoint, "PASSIVE", "SELECT nothing FROM nowhere")

    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        async with asyncio.timeout(60):
            written = 0
            while len({record.message for record in caplog.records}) < 2:  # the thread beside, and the writer's
                await write(store, written, 5)
                written += 5
        await store.close()
        again = SqliteStore(tmp_path / "store.db")
        assert len(again.range("/")) == written
        await again.close()

    asyncio.run(body())


def test_a_store_is_closed_while_its_log_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlitecheckpoint, "DUE_BYTES", 1)

    async def body() -> None:
        for count in range(5):
            store = SqliteStore(tmp_path / "store.db")
            assert store.revision == count
            await write(store, count, 1)
            async with asyncio.timeout(60):
                await store.close()

    asyncio.run(body())
