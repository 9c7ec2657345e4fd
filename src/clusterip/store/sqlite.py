"""The durable store: one SQLite table whose row id is the revision.

Stage: store.  In: batches, queued to the one writer thread.  Out: the same values as any store.
Rules: one transaction a batch, fsynced before it is acknowledged (WAL, synchronous=FULL), so that an acknowledged
       write survives kill -9 and power loss; what fails is rolled back whole; reads go by a second connection and see
       committed rows only.
Row 0 holds the compacted revision.  Truth: sqlite.org/wal.html; kine's logstructured store.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from clusterip.failure import Failure
from clusterip.store.base import (
    Compacted,
    Conflict,
    Event,
    Follower,
    KeyValue,
    Sole,
    Unwritable,
    Write,
    check_revision,
    last_key,
)

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY,
    key      TEXT    NOT NULL,
    created  INTEGER NOT NULL,  -- the revision at which the key came to be
    previous INTEGER NOT NULL,  -- the key's former revision, 0 when it did not exist
    value    BLOB               -- NULL: deleted
);
CREATE INDEX IF NOT EXISTS log_by_key ON log (key, revision);
INSERT OR IGNORE INTO log VALUES (0, '', 0, 0, NULL);
"""
SETTINGS = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=2000", "busy_timeout=5000")

LATEST = "SELECT revision, created, value FROM log WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1"
RANGE = """
SELECT key, value, created, revision FROM log JOIN (
    SELECT MAX(revision) AS latest FROM log WHERE key >= ? AND key < ? AND key > ? AND revision <= ? GROUP BY key
) ON revision = latest WHERE value IS NOT NULL ORDER BY key LIMIT ?
"""
HISTORY = """
SELECT log.revision, log.key, log.value, log.created, old.value, old.created, old.revision
FROM log LEFT JOIN log AS old ON old.revision = log.previous AND log.previous > 0
WHERE log.revision > ? AND log.revision <= ? AND log.key >= ? AND log.key < ? ORDER BY log.revision
"""
SUPERSEDED = """
DELETE FROM log WHERE revision > 0 AND revision <= ?1 AND (
    value IS NULL OR EXISTS (
        SELECT 1 FROM log AS later WHERE later.key = log.key AND later.revision > log.revision AND later.revision <= ?1
    )
)
"""

Job = Callable[[sqlite3.Connection], None]


class SqliteStore(Sole):
    """A file. Only one process may have it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; a Failure says why it cannot be used."""
        try:
            self._reader = _connect(path)
            self._reader.executescript(SCHEMA)
            self._writer = _connect(path)
            self._revision = int(self._reader.execute("SELECT MAX(revision) FROM log").fetchone()[0])
            self._compacted = int(self._reader.execute("SELECT previous FROM log WHERE revision = 0").fetchone()[0])
        except sqlite3.Error as error:
            raise Failure(f"cannot use the store {path}: {error}") from error
        self._revision = max(self._revision, self._compacted)
        self._followers: list[Follower] = []
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def commit(self, writes: Sequence[Write]) -> int:
        # The future is settled in the loop right after the followers ran, so an answer never overtakes its event.
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def job(connection: sqlite3.Connection) -> None:
            try:
                events = _transact(connection, writes)
            except Exception as error:
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(self._publish, events, done)

        self._jobs.put(job)
        return await asyncio.shield(done)

    def _publish(self, events: list[Event], done: asyncio.Future[int]) -> None:
        if events:
            self._revision = events[-1].revision
        for follower in list(self._followers):
            follower(events)
        _settle(done, self._revision)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job(self._writer)

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        at = check_revision(revision, self._revision, self._compacted)
        row = self._reader.execute(LATEST, (key, at)).fetchone()
        return KeyValue(key, row[2], row[1], row[0]) if row and row[2] is not None else None

    def range(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> list[KeyValue]:
        at = check_revision(revision, self._revision, self._compacted)
        rows = self._reader.execute(RANGE, (prefix, last_key(prefix), after, at, limit or -1))
        return [KeyValue(*row) for row in rows]

    def history(self, prefix: str, after: int) -> list[Event]:
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        rows = self._reader.execute(HISTORY, (after, self._revision, prefix, last_key(prefix)))
        return [
            Event(revision, key, value, KeyValue(key, *old) if old[2] is not None else None, created)
            for revision, key, value, created, *old in rows
        ]

    def follow(self, follower: Follower, others: Follower | None = None) -> Callable[[], None]:
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    async def compact(self, revision: int) -> None:
        if revision <= self._compacted:
            return
        check_revision(revision, self._revision, 0)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        self._compacted = revision  # readers are turned away before rows go

        def job(connection: sqlite3.Connection) -> None:
            try:
                _forget(connection, revision)
            except sqlite3.Error as error:
                loop.call_soon_threadsafe(_fail, done, Unwritable(str(error), full=_is_full(error)))
            except Exception as error:
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_settle, done, revision)

        self._jobs.put(job)
        await asyncio.shield(done)

    async def close(self) -> None:
        self._followers.clear()
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._writer.close()
        self._reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for setting in SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    return connection


def _settle(done: asyncio.Future[int], revision: int) -> None:
    if not done.done():
        done.set_result(revision)


def _fail(done: asyncio.Future[int], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _transact(connection: sqlite3.Connection, writes: Sequence[Write]) -> list[Event]:
    """One batch as one transaction; its events, once they are on the disk."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        events = _insert(connection, writes)
        connection.execute("COMMIT")
    except BaseException as error:
        _roll_back(connection)
        if isinstance(error, sqlite3.Error):
            raise Unwritable(str(error), full=_is_full(error)) from error
        raise
    return events


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:  # SQLite has rolled back by itself
            log.warning("Rollback failed", extra={"kv": {"err": error}})


def _insert(connection: sqlite3.Connection, writes: Sequence[Write]) -> list[Event]:
    last, compacted = connection.execute(
        "SELECT MAX(revision), (SELECT previous FROM log WHERE revision = 0) FROM log"
    ).fetchone()
    events: list[Event] = []
    for revision, write in enumerate(writes, max(last, compacted) + 1):
        row = connection.execute(LATEST, (write.key, revision)).fetchone()
        old = KeyValue(write.key, row[2], row[1], row[0]) if row and row[2] is not None else None
        found = old.revision if old else 0
        if found != write.expected or (write.value is None and old is None):
            raise Conflict(write.key, write.expected, found)
        created = old.created if old else revision
        connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", (revision, write.key, created, found, write.value))
        events.append(Event(revision, write.key, write.value, old, created))
    return events


def _forget(connection: sqlite3.Connection, revision: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE log SET previous = ? WHERE revision = 0", (revision,))
        connection.execute(SUPERSEDED, (revision,))
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
