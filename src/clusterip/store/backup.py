"""Backups: the present of a store in one file, and back again, with revisions that only go forward.

Stage: edge.  In: a store's file (it may be in use), or its items.  Out: a backup; from a backup a store's file.
Rules: a backup is one consistent state, taken while writes go on; files appear whole or not at all; what a restore
       replaces is kept beside it.  After a restore every revision is later than any that a client may have seen, and
       history before it is gone: watches get 410 and informers list again.
Truth: etcdutl snapshot restore --bump-revision --mark-compacted.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from clusterip.failure import Failure
from clusterip.store import sqlitefile
from clusterip.store.contract import KeyValue
from clusterip.store.sqlitecompact import ends

BUMP = 1_000_000_000
KIND = "clusterip backup"
BEFORE = ".before-restore"
MOST_FAULTS = 20_000
LAST = 1 << 62

ABOUT = "CREATE TABLE {schema}about (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
PRESENT = """
INSERT INTO saved.log SELECT revision, key, created, 0, value FROM main.log JOIN (
    SELECT MAX(revision) AS latest FROM main.log WHERE revision > 0 GROUP BY key
) ON revision = latest WHERE value IS NOT NULL
"""
ALL_PRESENT = "SELECT key, value, created, revision FROM log WHERE revision > 0 AND value IS NOT NULL ORDER BY key"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a backup holds."""

    objects: int
    revision: int
    lost: int = 0
    """Pieces that could not be read."""


# --- saving ----------------------------------------------------------------------------------------------------------


def save_file(store: Path, target: Path) -> Saved:
    """The present of a store's file, which may be in use."""
    if not store.exists():
        raise Failure(f"there is no store {store}: nothing to back up")
    try:
        with closing(_reading(store)) as connection:
            sqlitefile.judge(connection, store)
            return _written(target, lambda part: _copy_present(connection, part))
    except sqlite3.Error as error:
        if sqlitefile.is_damage(error):
            raise sqlitefile.damaged(store, str(error)) from error
        raise Failure(f"cannot back up {store}: {error}") from error


