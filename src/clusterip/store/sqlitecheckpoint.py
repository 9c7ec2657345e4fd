"""The log of the SQLite store is written back beside the commits, so that no commit waits for it.

Stage: store.  In: how many bytes each commit wrote.  Out: a log that begins anew every few megabytes.
Rules: a thread with a connection of its own copies most of the log into the file; what was committed meanwhile is
       little, and the writer thread copies it between two commits: then the next one begins the log anew.  Failures
       change nothing that was acknowledged: the log keeps it, and SQLite's own limit tries again.
Truth: sqlite.org/c3ref/wal_checkpoint_v2.html (PASSIVE), sqlite.org/wal.html ("Avoiding Excessively Large WAL Files").
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence

from clusterip.store.contract import Event, Unwritable
from clusterip.store.sqlitefile import StoreFile, connect

log = logging.getLogger(__name__)

DUE_BYTES = 8 * 1024 * 1024  # of the log, since it was written back
MOST_BYTES = 16 * 1024 * 1024  # of the log, before commits wait for the thread beside them
LONGEST_WAIT = 30.0
PAGE = 4096
COMMIT_BYTES, ROW_BYTES = 2 * PAGE, PAGE  # pages that every commit, and every row, changes beside the value's own
PASSIVE = "PRAGMA wal_checkpoint(PASSIVE)"

Job = Callable[[], None]


class Checkpoints:
    """Of one file. `grew` and what it queues run in the writer thread."""

    def __init__(self, file: StoreFile, enqueue: Callable[[Job], None]) -> None:
        """`enqueue` gives the writer thread a job."""
        self._file = file
        self._enqueue = enqueue
        self._size = 0
        self._is_running = False
        self._apart = threading.Event()
        """The thread beside has done its part."""
        self._due: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store-checkpoint", daemon=True)
        self._thread.start()

    def committed(self, events: Sequence[Event]) -> None:
        """The log has one commit more."""
        self.grew(COMMIT_BYTES + sum(len(event.value or b"") + ROW_BYTES for event in events))

    def grew(self, size: int) -> None:
        """The log has about so many bytes more; one that grows faster than it is written back is waited for."""
        self._size += size
        if self._is_running:
            if self._size >= MOST_BYTES:
                self._apart.wait(LONGEST_WAIT)
        elif self._size >= DUE_BYTES:
            self._is_running = True
            self._apart.clear()
            self._due.put(True)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while self._due.get():
            try:
                if connection is None and self._file.path.exists():  # one that was taken away is not made anew
                    connection = connect(self._file.path)
                if connection is not None:
                    connection.execute(PASSIVE).fetchall()
            except sqlite3.Error as error:
                log.warning("Could not write the log back beside the commits", extra={"kv": {"err": error}})
            self._enqueue(self._finish)
            self._apart.set()
        if connection is not None:
            connection.close()

    def _finish(self) -> None:
        """The rest, between two commits."""
        self._is_running, self._size = False, 0
        try:
            self._file.writer().execute(PASSIVE).fetchall()
        except (sqlite3.Error, Unwritable) as error:
            log.warning("Could not write the log back", extra={"kv": {"err": error}})

    def close(self) -> None:
        """Wait for what is at work."""
        self._due.put(False)
        self._thread.join()
