"""A batch of writes as it lies in etcd: one record at the head, and a value for each key.

Stage: wire; pure.  In: writes and the events they are.  Out: the operations of one transaction of etcd; and back.
Rules: every transaction of ours writes the head and compares it, so that batches of all servers follow one another and
       each was decided on exactly what is before it.  The record names the writes in order, with those values that
       the same batch replaced or deleted again: etcd keeps one value a key and a transaction.  Revisions are our own,
       consecutive over all batches; etcd's count transactions.
Layout: PREFIX/head, PREFIX/compacted, PREFIX/keys/KEY = "REVISION CREATED VALUE".
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from clusterip.store import etcdwire as wire
from clusterip.store.contract import Event, KeyValue

FORMAT = 1
RESTORING = "restoring"
KEPT, DELETED, REPLACED = 0, 1, 2


class Unreadable(Exception):
    """What lies in etcd is not ours, or of a later version."""


@dataclass(frozen=True, slots=True)
class Places:
    """The keys of etcd that one cluster uses."""

    prefix: str

    @property
    def head(self) -> bytes:
        return f"{self.prefix}/head".encode()

    @property
    def compacted(self) -> bytes:
        return f"{self.prefix}/compacted".encode()

    @property
    def all(self) -> tuple[bytes, bytes]:
        return f"{self.prefix}/".encode(), f"{self.prefix}0".encode()

    @property
    def objects(self) -> tuple[bytes, bytes]:
        return f"{self.prefix}/keys/".encode(), f"{self.prefix}/keys0".encode()

    def of(self, key: str) -> bytes:
        return f"{self.prefix}/keys/{key}".encode()

    def key_of(self, place: bytes) -> str:
        return place.decode()[len(self.prefix) + 6 :]


@dataclass(frozen=True, slots=True)
class Head:
    """Who wrote the last batch, and which revisions it has."""

    writer: str
    number: int
    first: int
    last: int
    writes: Sequence[Sequence[Any]] = ()


def head_of(content: bytes) -> Head:
    try:
        tree = orjson.loads(content)
        version = tree["format"]
        if version == FORMAT:
            return Head(tree["writer"], tree["number"], tree["first"], tree["last"], tree["writes"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable("what lies there is not a store of clusterip's; choose another --etcd-prefix") from error
    if version == RESTORING:
        raise Unreadable("a restore is under way here, or was cut off: let it end, or run it again with --force")
    raise Unreadable(f"the store in etcd has format {version}, this clusterip knows {FORMAT}: use a later clusterip")


def record(writer: str, number: int, events: Sequence[Event], last: int = 0) -> bytes:
    """The head's content for a batch; one without events carries the last revision alone."""
    final = {event.key: event.revision for event in events}
    writes: list[list[Any]] = []
    for event in events:
        if event.value is None:
            writes.append([event.key, DELETED])
        elif final[event.key] == event.revision:
            writes.append([event.key, KEPT])
        else:
            writes.append([event.key, REPLACED, b64encode(event.value).decode()])
    first, end = (events[0].revision, events[-1].revision) if events else (last + 1, last)
    tree = {"format": FORMAT, "writer": writer, "number": number, "first": first, "last": end, "writes": writes}
    return orjson.dumps(tree)


def value(revision: int, created: int, content: bytes) -> bytes:
    return b"%d %d %b" % (revision, created, content)


def item(places: Places, kept: wire.Kept) -> KeyValue:
    """A key of etcd as the store's."""
    try:
        revision, created, content = kept.value.split(b" ", 2)
        return KeyValue(places.key_of(kept.key), content, int(created), int(revision))
    except ValueError as error:
        raise Unreadable(
            f"the key {kept.key.decode(errors='replace')} of etcd is not clusterip's; choose another --etcd-prefix"
        ) from error


def operations(places: Places, events: Sequence[Event], head: bytes) -> list[bytes]:
    """What a transaction does for a batch."""
    last = {event.key: event for event in events}
    found = [wire.put_op(wire.put_request(places.head, head))]
    for key, event in last.items():
        if event.value is None:
            found.append(wire.delete_op(wire.delete_request(places.of(key))))
        else:
            content = value(event.revision, event.created, event.value)
            found.append(wire.put_op(wire.put_request(places.of(key), content)))
    return found


def events_of(head: Head, kept: Mapping[str, bytes], present: Mapping[str, KeyValue | None]) -> list[Event]:
    """The events of somebody's batch, from its record and the values that came with it.

    `present` has what each key was before."""
    now = dict(present)
    found: list[Event] = []
    for revision, (key, how, *more) in enumerate(head.writes, head.first):
        old = now[key]
        content = None if how == DELETED else b64decode(more[0]) if how == REPLACED else kept.get(key)
        if (content is None) != (how == DELETED) or (content is None and old is None):
            raise Unreadable(f"the batch of revision {head.first} in etcd does not say what became of {key}")
        created = old.created if old else revision
        found.append(Event(revision, key, content, old, created))
        now[key] = None if content is None else KeyValue(key, content, created, revision)
    return found
