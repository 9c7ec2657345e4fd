"""The store's file: damage and disks that refuse are said, never taken for an empty store."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.store import sqlitefile
from clusterip.store.contract import Unwritable, Write
from clusterip.store.sqlite import SqliteStore

SOURCE = Path(__file__).parents[2] / "src"


def filled(path: Path, count: int = 300, size: int = 500) -> None:
    async def body() -> None:
        store = SqliteStore(path)
        await store.commit([Write(f"/registry/things/{n:05}", b"%d" % n * size, 0) for n in range(count)])
        await store.close()

    asyncio.run(body())


def opened_and_read(path: Path) -> int:
    """Open, read all, close."""

    async def body() -> int:
        store = SqliteStore(path)
        try:
            return len(store.range("/"))
        finally:
            await store.close()

    return asyncio.run(body())


def test_damage_is_found_and_the_way_out_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    filled(path)
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(8192))
    with pytest.raises(Failure, match=r"is damaged: .*clusterip restore --state .* FILE.*clusterip backup --salvage"):
        opened_and_read(path)
    assert path.stat().st_size == size


def test_damage_of_a_large_file_is_found_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlitefile, "CHECKED_BYTES", 0)
    path = tmp_path / "store.db"
    filled(path)
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log_by_key'").fetchone()[0]
    page = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)

    async def body() -> None:
        store = SqliteStore(path)
        async with asyncio.timeout(30):
            while not store.trouble:  # noqa: ASYNC110 - a thread finds it
                await asyncio.sleep(0.01)
        assert "is damaged" in store.trouble
        await store.close()

    asyncio.run(body())


@pytest.mark.parametrize("emptied", [False, True])
def test_a_file_that_went_while_its_log_stayed_is_no_fresh_store(tmp_path: Path, emptied: bool) -> None:
    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.commit([Write("/a", b"1", 0)])
        shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
        await store.close()

    asyncio.run(body())
    path = tmp_path / "copy" / "store.db"
    path.unlink()
    if emptied:
        path.touch()
    with pytest.raises(Failure, match=r"it is missing or empty, and store\.db-wal is there"):
        opened_and_read(path)
    assert path.with_name("store.db-wal").stat().st_size > 0


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    filled(path, 3)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(Failure, match="has format 2, this clusterip knows 1: it was written by a later clusterip"):
        opened_and_read(path)


def test_another_program_s_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(Failure, match="is not a store of clusterip's: it has the tables songs"):
        opened_and_read(path)


def test_who_connects_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    asyncio.run(store.close())
    before = path.read_bytes()
    connection = sqlitefile.connect(path)
    assert connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    log = tmp_path / "store.db-wal"
    assert not log.exists() or not log.stat().st_size
    connection.close()
    assert path.read_bytes() == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    filled(path, 3)

    async def body() -> None:
        store = SqliteStore(path)
        with pytest.raises(Failure, match="in use by another process"):
            SqliteStore(path)
        await store.close()
        await SqliteStore(path).close()

    asyncio.run(body())


def test_a_copy_serves_until_the_disk_takes_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    filled(path, 3)
    real, refused = sqlitefile._opened, [True]

    def opened(where: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        if refused[0] and where == path:
            raise sqlite3.OperationalError("unable to open database file")
        return real(where)

    monkeypatch.setattr(sqlitefile, "_opened", opened)

    async def body() -> None:
        store = SqliteStore(path)
        assert "is read-only" in store.trouble
        assert len(store.range("/")) == 3
        with pytest.raises(Unwritable, match="is read-only"):
            await store.commit([Write("/a", b"1", 0)])
        refused[0] = False
        assert await store.commit([Write("/a", b"1", 0)]) == 4
        assert not store.trouble
        assert len(store.range("/")) == 4
        await store.close()

    asyncio.run(body())
    assert opened_and_read(path) == 4


# --- real disks: small file systems of our own, in a mount namespace that ends with the test --------------------------

FULL = """
import asyncio, os, sys
from pathlib import Path
from clusterip.store.contract import Unwritable, Write
from clusterip.store.sqlite import SqliteStore
disk = Path(sys.argv[1])
path = disk / "store.db"

async def writes(store, name, size=20000):
    for n in range(10000):
        try:
            await store.commit([Write(f"/{name}/{n}", b"x" * size, 0)])
        except Unwritable as error:
            assert error.full, error
            return n
    raise AssertionError("never full")

async def body():
    store = SqliteStore(path)
    kept = await writes(store, "a")
    kept += await writes(store, "b", 10)
    assert len(store.range("/")) == kept, (len(store.range("/")), kept)
    fd = os.open(disk / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(fd, b"x" * 512):
            pass
    except OSError:
        pass
    os.close(fd)
    await store.close()
    again = SqliteStore(path)          # a start on a full disk
    assert len(again.range("/")) == kept
    try:
        await again.commit([Write("/c", b"x" * 100000, 0)])
    except Unwritable as error:
        assert error.full, error
    else:
        raise AssertionError("kept on a full disk")
    assert len(again.range("/")) == kept
    (disk / "ballast").unlink()
    os.system(f"mount -o remount,size=16m {disk}")
    assert await again.commit([Write("/c", b"x" * 100000, 0)]) == kept + 1
    assert not again.trouble, again.trouble
    await again.close()
    last = SqliteStore(path)
    assert len(last.range("/")) == kept + 1
    await last.close()
    print("well")
asyncio.run(body())
"""

READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from clusterip.store.contract import Unwritable, Write
from clusterip.store.sqlite import SqliteStore
disk = Path(sys.argv[1])
path = disk / "store.db"

async def body():
    store = SqliteStore(path)
    await store.commit([Write("/a", b"1", 0)])
    if sys.argv[2] == "clean":
        await store.close()
    else:                               # as kill -9 leaves it: the last writes are in the log only
        os.system(f"cp -r {disk} {disk}.copy")
        await store.close()
        os.system(f"rm {disk}/store.db*; cp {disk}.copy/store.db* {disk}/; rm -f {disk}/store.db-shm")
    os.system(f"mount -o remount,ro {disk}")
    again = SqliteStore(path)
    assert again.get("/a").value == b"1"
    try:
        await again.commit([Write("/b", b"1", 0)])
    except Unwritable as error:
        assert not error.full, error
    else:
        raise AssertionError("kept on a read-only disk")
    assert "is read-only: its disk takes no write" in again.trouble
    os.system(f"mount -o remount,rw {disk}")
    assert await again.commit([Write("/b", b"1", 0)]) == 2
    assert not again.trouble
    await again.close()
    print("well")
asyncio.run(body())
"""


def on_own_disk(script: str, folder: Path, size: str, *words: str) -> str:
    disk = folder / "disk"
    disk.mkdir()
    (folder / "script.py").write_text(script)
    inner = f'mount -t tmpfs -o size={size} tmpfs "$1" && exec "$2" "$3" "$1" {" ".join(words)}'
    command = ["unshare", "--mount", "sh", "-c", inner, "sh", str(disk), sys.executable, str(folder / "script.py")]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.root
def test_a_full_disk_at_run_time_and_at_start(tmp_path: Path) -> None:
    assert on_own_disk(FULL, tmp_path, "4m") == "well\n"


@pytest.mark.root
@pytest.mark.parametrize("end", ["clean", "killed"])
def test_a_read_only_disk(tmp_path: Path, end: str) -> None:
    assert on_own_disk(READ_ONLY, tmp_path, "4m", end) == "well\n"
