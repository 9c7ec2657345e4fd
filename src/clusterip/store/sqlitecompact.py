"""Forgetting in the SQLite store: superseded rows go in pieces, and the file gives back what it does not need.

Stage: store, in the writer thread.  In: a connection, the revisions between which to forget.  Out: how far it came.
Rules: a piece is one short transaction, so that writers wait for none; what a piece deletes follows from the rows of
       its span alone: each names the revision that it superseded.  A crash between pieces leaves rows that nobody
       reads; the next compaction begins where the last whole one ended.
Truth: sqlite.org/pragma.html#pragma_incremental_vacuum.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque

log = logging.getLogger(__name__)

HISTORY_BYTES = 256 * 1024 * 1024  # what history may have, whatever its age
MARK_BYTES = 1024 * 1024
SPAN = 2000  # revisions a piece
SPARE_PAGES = 4096  # free pages that a file keeps for what comes
VACUUM_PAGES = 2048

SUPERSEDED = """
DELETE FROM log WHERE revision IN (SELECT previous FROM log WHERE revision > ?1 AND revision <= ?2 AND previous > 0)
"""
TOMBSTONES = "DELETE FROM log WHERE revision > ?1 AND revision <= ?2 AND value IS NULL"
FORGOTTEN = "UPDATE log SET previous = MAX(previous, ?), created = MAX(created, ?) WHERE revision = 0"


class Volume:
    """How many bytes were written since which revision."""

    def __init__(self) -> None:
        self._total = self._base = 0
        self._marks: deque[tuple[int, int]] = deque()  # (revision, bytes up to it), every megabyte

    @property
    def held(self) -> int:
        return self._total - self._base

    def add(self, revision: int, size: int) -> None:
        self._total += size
        if not self._marks or self._total - self._marks[-1][1] >= MARK_BYTES:
            self._marks.append((revision, self._total))

    def forgotten(self, revision: int) -> None:
        while self._marks and self._marks[0][0] <= revision:
            self._base = self._marks.popleft()[1]

    def middle(self) -> int:
        """The revision up to which the older half goes; 0 when there is none."""
        half = self._base + self.held // 2
        return max((revision for revision, total in self._marks if total <= half), default=0)


def ends(connection: sqlite3.Connection) -> tuple[int, int]:
    """The last revision, and the one up to which history is gone."""
    last = int(connection.execute("SELECT MAX(revision) FROM log").fetchone()[0])
    compacted = int(connection.execute("SELECT previous FROM log WHERE revision = 0").fetchone()[0])
    return max(last, compacted), compacted


def forget(connection: sqlite3.Connection, revision: int) -> int:
    """One piece of forgetting up to a revision; how far it came."""
    first = done_up_to(connection)
    if first >= revision:
        return revision
    reached = min(first + SPAN, revision)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(SUPERSEDED, (first, reached))
        connection.execute(TOMBSTONES, (first, reached))
        connection.execute(FORGOTTEN, (revision, reached))
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return reached


def done_up_to(connection: sqlite3.Connection) -> int:
    """Where the last piece ended: row 0 keeps it beside what is asked for."""
    return int(connection.execute("SELECT created FROM log WHERE revision = 0").fetchone()[0])


def give_back(connection: sqlite3.Connection) -> bool:
    """One piece of free pages goes back to the disk; whether more should.  A quarter of the file stays free."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    spare = max(SPARE_PAGES, pages // 4)
    if free > spare:
        connection.execute(f"PRAGMA incremental_vacuum({min(free - spare, VACUUM_PAGES)})").fetchall()
        return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0]) and free - spare > VACUUM_PAGES
    return False


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:  # SQLite has rolled back by itself
            log.warning("Rollback failed", extra={"kv": {"err": error}})
