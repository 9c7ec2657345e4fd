"""Power loss at any moment: whatever part of the writes after a fsync reached the disk, what was acknowledged is there.

After each acknowledged commit the files are copied.  From two copies that follow each other every state is made that a
disk may be left in between them: the log with only a part of what was appended (the rest missing, zeros or garbage),
the log begun anew over an old one, the file in the middle of a checkpoint with any mixture of old and new pages.
Each must open, sound, as the state before or after the commit, and as the one after when the log was whole.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from clusterip.store import sqlitecheckpoint, sqlitefile
from clusterip.store.contract import Write
from clusterip.store.sqlite import SqliteStore

SOAK = bool(os.environ.get("CLUSTERIP_SOAK"))
COMMITS = 400 if SOAK else 26
SECTOR = 512
STEP = SECTOR if SOAK else 5 * SECTOR
PAGE = 4096
HEADER = 32


@dataclass(frozen=True)
class Copy:
    """The files and the state right after an acknowledgement."""

    file: bytes
    log: bytes
    state: dict[str, tuple[bytes, int, int]]
    revision: int


def state_of(store: SqliteStore) -> dict[str, tuple[bytes, int, int]]:
    return {item.key: (item.value, item.created, item.revision) for item in store.range("/")}


def copied(path: Path, store: SqliteStore) -> Copy:
    log = path.with_name("store.db-wal").read_bytes()
    return Copy(path.read_bytes(), log, state_of(store), store.revision)


async def recorded(folder: Path, chance: random.Random) -> list[Copy]:
    path = folder / "store.db"
    store = SqliteStore(path)
    copies = []
    for n in range(COMMITS):
        batch, taken = [], set()
        for _ in range(chance.randint(1, 4)):
            key = f"/k{chance.randint(0, 9)}"
            if key in taken:
                continue
            taken.add(key)
            found = store.get(key)
            content = None if found and chance.random() < 0.2 else chance.randbytes(chance.choice((10, 800, 9000)))
            batch.append(Write(key, content, found.revision if found else 0))
        await store.commit(batch)
        copies.append(copied(path, store))
        if n % 11 == 10:  # one more transaction
            await store.compact(store.revision - 3)
            copies.append(copied(path, store))
    await store.close()
    return copies


def left(before: Copy, after: Copy, begun: bytes, chance: random.Random) -> Iterator[tuple[bytes, bytes, bool]]:
    """What may be on the disk between two acknowledgements: the file, the log, and whether the log is whole.

    `begun` is the file that the later log adds to.
    """
    for _ in range(6 if begun != before.file else 0):  # the former log is being written back, and still there
        yield mixed(before.file, begun, chance), before.log, False
    for log in logs(before.log, after.log, chance):
        yield begun, log, False
    for _ in range(6 if begun != after.file else 0):  # the log is whole, pages of the file are old or new, its end too
        yield mixed(begun, after.file, chance), after.log, True
    yield begun, after.log, True


def written_back(folder: Path, copy: Copy) -> bytes:
    """The file with all that its log has: a log begins anew only once this is on the disk."""
    put(folder, copy.file, copy.log)
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    return (folder / "store.db").read_bytes()


def logs(old: bytes, new: bytes, chance: random.Random) -> Iterator[bytes]:
    if old[:HEADER] == new[:HEADER]:  # appended
        first = next((n for n in range(min(len(old), len(new))) if old[n] != new[n]), len(old))
        last = next((n for n in range(len(new), first, -1) if new[n - 1 : n] != old[n - 1 : n]), first)
        for cut in range(first, last, STEP):
            rest = last - cut
            yield new[:cut] + old[cut:]
            yield new[:cut]
            yield new[:cut] + bytes(rest)
            yield new[:cut] + chance.randbytes(rest)
        return
    yield old  # begun anew: its header is on the disk before anything follows
    last = next((n for n in range(len(new), HEADER, -1) if new[n - 1 : n] != old[n - 1 : n]), HEADER)
    for cut in range(HEADER, last, STEP):
        yield new[:cut] + old[cut:]
        yield new[:cut]
        yield new[:cut] + chance.randbytes(last - cut) + old[last:]


def mixed(old: bytes, new: bytes, chance: random.Random) -> bytes:
    size = max(len(old), len(new)) if chance.random() < 0.5 else len(new)
    pages = []
    for at in range(0, size, PAGE):
        choice = [each[at : at + PAGE] for each in (old, new) if len(each) >= at + PAGE] or [bytes(PAGE)]
        pages.append(chance.choice(choice))
    return b"".join(pages)


def put(folder: Path, file: bytes, log: bytes) -> None:
    for name, content in (("store.db", file), ("store.db-wal", log)):
        (folder / name).write_bytes(content)
    (folder / "store.db-shm").unlink(missing_ok=True)


async def opens_as(folder: Path, file: bytes, log: bytes) -> tuple[dict[str, tuple[bytes, int, int]], int]:
    put(folder, file, log)
    store = SqliteStore(folder / "store.db")
    try:
        return state_of(store), store.revision
    finally:
        await store.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: what is copied matters here, not when a disk has it."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(params=["commits", "beside"])
def who_writes_back(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is written back soon: by every commit that makes it long, or by the thread beside the commits."""
    if request.param == "beside":
        monkeypatch.setattr(sqlitecheckpoint, "DUE_BYTES", 60_000)
        return
    small = tuple("wal_autocheckpoint=12" if each.startswith("wal_auto") else each for each in sqlitefile.SETTINGS)
    assert small != sqlitefile.SETTINGS
    monkeypatch.setattr(sqlitefile, "SETTINGS", small)


@pytest.mark.timeout(3600 if SOAK else 300)
@pytest.mark.usefixtures("who_writes_back")
@pytest.mark.parametrize("seed", range(4 if SOAK else 1))
def test_every_cut_opens_with_all_that_was_acknowledged(memory: Path, seed: int) -> None:
    chance = random.Random(seed)
    (memory / "made").mkdir()
    (memory / "left").mkdir()

    async def body() -> None:
        copies = await recorded(memory / "made", chance)
        kinds = {True: 0, False: 0}
        for before, after in pairwise(copies):
            is_anew = before.log[:HEADER] != after.log[:HEADER]
            begun = written_back(memory / "left", before) if is_anew else before.file
            for file, log, whole in left(before, after, begun, chance):
                state, revision = await opens_as(memory / "left", file, log)
                allowed = [after] if whole else [before, after]
                assert any((state, revision) == (each.state, each.revision) for each in allowed), (
                    f"{revision} after a cut between {before.revision} and {after.revision}"
                )
                kinds[whole] += 1
        assert min(kinds.values()) > 20
        assert any(before.log[:HEADER] != after.log[:HEADER] for before, after in pairwise(copies))

    asyncio.run(body())
