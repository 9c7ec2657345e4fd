"""Forgetting in etcd, and what is told of a history that was forgotten.

Stage: store.  In: revisions, an image and a later state.  Out: etcd compacted by one of several servers; the events
that lead from the image to the state.
"""

from __future__ import annotations

import orjson

from clusterip.store import etcdwire as wire
from clusterip.store.contract import Event
from clusterip.store.etcdbatch import Places
from clusterip.store.etcdclient import EtcdClient, Refused
from clusterip.store.etcdload import Loaded
from clusterip.store.memory import MemoryStore

SECONDS = 5.0


async def compact(client: EtcdClient, places: Places, revision: int, turn: int, known: int) -> int:
    """Forget in etcd what is before a revision, which etcd counts as `turn`, unless another server did since we looked.

    `known` is where we last saw the record of it; the answer is where it is now."""
    content = orjson.dumps({"revision": revision, "etcd": turn})
    request = wire.transaction(
        [wire.unchanged_since(places.compacted, known)],
        [wire.put_op(wire.put_request(places.compacted, content))],
        [wire.get_op(wire.range_request(places.compacted))],
    )
    done = await client.transact(request, SECONDS)
    if not done.succeeded:
        return done.found[0].modified if done.found else 0
    try:
        await client.compact(turn)
    except Refused as error:
        if not error.compacted:  # somebody else was further
            raise
    return done.revision


def shortened(image: MemoryStore, loaded: Loaded) -> list[Event]:
    """What leads from an image to a later state: puts at their revisions, deletions at those that are left."""
    before = {item.key: item for item in image.range("")}
    after = {item.key: item for item in loaded.items}
    changed = [item for item in loaded.items if item.revision > image.revision]
    taken = {item.revision for item in changed}
    free = (number for number in range(image.revision + 1, loaded.revision + 1) if number not in taken)
    gone = [Event(next(free), key, None, old, old.created) for key, old in before.items() if key not in after]
    puts = [Event(item.revision, item.key, item.value, before.get(item.key), item.created) for item in changed]
    events = sorted(gone + puts, key=lambda event: event.revision)
    if not events or events[-1].revision < loaded.revision:
        image.advance(loaded.revision)
    return events
