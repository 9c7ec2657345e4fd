"""What the server forgets by itself: history beyond a few minutes, events beyond an hour.

Stage: shell; a task for the server's life.  Rules: events go through the write path like any deletion; their age is
counted from their last write by a clock that never jumps, so that a wall clock set forward or back deletes nothing too
early; only events from before the server's start are judged by the dates in them.
Truth: kube-apiserver's --etcd-compaction-interval (5m) and --event-ttl (1h).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import datetime, timedelta

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction
from clusterip.store.contract import StoreError

log = logging.getLogger(__name__)

COMPACT_SECONDS = 300.0
EVENT_AGE = timedelta(hours=1)
AT_ONCE = 100  # events looked at or deleted before others have their turn
TIMES = ("lastTimestamp", "eventTime", "deprecatedLastTimestamp")


class Ages:
    """Which revision was the last one when: how old an object is by a clock that never jumps."""

    def __init__(self, start: int) -> None:
        self.start = start
        """What is not later was here before this server; only its own dates tell its age."""
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, monotonic: float, revision: int) -> None:
        self._marks.append((monotonic, revision))

    def older(self, monotonic: float, age: timedelta) -> int:
        """Whatever was last written at or before this revision is older than that; 0: nothing is known to be."""
        found = 0
        while self._marks and self._marks[0][0] <= monotonic - age.total_seconds():
            found = self._marks.popleft()[1]
        if found:
            self._marks.appendleft((monotonic - age.total_seconds(), found))
        return found


async def run(core: Core) -> None:
    """Forget, again and again."""
    former = core.store.revision
    ages = Ages(former)
    ages.note(core.clock.monotonic(), former)
    while True:
        await asyncio.sleep(COMPACT_SECONDS)
        try:
            await forget_events(core, ages)
            await core.store.compact(former)
        except (ApiError, StoreError) as error:
            log.warning("Could not forget old history, trying again later", extra={"kv": {"err": error}})
        former = core.store.revision
        ages.note(core.clock.monotonic(), former)


async def forget_events(core: Core, ages: Ages) -> int:
    """Delete events that nothing happened to for an hour; how many went."""
    events = core.registry.of("events")
    if events is None:
        return 0
    limit, reached = core.clock.now() - EVENT_AGE, ages.older(core.clock.monotonic(), EVENT_AGE)
    old: list[str] = []
    for number, entry in enumerate(list(events.entries.values())):
        dated = entry.revision <= ages.start and is_older(entry.tree(), limit)
        if entry.revision <= reached or dated:
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
