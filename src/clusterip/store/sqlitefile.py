"""The file behind the SQLite store: opened, judged, and read from a copy while its disk takes nothing.

Stage: edge, at start.  In: a path.  Out: connections; a Failure that says what is wrong and which command helps.
Rules: a store is never begun anew where one was; one process at a time; a file of a later version is left alone.  Where
       the disk is full or read-only, the present is served from a copy in memory and every write tries the disk again.
Truth: sqlite.org/wal.html ("Read-Only Databases"), sqlite.org/pragma.html (quick_check, auto_vacuum).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from clusterip.failure import Failure
from clusterip.store.contract import Unwritable

log = logging.getLogger(__name__)

FORMAT = 1
APPLICATION = 0x636C6970  # "clip"
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
SETTINGS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=6000",  # sqlitecheckpoint.py comes first
    "journal_size_limit=16777216",  # what the log keeps on the disk once it was written back
    "busy_timeout=5000",
)
CHECKED_BYTES = 64 * 1024 * 1024  # a larger file is checked while it serves
COPIES = ("/dev/shm", None)
WAY_OUT = (
    "nothing was changed; put a backup in its place with `clusterip restore {where} FILE`, "
    "or save what can be read with `clusterip backup --salvage {where} FILE` and restore that"
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the store's settings."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if not pages:  # a file that is there has it already, and to say it again is a write
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk had no room."""
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


def is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


class StoreFile:
    """An open store file. `reader` is for the loop, the writer for the one thread that writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        self.full = False
        self._writer: sqlite3.Connection | None = None
        self._copy: TemporaryDirectory[str] | None = None
        self._checking: sqlite3.Connection | None = None
        self.closing = False
        self._lock = lock(path)
        try:
            _refuse_missing(path)
            self.reader = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> sqlite3.Connection:
        try:
            fresh = not self.path.exists()
            reader, self._writer = _opened(self.path)
            if fresh:
                os.fsync(self._lock)  # the folder knows the file, come what may
        except sqlite3.Error as error:
            if is_damage(error):
                raise damaged(self.path, str(error)) from error
            reader = self._open_copy(error)
        return reader

    def _open_copy(self, error: sqlite3.Error) -> sqlite3.Connection:
        """The disk refuses: what is on it is served from a copy."""
        if not self.path.exists():
            raise Failure(f"cannot use the store {self.path}: {error}") from error
        self.full = is_full(error) or _has_no_room(self.path)
        why = "its disk is full" if self.full else f"its disk takes no write ({error})"
        self._copy = _copied(self.path)
        try:
            reader, writer = _opened(Path(self._copy.name) / self.path.name)
        except sqlite3.Error as second:
            self._copy.cleanup()
            if is_damage(second):
                raise damaged(self.path, str(second)) from second
            raise Failure(f"cannot use the store {self.path}: {error}") from error
        writer.close()
        self.trouble = f"the store {self.path} is read-only: {why}"
        log.error("The store is read-only until its disk takes writes", extra={"kv": {"store": self.path, "err": why}})
        return reader

    def writer(self) -> sqlite3.Connection:
        """For the writer thread; Unwritable while the disk takes nothing."""
        if self._writer is None:
            try:
                reader, self._writer = _opened(self.path)
            except (sqlite3.Error, Failure) as error:
                raise Unwritable(f"{self.trouble}: {error}", full=self.full) from error
            self.reader = reader  # the same rows as in the copy: nobody wrote meanwhile
            self.trouble, self.full = "", False
            log.info("The store takes writes again", extra={"kv": {"store": self.path}})
        return self._writer

    @property
    def is_large(self) -> bool:
        """Too large to be checked before it is served."""
        return self.path.stat().st_size > CHECKED_BYTES

    def faults(self) -> str:
        """What is wrong with the file, by a connection of its own."""
        connection = self._checking = connect(self.path)
        try:
            return "" if self.closing else faults(connection)
        except sqlite3.Error as error:
            if self.closing:
                return ""
            log.warning("Could not check the store", extra={"kv": {"store": self.path, "err": error}})
            return ""
        finally:
            self._checking = None
            connection.close()

    def stop_checking(self) -> None:
        """Before the end: a check takes longer than anybody waits."""
        self.closing = True
        checking = self._checking
        if checking is not None:
            with suppress(sqlite3.ProgrammingError):  # it ended just now
                checking.interrupt()

    def close(self) -> None:
        for connection in (self._writer, self.reader):
            if connection is not None:
                connection.close()
        if self._copy is not None:
            self._copy.cleanup()
        os.close(self._lock)


def lock(path: Path) -> int:
    """Hold the folder's file for this process alone, whoever else looks at it."""
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"cannot use the store {path}: unable to open database file: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Failure(f"the store {path} is in use by another process: one API server at a time") from None
    return fd


def _refuse_missing(path: Path) -> None:
    """A log without its file would be thrown away by SQLite, and a store begun anew."""
    wal = path.with_name(path.name + "-wal")
    if (not path.exists() or not path.stat().st_size) and wal.exists() and wal.stat().st_size:
        raise damaged(path, f"it is missing or empty, and {wal.name} is there")


def damaged(path: Path, what: str) -> Failure:
    """What is said of a store that cannot be believed."""
    where = f"--state {path.parent}"
    return Failure(f"the store {path} is damaged: {what}; {WAY_OUT.format(where=where)}")


def _opened(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Reader and writer of a file that is sound, or made."""
    reader = connect(path)
    try:
        judge(reader, path)
        reader.executescript(SCHEMA)
        if not reader.execute("PRAGMA application_id").fetchone()[0]:
            reader.execute(f"PRAGMA application_id={APPLICATION}")
            reader.execute(f"PRAGMA user_version={FORMAT}")
        return reader, connect(path)
    except BaseException:
        reader.close()
        raise


def judge(connection: sqlite3.Connection, path: Path, whole: bool = False, what: str = "the store") -> None:
    """Whether the file is one of ours, of a version that is known, and (if it is small, or asked for) sound."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        raise Failure(
            f"{what} {path} has format {version}, this clusterip knows {FORMAT}: it was written by a later "
            "clusterip; use that one, or restore a backup of this one"
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "log" not in tables:
        raise Failure(f"{path} is not a store of clusterip's: it has the tables {', '.join(sorted(tables))}")
    if (whole or path.stat().st_size <= CHECKED_BYTES) and (found := faults(connection)):
        raise Failure(f"{what} {path} is damaged: {found}") if whole else damaged(path, found)


def faults(connection: sqlite3.Connection) -> str:
    """What is wrong with the file's structure, in SQLite's words; empty when nothing is."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return str(error)
        raise
    return "" if found == ["ok"] else "; ".join(" ".join(line.split()) for line in found)


def _has_no_room(path: Path) -> bool:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < 256 * 1024


def _copied(path: Path) -> TemporaryDirectory[str]:
    """The file and its log in a folder of their own, where there is room."""
    parts = [path, path.with_name(path.name + "-wal")]
    last: OSError | None = None
    for place in COPIES:
        folder: TemporaryDirectory[str] | None = None
        try:
            folder = TemporaryDirectory(prefix="clusterip-store-", dir=place)
            for part in parts:
                if part.exists():
                    shutil.copyfile(part, Path(folder.name) / part.name)
            return folder
        except OSError as error:
            last = error
            if folder is not None:
                folder.cleanup()
    raise Failure(f"the store {path} cannot be written, and there is no room for a copy: {last}; free some space")
