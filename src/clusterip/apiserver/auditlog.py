"""The audit log: events into a file, a line each, off the loop that serves.

Stage: acts; one thread.  In: events as trees.  Out: JSON lines; old files aside, a bounded number of them.
Rules: a full buffer or disk costs events, never a request: they are counted, and it is said once until it works again.
Truth: apiserver's plugin/audit/log and lumberjack's names of old files.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import orjson

from clusterip.api.meta import Tree
from clusterip.failure import Failure

log = logging.getLogger(__name__)

BUFFER = 10_000  # events on their way
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where the log is, and how much of it stays; 0 is no limit."""

    path: str
    days: int = 0
    megabytes: int = 100
    files: int = 0


@dataclass(slots=True)
class AuditLog:
    """A log that is written while somebody serves."""

    keeping: Keeping
    lost: int = 0
    _events: queue.Queue[Tree | None] = field(default_factory=lambda: queue.Queue(BUFFER))
    _thread: threading.Thread | None = None
    _file: IO[bytes] | None = None
    _size: int = 0
    _said: bool = False

    def open(self) -> None:
        """Begin; a Failure when the file cannot be made."""
        try:
            self._reopen()
        except OSError as error:
            raise Failure(f"--audit-log-path {self.keeping.path}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._work, name="audit-log", daemon=True)
        self._thread.start()

    def add(self, event: Tree) -> None:
        """Write an event soon; one that finds the buffer full is lost."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._lose(1, f"{BUFFER} events wait already")

    def close(self) -> None:
        """Write what waits, and end."""
        if self._thread is not None:
            self._events.put(None)
            self._thread.join(10)
            self._thread = None
        if self._file is not None and self._file is not sys.stdout.buffer:
            self._file.close()

    def _reopen(self) -> None:
        if self.keeping.path == "-":
            self._file, self._size = sys.stdout.buffer, 0
            return
        path = Path(self.keeping.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - it stays open
        path.chmod(0o600)
        self._size = path.stat().st_size

    def _work(self) -> None:
        ended = False
        while not ended:
            events = [self._events.get()]
            while len(events) < 500 and not self._events.empty():
                events.append(self._events.get_nowait())
            ended = None in events
            self._write([event for event in events if event is not None])

    def _write(self, events: list[Tree]) -> None:
        lines = b"".join(orjson.dumps(event, default=str) + b"\n" for event in events)
        try:
            if self._file is None or (self._size and self._size + len(lines) > self.keeping.megabytes * MEGABYTE > 0):
                self._rotate()
            assert self._file is not None
            self._all(self._file, lines)
        except OSError as error:
            self._lose(len(events), str(error.strerror))
            return
        if self._said:
            self._said = False
            log.warning("The audit log is written again", extra={"kv": {"path": self.keeping.path, "lost": self.lost}})

    def _all(self, file: IO[bytes], lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            written = file.write(rest)
            self._size += written
            rest = rest[written:]
        file.flush()

    def _lose(self, number: int, why: str) -> None:
        self.lost += number
        if not self._said:
            self._said = True
            values = {"path": self.keeping.path, "err": why}
            log.error("The audit log cannot be written; events are lost until it can", extra={"kv": values})

    def _rotate(self) -> None:
        """Begin a new file; the old one gets the moment in its name."""
        path = Path(self.keeping.path)
        if self._file is not None and self.keeping.path != "-":
            self._file.close()
            self._file = None
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
            path.rename(path.with_name(f"{path.stem}-{moment}{path.suffix}"))
        self._reopen()
        self._forget(path)

    def _forget(self, path: Path) -> None:
        """Old files beyond the number or the age that is kept go."""
        old = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), reverse=True)
        kept, limit = self.keeping.files or len(old), self.keeping.days * 86400
        for number, each in enumerate(old):
            if number >= kept or (limit and each.stat().st_mtime < time.time() - limit):  # noqa: TID251 - a file's age
                each.unlink(missing_ok=True)
