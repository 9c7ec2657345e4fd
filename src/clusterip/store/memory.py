"""The store that forgets at exit: for tests, and for clusters that need no disk.

Stage: store.  Rules: the model that the durable stores are tested against, so it is written for clearness.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

from clusterip.store.contract import (
    Compacted,
    Conflict,
    Event,
    Follower,
    KeyValue,
    Sole,
    Write,
    check_revision,
    last_key,
)


class MemoryStore(Sole):
    """A list of events and the state they lead to."""

    def __init__(self) -> None:
        self._now: dict[str, KeyValue] = {}
        self._keys: list[str] = []  # of _now, sorted
        self._log: list[Event] = []
        self._revision = 0
        self._compacted = 0
        self._followers: list[Follower] = []

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def commit(self, writes: Sequence[Write]) -> int:
        events = self.check(writes)
        self.apply(events)
        for follower in list(self._followers):
            follower(events)
        return self._revision

    def apply(self, events: Sequence[Event]) -> None:
        """Take in what was checked."""
        for event in events:
            self._apply(event)

    def check(self, writes: Sequence[Write]) -> list[Event]:
        """The events that the writes are, all checked before one is applied."""
        events: list[Event] = []
        pending: dict[str, KeyValue | None] = {}
        for revision, write in enumerate(writes, self._revision + 1):
            old = pending[write.key] if write.key in pending else self._now.get(write.key)
            found = old.revision if old else 0
            if found != write.expected or (write.value is None and old is None):
                raise Conflict(write.key, write.expected, found)
            created = old.created if old else revision
            events.append(Event(revision, write.key, write.value, old, created))
            pending[write.key] = None if write.value is None else KeyValue(write.key, write.value, created, revision)
        return events

    def _apply(self, event: Event) -> None:
        self._log.append(event)
        self._revision = max(self._revision, event.revision)
        if event.value is None:
            del self._now[event.key]
            del self._keys[bisect.bisect_left(self._keys, event.key)]
            return
        if event.key not in self._now:
            bisect.insort(self._keys, event.key)
        self._now[event.key] = KeyValue(event.key, event.value, event.created, event.revision)

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        if not revision:
            return self._now.get(key)
        return self._at(check_revision(revision, self._revision, self._compacted)).get(key)

    def range(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> list[KeyValue]:
        at = check_revision(revision, self._revision, self._compacted)
        state, keys = (self._now, self._keys)
        if at != self._revision:
            state = self._at(at)
            keys = sorted(state)
        first = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after) if after else 0)
        found = keys[first : bisect.bisect_left(keys, last_key(prefix))]
        return [state[key] for key in (found[:limit] if limit else found)]

    def _at(self, revision: int) -> dict[str, KeyValue]:
        """The state at a revision: the present with the later events undone."""
        state = dict(self._now)
        for event in reversed(self._log):
            if event.revision <= revision:
                break
            state.pop(event.key, None)
            if event.old:
                state[event.key] = event.old
        return state

    def history(self, prefix: str, after: int) -> list[Event]:
        if after < self._compacted:
            raise Compacted(after, self._compacted)
        first = bisect.bisect_right(self._log, after, key=lambda event: event.revision)
        return [event for event in self._log[first:] if event.key.startswith(prefix)]

    def follow(self, follower: Follower, others: Follower | None = None) -> Callable[[], None]:
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    async def compact(self, revision: int) -> None:
        self.forget(revision)

    def forget(self, revision: int) -> None:
        """What compaction does."""
        if revision > self._compacted:
            self._compacted = check_revision(revision, self._revision, 0)
            self._log = [event for event in self._log if event.revision > revision]

    def advance(self, revision: int) -> None:
        """What follows is later than this."""
        self._revision = max(self._revision, revision)

    def begin(self, items: Sequence[KeyValue], revision: int) -> None:
        """Start from a state, without a history."""
        self._now = {item.key: item for item in sorted(items, key=lambda item: item.key)}
        self._keys = list(self._now)
        self._log = []
        self._revision = self._compacted = revision

    async def close(self) -> None:
        self._followers.clear()
