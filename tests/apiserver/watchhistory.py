"""What watchers were told, held against what was written: six named validators.

Stage: pure.  In: the history of all writes, what each watcher's connections brought.  Out: violations, in words.
A watcher lives through many connections; each begins at a revision that the watcher had reached (or at that of a list).

  ordered       within a connection, revisions rise
  unique        no watcher is told a change twice
  reliable      nothing is missing between the first and the last that a connection brought
  atomic        a change is told whole and as it was written: kind, labels and data of one revision
  resumable     a connection begins with the first change after the revision that it was asked to begin at
  bookmarkable  a bookmark is no promise too much: all up to it was told before, nothing of it comes after
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Written:
    """One change of one object. A deletion shows the object as it was."""

    revision: int
    kind: str
    key: str
    labels: str
    data: str
    labels_before: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One event; of a bookmark only the revision counts."""

    kind: str
    revision: int
    key: str = ""
    labels: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher asked for: all objects of a prefix, or those with a label's value."""

    prefix: str = ""
    label: str = ""

    def seen(self, change: Written) -> Told | None:
        """What the change is to this watcher."""
        if not change.key.startswith(self.prefix):
            return None
        now = not self.label or change.labels == self.label
        before = not self.label or change.labels_before == self.label
        kind = change.kind
        if kind == "MODIFIED":
            if not now and not before:
                return None
            kind = "MODIFIED" if now and before else ("ADDED" if now else "DELETED")
        elif not now:
            return None
        if kind == "DELETED" and change.kind == "MODIFIED":
            return Told(kind, change.revision, change.key)  # it shows the object as it was before
        return Told(kind, change.revision, change.key, change.labels, change.data)


@dataclass(slots=True)
class Connection:
    """One connection of a watcher: the revision that it was to begin at, and what came."""

    after: int
    events: list[Told] = field(default_factory=list)


@dataclass(slots=True)
class Watcher:
    """One watcher's life. After a 410 it listed anew: then another life begins."""

    name: str
    interest: Interest
    connections: list[Connection] = field(default_factory=list)


def changes_of(connection: Connection) -> list[Told]:
    return [event for event in connection.events if event.kind != "BOOKMARK"]


def expected(history: Sequence[Written], interest: Interest, after: int, last: int) -> list[Told]:
    """What a watcher of this interest is to be told of changes in (after, last]."""
    seen = (interest.seen(change) for change in history if after < change.revision <= last)
    return [event for event in seen if event is not None]


def ordered(history: Sequence[Written], watcher: Watcher) -> Iterator[str]:
    for connection in watcher.connections:
        revisions = [event.revision for event in changes_of(connection)]
        for one, two in pairwise(revisions):
            if two <= one:
                yield f"{watcher.name}: {two} came after {one}"


def unique(history: Sequence[Written], watcher: Watcher) -> Iterator[str]:
    seen: set[int] = set()
    for connection in watcher.connections:
        for event in changes_of(connection):
            if event.revision in seen:
                yield f"{watcher.name}: {event.revision} came twice"
            seen.add(event.revision)


def reliable(history: Sequence[Written], watcher: Watcher) -> Iterator[str]:
    for connection in watcher.connections:
        revisions = [event.revision for event in changes_of(connection)]
        if not revisions:
            continue
        wanted = expected(history, watcher.interest, min(revisions) - 1, max(revisions))
        for event in wanted:
            if event.revision not in revisions:
                yield f"{watcher.name}: {event.revision} is missing between {min(revisions)} and {max(revisions)}"


def atomic(history: Sequence[Written], watcher: Watcher) -> Iterator[str]:
    written = {change.revision: change for change in history}
    for connection in watcher.connections:
        for event in changes_of(connection):
            change = written.get(event.revision)
            wanted = watcher.interest.seen(change) if change is not None else None
            if wanted is None:
                yield f"{watcher.name}: {event.revision} was never written for it"
            elif wanted.data and wanted != event:
                yield f"{watcher.name}: {event.revision} is {event}, not {wanted}"
            elif (wanted.kind, wanted.key) != (event.kind, event.key):
                yield f"{watcher.name}: {event.revision} is {event.kind} {event.key}, not {wanted.kind} {wanted.key}"


def resumable(history: Sequence[Written], watcher: Watcher) -> Iterator[str]:
    for connection in watcher.connections:
        events = changes_of(connection)
        if not events:
            continue
        wanted = expected(history, watcher.interest, connection.after, events[0].revision)
        if not wanted or wanted[0].revision != events[0].revision:
            first = wanted[0].revision if wanted else "none"
            yield f"{watcher.name}: after {connection.after} came {events[0].revision} first, not {first}"


def bookmarkable(history: Sequence[Written], watcher: Watcher) -> Iterator[str]:
    for connection in watcher.connections:
        told: set[int] = set()
        marked = connection.after
        for event in connection.events:
            if event.kind != "BOOKMARK":
                if event.revision <= marked:
                    yield f"{watcher.name}: {event.revision} came after the bookmark {marked}"
                told.add(event.revision)
                continue
            if event.revision < marked:
                yield f"{watcher.name}: the bookmark {event.revision} came after {marked}"
            for wanted in expected(history, watcher.interest, connection.after, event.revision):
                if wanted.revision not in told:
                    yield f"{watcher.name}: the bookmark {event.revision} came before {wanted.revision}"
            marked = max(marked, event.revision)


Validator = Callable[[Sequence[Written], Watcher], Iterator[str]]
VALIDATORS: dict[str, Validator] = {
    "ordered": ordered,
    "unique": unique,
    "reliable": reliable,
    "atomic": atomic,
    "resumable": resumable,
    "bookmarkable": bookmarkable,
}


def violations(history: Sequence[Written], watchers: Sequence[Watcher]) -> dict[str, list[str]]:
    """What each validator finds."""
    return {
        name: [text for watcher in watchers for text in validate(history, watcher)]
        for name, validate in VALIDATORS.items()
    }
