"""A backup into etcd: everything below the prefix is replaced, the head comes last.

Stage: edge.  In: the items of a backup.  Out: keys in etcd, at revisions that only go forward.
Rules: while it is under way, and when it was cut off, the head says so and no server starts on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from clusterip.failure import Failure
from clusterip.store import etcdbatch as batch
from clusterip.store import etcdwire as wire
from clusterip.store.backup import BUMP, Saved
from clusterip.store.contract import KeyValue, StoreError
from clusterip.store.etcd import opened
from clusterip.store.etcdclient import Endpoints, EtcdClient

MOST_KEYS = 100
MOST_BYTES = 1_000_000


async def read(endpoints: Endpoints) -> tuple[list[KeyValue], int]:
    """The present, and its revision."""
    async with opened(endpoints) as store:
        return store.range(""), store.revision


async def restore(endpoints: Endpoints, items: Sequence[KeyValue], revision: int, force: bool) -> Saved:
    """Put a backup there; where a store is, only with `force`."""
    client = EtcdClient(endpoints)
    places = batch.Places(endpoints.prefix)
    try:
        found = (await client.range(wire.range_request(places.head))).kept
        if found and not force:
            raise Failure(f"etcd has a store below {endpoints.prefix}/ already; --force puts the backup in its place")
        bumped = max(revision, _last(found)) + BUMP
        under_way = orjson.dumps({"format": batch.RESTORING, "last": bumped})
        clear = [
            wire.delete_op(wire.delete_request(*places.objects)),
            wire.delete_op(wire.delete_request(places.compacted)),
        ]
        await client.transact(wire.transaction([], [*clear, wire.put_op(wire.put_request(places.head, under_way))]))
        for part in pieces(items):
            puts = [
                wire.put_op(wire.put_request(places.of(item.key), batch.value(item.revision, item.created, item.value)))
                for item in part
            ]
            await client.transact(wire.transaction([], puts))
        head = batch.record("restore", 0, [], last=bumped)
        await client.transact(wire.transaction([], [wire.put_op(wire.put_request(places.head, head))]))
    except StoreError as error:
        raise Failure(f"cannot restore into etcd at {endpoints.shown}: {error}; run it again") from error
    finally:
        await client.close()
    return Saved(len(items), bumped)


def _last(found: Sequence[wire.Kept]) -> int:
    """The last revision that a head names; 0 when it is none."""
    try:
        return int(orjson.loads(found[0].value)["last"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0


def pieces(items: Sequence[KeyValue]) -> Iterator[list[KeyValue]]:
    """Items in portions that one transaction takes."""
    part: list[KeyValue] = []
    size = 0
    for item in items:
        if part and (len(part) == MOST_KEYS or size + len(item.value) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item.value)
    if part:
        yield part