def _reading(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{store.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _copy_present(connection: sqlite3.Connection, part: Path) -> Saved:
    """One transaction: what others write meanwhile is not in it."""
    _make(part)
    connection.execute("ATTACH ? AS saved", (str(part),))
    connection.execute("BEGIN")
    revision, _ = ends(connection)
    connection.execute(PRESENT)
    connection.execute("UPDATE saved.log SET previous = ?, created = ? WHERE revision = 0", (revision, revision))
    count = connection.execute("SELECT COUNT(*) FROM saved.log WHERE revision > 0").fetchone()[0]
    connection.execute("INSERT INTO saved.about VALUES ('kind', ?), ('revision', ?)", (KIND, str(revision)))
    connection.execute("COMMIT")
    connection.execute("DETACH saved")
    return Saved(count, revision)


def save_items(items: Iterable[KeyValue], revision: int, target: Path, lost: int = 0) -> Saved:
    """A state that was read elsewhere."""

    def write(part: Path) -> Saved:
        _make(part)
        with closing(sqlite3.connect(part)) as connection:
            rows = [(item.revision, item.key, item.created, 0, item.value) for item in items]
            connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("UPDATE log SET previous = ?, created = ? WHERE revision = 0", (revision, revision))
            connection.execute("INSERT INTO about VALUES ('kind', ?), ('revision', ?)", (KIND, str(revision)))
            connection.commit()
        return Saved(len(rows), revision, lost)

    try:
        return _written(target, write)
    except sqlite3.Error as error:
        raise Failure(f"cannot write {target}: {error}") from error


def _make(part: Path) -> None:
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        connection.executescript(sqlitefile.SCHEMA)
        connection.execute(ABOUT.format(schema=""))
        connection.execute(f"PRAGMA application_id={sqlitefile.APPLICATION}")
        connection.execute(f"PRAGMA user_version={sqlitefile.FORMAT}")


def _written(target: Path, write: Callable[[Path], Saved]) -> Saved:
    """A file that is there whole and durable, or not at all; for its owner alone."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        saved = write(part)
        _sync(part)
        part.replace(target)
        _sync(target.absolute().parent)
    except OSError as error:
        raise Failure(f"cannot write {target}: {error.strerror}") from error
    finally:
        for path in (part, part.with_name(part.name + "-journal")):
            path.unlink(missing_ok=True)
    return saved


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- what a damaged file still says ----------------------------------------------------------------------------------


def salvage(store: Path, target: Path) -> Saved:
    """A backup of what can be read of a damaged store: each key as its last row that can be."""
    if not store.exists():
        raise Failure(f"there is no store {store}: nothing to save")
    with TemporaryDirectory(prefix="clusterip-salvage-") as folder:
        for name in (store.name, f"{store.name}-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(store.with_name(name), Path(folder) / name)
        try:
            with closing(sqlite3.connect(Path(folder) / store.name, isolation_level=None)) as connection:
                rows, lost = _rows(connection)
        except sqlite3.Error as error:
            raise Failure(f"nothing can be read of {store}: {error}") from error
    latest: dict[str, tuple[int, int, bytes | None]] = {}
    for revision, key, created, value in rows:
        latest[key] = (revision, created, value)
    items = [KeyValue(key, value, created, at) for key, (at, created, value) in latest.items() if value is not None]
    if not items:
        raise Failure(f"nothing can be read of {store}")
    return save_items(items, max(row[0] for row in rows), target, lost)


def _rows(connection: sqlite3.Connection) -> tuple[list[tuple[int, str, int, bytes | None]], int]:
    """All rows that can be read, in order; spans that cannot are halved until they can, or are lost."""
    try:
        last = int(connection.execute("SELECT MAX(revision) FROM log").fetchone()[0])
    except (sqlite3.DatabaseError, TypeError):
        last = LAST
    found: list[tuple[int, str, int, bytes | None]] = []
    spans, lost = [(1, last)], 0
    while spans:
        low, high = spans.pop()
        try:
            query = "SELECT revision, key, created, value FROM log WHERE revision BETWEEN ? AND ?"
            found += connection.execute(query, (low, high)).fetchall()
        except sqlite3.DatabaseError:
            lost += 1
            if low < high and lost < MOST_FAULTS:
                middle = (low + high) // 2
                spans += [(middle + 1, high), (low, middle)]
    return sorted(found, key=lambda row: row[0]), lost


# --- restoring -------------------------------------------------------------------------------------------------------


def read(source: Path) -> tuple[list[KeyValue], int]:
    """What a backup holds, and its revision; a Failure when it is none, or damaged."""
    if not source.is_file():
        raise Failure(f"there is no backup {source}")
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            sqlitefile.judge(connection, source, whole=True, what="the backup")
            about = dict(connection.execute("SELECT name, value FROM about").fetchall())
            if about.get("kind") != KIND:
                raise Failure(f"{source} is not a backup of clusterip's")
            items = [KeyValue(*row) for row in connection.execute(ALL_PRESENT)]
    except sqlite3.Error as error:
        raise Failure(f"{source} is not a backup of clusterip's, or it is damaged: {error}") from error
    return items, int(about["revision"])


def restore_file(source: Path, store: Path, force: bool) -> Saved:
    """Put a backup in a store's place; with `force` also where one is, which is kept beside it."""
    items, revision = read(source)
    try:
        store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Failure(f"cannot make {store.parent}: {error.strerror}") from error
    lock = sqlitefile.lock(store)
    try:
        present = _present_revision(store, force)
        bumped = max(revision, present) + BUMP

        def write(part: Path) -> Saved:
            _make(part)
            with closing(sqlite3.connect(part)) as connection:
                rows = [(item.revision, item.key, item.created, 0, item.value) for item in items]
                connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
                connection.execute("UPDATE log SET previous = ?, created = ? WHERE revision = 0", (bumped, bumped))
                connection.execute("DROP TABLE about")
                connection.commit()
            _set_aside(store)
            return Saved(len(rows), bumped)

        return _written(store, write)
    except sqlite3.Error as error:
        raise Failure(f"cannot restore {store}: {error}") from error
    finally:
        os.close(lock)


def _present_revision(store: Path, force: bool) -> int:
    """The last revision of the store that is there, 0 for none, or one that nobody can read."""
    if not store.exists() and not store.with_name(store.name + "-wal").exists():
        return 0
    revision, count = 0, "unreadable"
    try:
        with closing(_reading(store)) as connection:
            revision, _ = ends(connection)
            count = str(connection.execute("SELECT COUNT(DISTINCT key) - 1 FROM log").fetchone()[0])
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        pass
    if not force and count != "0":
        raise Failure(
            f"there is a store {store} already (objects: {count}, revision {revision}); --force puts the backup in its "
            f"place and keeps it as {store.name}{BEFORE}"
        )
    return revision


def _set_aside(store: Path) -> None:
    """Keep the present file under another name, in a way that there is one at any moment."""
    before = store.with_name(store.name + BEFORE)
    for ending in ("", "-wal"):
        path = store.with_name(store.name + ending)
        kept = before.with_name(before.name + ending)
        kept.unlink(missing_ok=True)
        if not path.exists():
            continue
        if ending:
            path.rename(kept)
        else:
            os.link(path, kept)
    store.with_name(store.name + "-shm").unlink(missing_ok=True)
