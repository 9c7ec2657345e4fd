"""What the server forgets by itself: history beyond a few minutes, events beyond an hour.

Stage: shell; a task for the server's life.  Rules: events go through the write path like any deletion.
Truth: kube-apiserver's --etcd-compaction-interval (5m) and --event-ttl (1h).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction
from clusterip.store.base import StoreError

log = logging.getLogger(__name__)

COMPACT_SECONDS = 300.0
EVENT_AGE = timedelta(hours=1)
AT_ONCE = 200  # events looked at or deleted before others have their turn
TIMES = ("lastTimestamp", "eventTime", "deprecatedLastTimestamp")


async def run(core: Core) -> None:
    """Forget, again and again."""
    former = core.store.revision
    while True:
        await asyncio.sleep(COMPACT_SECONDS)
        try:
            await forget_events(core)
            await core.store.compact(former)
        except (ApiError, StoreError) as error:
            log.warning("Could not forget old history, trying again later", extra={"kv": {"err": error}})
        former = core.store.revision


async def forget_events(core: Core) -> int:
    """Delete events that nothing happened to for an hour; how many went."""
    events = core.registry.of("events")
    if events is None:
        return 0
    limit = core.clock.now() - EVENT_AGE
    old: list[str] = []
    for number, entry in enumerate(list(events.entries.values())):
        if is_older(entry.tree(), limit):
            old.append(entry.key)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    for first in range(0, len(old), AT_ONCE):
        part = old[first : first + AT_ONCE]
        await core.writes.do(lambda transaction, part=part: _delete(transaction, events, part))  # type: ignore[misc]
    return len(old)


def _delete(transaction: Transaction, events: Collection, keys: list[str]) -> None:
    for key in keys:
        entry: Entry | None = transaction.get(events, key)
        if entry is not None:
            transaction.delete(events, key)


def is_older(event: Tree, limit: datetime) -> bool:
    """Its last time, whichever field says it, is before the limit."""
    found = [event.get(field) for field in TIMES] + [event["metadata"].get("creationTimestamp")]
    series = event.get("series") or {}
    found.append(series.get("lastObservedTime"))
    moments = [datetime.fromisoformat(text) for text in found if text]
    return bool(moments) and max(moments) < limit
