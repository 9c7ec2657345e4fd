"""What etcd keeps, read whole: the present, and where it can be had the history that leads to it.

Stage: edge, at start.  In: a client, the places.  Out: a Loaded value.
Rules: everything is read at revisions of etcd's, so that batches of other servers meanwhile do no harm; a long history
       is not worth a slow start: then only the present is read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import orjson

from clusterip.store import etcdbatch as batch
from clusterip.store import etcdwire as wire
from clusterip.store.contract import Event, KeyValue
from clusterip.store.etcdclient import EtcdClient, Refused

PAGE = 1000
MOST_TURNS = 5000
HISTORY_SECONDS = 3.0


@dataclass(slots=True)
class Loaded:
    """A state, the batches after it, and where they end."""

    items: list[KeyValue]
    revision: int
    head: int
    seen: int
    compacted: int = 0
    compactions: int = 0
    batches: list[tuple[list[Event], int]] = field(default_factory=list)


async def load(client: EtcdClient, places: batch.Places, history: bool = True) -> Loaded:
    """The present of all keys."""
    found = await client.range(wire.range_request(places.head))
    now = found.revision
    mark = await client.range(wire.range_request(places.compacted, revision=now))
    compacted, turn = 0, 0
    if mark.kept:
        tree = orjson.loads(mark.kept[0].value)
        compacted, turn = tree["revision"], tree["etcd"]
    compactions = mark.kept[0].modified if mark.kept else 0
    if not found.kept:
        return Loaded([], 0, 0, now, compacted, compactions)
    head = batch.head_of(found.kept[0].value)
    turn = turn or found.kept[0].made - 1
    if history and now - turn <= MOST_TURNS:
        try:
            async with asyncio.timeout(HISTORY_SECONDS):
                loaded = await _with_history(client, places, turn, now, head.last)
        except (Refused, TimeoutError, batch.Unreadable, KeyError):
            loaded = None
        if loaded is not None:
            loaded.head, loaded.compacted, loaded.compactions = found.kept[0].modified, compacted, compactions
            return loaded
    items = await state_at(client, places, now)
    return Loaded(items, head.last, found.kept[0].modified, now, head.last, compactions)


async def state_at(client: EtcdClient, places: batch.Places, revision: int) -> list[KeyValue]:
    """All keys as they were at a revision of etcd's."""
    first, end = places.objects
    items: list[KeyValue] = []
    while True:
        found = await client.range(wire.range_request(first, end, limit=PAGE, revision=revision))
        items += [batch.item(places, kept) for kept in found.kept]
        if not found.more:
            return items
        first = found.kept[-1].key + b"\0"


async def _with_history(client: EtcdClient, places: batch.Places, turn: int, now: int, last: int) -> Loaded | None:
    """The state at an older revision of etcd's and every batch since; None when they do not meet."""
    began, items = 0, []
    if turn:
        former = await client.range(wire.range_request(places.head, revision=turn))
        if former.kept:
            began = batch.head_of(former.kept[0].value).last
            items = await state_at(client, places, turn)
    loaded = Loaded(items, began, 0, now)
    present = {item.key: item for item in items}
    revision = began
    if revision == last:
        return loaded
    async with client.watching(*places.all, turn + 1) as watching:
        turns: dict[int, list[wire.Kept]] = {}
        while revision < last:
            notice = await watching.next()
            if notice.canceled:
                return None
            for _, kept in notice.events:
                turns.setdefault(kept.modified, []).append(kept)
            if notice.part:
                continue
            for modified, found in sorted(turns.items()):
                head = next((kept for kept in found if kept.key == places.head), None)
                if head is None or modified > now:
                    continue
                if batch.head_of(head.value).first != revision + 1:
                    return None
                events = _replayed(places, head, found, present)
                revision = batch.head_of(head.value).last
                loaded.batches.append((events, modified))
            turns = {}
    return loaded


def _replayed(
    places: batch.Places, head: wire.Kept, found: list[wire.Kept], present: dict[str, KeyValue]
) -> list[Event]:
    """One batch, and `present` after it."""
    start = places.objects[0]
    values = {
        item.key: item.value
        for item in (batch.item(places, kept) for kept in found if kept.key.startswith(start) and kept.value)
    }
    record = batch.head_of(head.value)
    events = batch.events_of(record, values, {key: present.get(key) for key, *_ in record.writes})
    for event in events:
        if event.value is None:
            present.pop(event.key, None)
        else:
            present[event.key] = KeyValue(event.key, event.value, event.created, event.revision)
    return events
