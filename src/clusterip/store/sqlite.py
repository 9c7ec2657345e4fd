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
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from clusterip.store.contract import (
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
from clusterip.store.sqlitecheckpoint import Checkpoints
from clusterip.store.sqlitecompact import HISTORY_BYTES, Volume, ends, forget, give_back, roll_back
from clusterip.store.sqlitefile import StoreFile, damaged, is_damage, is_full

log = logging.getLogger(__name__)

ROW_BYTES = 200  # a row's key, its place in the index
PIECE_BYTES = 2 * 1024 * 1024  # what a piece of forgetting adds to the log, about

LATEST = "SELECT revision, created, value FROM log WHERE key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1"
# The newest rows are found in the index, in the order of their keys, and then read in that order: to sort whole rows,
# with their values, costs five times as much.
RANGE = """
SELECT log.key, value, created, revision FROM (
    SELECT key, MAX(revision) AS latest FROM log
    WHERE key >= ? AND key < ? AND key > ? AND revision <= ? GROUP BY key ORDER BY key
) CROSS JOIN log ON revision = latest WHERE value IS NOT NULL LIMIT ?
"""
# Each step of a statement lets other threads have Python; to get it back costs a turn of a busy loop. So a batch is few
# statements, however many its writes are, and whoever waits for Python does so for less time than a turn takes: a loop
# that lets go of it between its turns, sooner than that, takes it again before a waiting thread has woken.
NEWEST = """
SELECT log.key, log.value, created, revision FROM json_each(CAST(? AS TEXT)) AS wanted CROSS JOIN log
ON revision = (SELECT revision FROM log WHERE key = wanted.value ORDER BY revision DESC LIMIT 1)
WHERE log.value IS NOT NULL
"""
SHARE_SECONDS = 0.0001
INSERT, ROW, ROWS = "INSERT INTO log VALUES ", "(?, ?, ?, ?, ?)", 64
HISTORY = """
SELECT log.revision, log.key, log.value, log.created, old.value, old.created, old.revision
FROM log LEFT JOIN log AS old ON old.revision = log.previous AND log.previous > 0
WHERE log.revision > ? AND log.revision <= ? AND log.key >= ? AND log.key < ? ORDER BY log.revision
"""
Job = Callable[[], None]


class SqliteStore(Sole):
    """A file. Only one process may have it open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; a Failure says why it cannot be used."""
        self._file = StoreFile(path)
        self._revision, self._compacted = ends(self._reader)
        self._written: int | None = self._revision  # the last row, for the writer thread; None: the file has to say
        self._volume = Volume()
        self._damage = ""
        self._followers: list[Follower] = []
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._checkpoints = Checkpoints(self._file, self._jobs.put)
        sys.setswitchinterval(min(SHARE_SECONDS, sys.getswitchinterval()))
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()
        self._checker = threading.Thread(target=self._look_for_damage, name="store-check", daemon=True)
        if self._file.is_large:
            self._checker.start()

    @property
    def path(self) -> Path:
        """The file that the store lies in."""
        return self._file.path

    @property
    def _reader(self) -> sqlite3.Connection:
        return self._file.reader

    @property
    def trouble(self) -> str:  # type: ignore[override]
        return self._file.trouble or self._damage

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

        def job() -> None:
            try:
                events = self._transact(writes)
            except Exception as error:
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(self._publish, events, done)
                self._checkpoints.committed(events)

        self._jobs.put(job)
        return await asyncio.shield(done)

    def _transact(self, writes: Sequence[Write]) -> list[Event]:
        """One batch, in the writer thread."""
        connection, last = self._file.writer(), self._written
        if not writes:
            return []
        self._written = None  # after a failure the file is asked
        events = _transact(connection, writes, last)
        self._written = events[-1].revision
        return events

    def _publish(self, events: list[Event], done: asyncio.Future[int]) -> None:
        if events:
            self._revision = events[-1].revision
            self._volume.add(self._revision, _size(events))
            if self._volume.held > HISTORY_BYTES:
                self._shorten()
        for follower in list(self._followers):
            follower(events)
        _settle(done, self._revision)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        at = check_revision(revision, self._revision, self._compacted)
        row = next(self._rows(LATEST, (key, at)), None)
        return KeyValue(key, row[2], row[1], row[0]) if row and row[2] is not None else None

    def range(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> list[KeyValue]:
        at = check_revision(revision, self._revision, self._compacted)
        rows = self._rows(RANGE, (prefix, last_key(prefix), after, at, limit or -1))
        return [KeyValue(*row) for row in rows]

    def history(self, prefix: str, after: int) -> list[Event]:
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        rows = self._rows(HISTORY, (after, self._revision, prefix, last_key(prefix)))
        return [
            Event(revision, key, value, KeyValue(key, *old) if old[2] is not None else None, created)
            for revision, key, value, created, *old in rows
        ]

    def _rows(self, query: str, values: tuple[Any, ...]) -> Iterator[Any]:
        """What the file says; what cannot be read is never taken for nothing."""
        try:
            yield from self._reader.execute(query, values)
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                raise damaged(self._file.path, str(error)) from error
            raise

    def follow(self, follower: Follower, others: Follower | None = None) -> Callable[[], None]:
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    async def compact(self, revision: int) -> None:
        if revision <= self._compacted:
            return
        check_revision(revision, self._revision, 0)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def tell(error: Exception | None) -> None:
            loop.call_soon_threadsafe(_told, done, revision, error)

        self._forget(revision, tell)
        await asyncio.shield(done)

    def _shorten(self) -> None:
        """History grew faster than time forgets it: its older half goes now."""
        middle = self._volume.middle()
        if middle > self._compacted:
            log.info("History is large, forgetting its older half", extra={"kv": {"revision": middle}})
            self._forget(middle, _warn)

    def _forget(self, revision: int, tell: Callable[[Exception | None], None]) -> None:
        """Turn readers away, then delete piece after piece, commits between them."""
        self._compacted = revision
        self._volume.forgotten(revision)

        def job() -> None:
            try:
                writer = self._file.writer()
                self._checkpoints.grew(PIECE_BYTES)
                if forget(writer, revision) < revision:
                    self._jobs.put(job)
                    return
                if give_back(writer):
                    self._jobs.put(job)
                    return
                tell(None)
            except sqlite3.Error as error:
                tell(Unwritable(str(error), full=is_full(error)))
            except Exception as error:
                tell(error)

        self._jobs.put(job)

    def _join(self) -> None:
        self._thread.join()
        self._checkpoints.close()
        if self._checker.ident is not None:
            self._checker.join()

    def _look_for_damage(self) -> None:
        """A large file is checked while it serves, by a thread of its own."""
        if what := self._file.faults():
            log.error("The store is damaged", extra={"kv": {"store": self._file.path, "err": what}})
            self._damage = str(damaged(self._file.path, what))

    async def close(self) -> None:
        self._followers.clear()
        self._jobs.put(None)
        self._file.stop_checking()
        await asyncio.get_running_loop().run_in_executor(None, self._join)
        self._file.close()


def _size(events: Sequence[Event]) -> int:
    return sum(len(event.value or b"") + ROW_BYTES for event in events)


def _settle(done: asyncio.Future[int], revision: int) -> None:
    if not done.done():
        done.set_result(revision)


def _told(done: asyncio.Future[int], revision: int, error: Exception | None) -> None:
    if error is None:
        _settle(done, revision)
    else:
        _fail(done, error)


def _warn(error: Exception | None) -> None:
    if error is not None:
        log.warning("Could not forget old history, trying again later", extra={"kv": {"err": error}})


def _fail(done: asyncio.Future[int], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _transact(connection: sqlite3.Connection, writes: Sequence[Write], last: int | None) -> list[Event]:
    """One batch after the last row as one transaction; its events, once they are on the disk."""
    try:
        events = _decided(connection, writes, ends(connection)[0] if last is None else last)
        if len(events) <= ROWS:  # one statement is a transaction by itself
            _insert(connection, events)
        else:
            connection.execute("BEGIN IMMEDIATE")
            for first in range(0, len(events), ROWS):
                _insert(connection, events[first : first + ROWS])
            connection.execute("COMMIT")
    except BaseException as error:
        roll_back(connection)
        if isinstance(error, sqlite3.Error):
            raise Unwritable(str(error), full=is_full(error)) from error
        raise
    return events


def _decided(connection: sqlite3.Connection, writes: Sequence[Write], last: int) -> list[Event]:
    """What the batch does to the newest rows, which nobody but this thread changes; or a Conflict."""
    newest = {row[0]: KeyValue(*row) for row in connection.execute(NEWEST, (orjson.dumps([w.key for w in writes]),))}
    events: list[Event] = []
    for revision, write in enumerate(writes, last + 1):
        old = newest.pop(write.key, None)
        found = old.revision if old else 0
        if found != write.expected or (write.value is None and old is None):
            raise Conflict(write.key, write.expected, found)
        created = old.created if old else revision
        if write.value is not None:
            newest[write.key] = KeyValue(write.key, write.value, created, revision)
        events.append(Event(revision, write.key, write.value, old, created))
    return events


def _insert(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    rows = map(_row, events)
    connection.execute(INSERT + ", ".join([ROW] * len(events)), tuple(chain.from_iterable(rows)))


def _row(event: Event) -> tuple[int, str, int, int, bytes | None]:
    return event.revision, event.key, event.created, event.old.revision if event.old else 0, event.value
