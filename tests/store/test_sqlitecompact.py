"""Forgetting: in pieces, with a bound on the file however much is written, and nothing lost that is present."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.store import sqlite as module
from clusterip.store import sqlitecompact
from clusterip.store.contract import Write
from clusterip.store.sqlite import SqliteStore
from clusterip.store.sqlitecompact import Volume


def footprint(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_constant_writes_never_grow_the_file_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound, size, objects = 4_000_000, 10_000, 20
    monkeypatch.setattr(module, "HISTORY_BYTES", bound)
    monkeypatch.setattr(sqlitecompact, "SPARE_PAGES", 64)

    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        most = 0
        for n in range(300):  # 60 MB in all
            batch = []
            for key in range(objects):
                found = store.get(f"/{key}")
                batch.append(Write(f"/{key}", b"%d" % n + b"x" * size, found.revision if found else 0))
            await store.commit(batch)
            most = max(most, footprint(tmp_path))
        state = objects * size
        log = 2000 * 4096 + 16_777_216  # the write-ahead log: its checkpoint and what it keeps
        assert most < 2 * (state + bound) + log
        assert {item.value for item in store.range("/")} == {b"299" + b"x" * size}
        assert 0 < store.compacted < store.revision
        assert store.history("/", store.compacted)
        await store.compact(store.revision)
        await store.close()
        assert footprint(tmp_path) < 2 * (state + bound)

    asyncio.run(body())


def test_pages_go_back_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlitecompact, "SPARE_PAGES", 16)
    monkeypatch.setattr(sqlitecompact, "VACUUM_PAGES", 50)

    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write(f"/{n}", b"x" * 5000, 0) for n in range(500)])
        await store.commit([Write(f"/{n}", None, n + 1) for n in range(500)])
        await store.compact(store.revision)
        await store.close()
        assert (tmp_path / "store.db").stat().st_size < 500_000

    asyncio.run(body())


def test_a_piece_that_a_crash_cut_off_is_done_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlitecompact, "SPAN", 3)

    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        for n in range(20):
            await store.commit([Write("/a", b"%d" % n, n)])
        sqlitecompact.forget(store._file.writer(), 15)  # one piece of five, then nothing more
        await store.close()
        again = SqliteStore(tmp_path / "store.db")
        assert again.compacted == 15
        assert [event.revision for event in again.history("/", 15)] == [16, 17, 18, 19, 20]
        assert again.get("/a", 15).value == b"14"
        await again.compact(16)
        rows = again._reader.execute("SELECT revision FROM log WHERE revision > 0").fetchall()
        assert [row[0] for row in rows] == [16, 17, 18, 19, 20]
        await again.close()

    asyncio.run(body())


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40), cuts=st.lists(st.integers(0, 40)))
def test_pieces_keep_what_a_state_needs(steps: list[tuple[int, bool]], cuts: list[int]) -> None:
    connection = sqlitecompact.sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(module_schema())
    present: dict[str, int] = {}
    states: list[dict[str, int]] = [{}]
    for key, keeps in steps:
        name = f"/{key}"
        if not keeps and name not in present:
            continue
        revision = len(states)
        value = b"x" if keeps else None
        created = revision
        connection.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?)", (revision, name, created, present.get(name, 0), value)
        )
        present = {**present, name: revision}
        if not keeps:
            del present[name]
        states.append(present)
    floor = 0
    for cut in cuts:
        if cut >= len(states):
            continue
        floor = max(floor, cut)
        while sqlitecompact.forget(connection, cut) < cut:
            pass
    for revision in range(max(floor, 1), len(states)):
        rows = connection.execute(module.RANGE, ("/", "0", "", revision, -1)).fetchall()
        assert {row[0]: row[3] for row in rows} == states[revision]
    connection.close()


def module_schema() -> str:
    from clusterip.store.sqlitefile import SCHEMA

    return SCHEMA


def test_volume_knows_which_half_is_older() -> None:
    volume = Volume()
    for revision in range(1, 101):
        volume.add(revision, 1_000_000)
    assert volume.held == 100_000_000
    middle = volume.middle()
    assert 40 <= middle <= 55
    volume.forgotten(middle)
    assert 40_000_000 <= volume.held <= 60_000_000
    volume.forgotten(100)
    assert volume.held <= 2_000_000
