"""What a store is: revisioned keys with compare-and-swap, ranges at a revision, history, compaction.

Stage: seam under the API server.  In: batches of writes.  Out: key values, events in order of revision.
Rules: a batch is all or nothing, and durable when `commit` returns; revisions are consecutive in a batch and never
       reused; followers are called in the loop, in order, before `commit` returns; a store knows no object, only bytes.
Truth: etcd's MVCC (revision, create revision, compaction); kine's one table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as it was at a revision."""

    key: str
    value: bytes
    created: int
    revision: int


@dataclass(frozen=True, slots=True)
class Write:
    """One change. `value` None deletes; `expected` is the key's present revision, 0 when it must not exist."""

    key: str
    value: bytes | None
    expected: int


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change: what the key was (None: absent) and what it is now (None: deleted)."""

    revision: int
    key: str
    value: bytes | None
    old: KeyValue | None
    created: int


class StoreError(Exception):
    """The root of what stores raise."""


class Conflict(StoreError):
    """A write expected another revision; nothing of its batch was kept."""

    def __init__(self, key: str, expected: int, found: int) -> None:
        super().__init__(f"{key} is at revision {found}, not {expected}")
        self.key, self.expected, self.found = key, expected, found


class Compacted(StoreError):
    """History before this revision is gone."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"revision {asked} was compacted, the oldest is {oldest}")
        self.asked, self.oldest = asked, oldest


class FutureRevision(StoreError):
    """A revision that has not been given yet."""


class Unwritable(StoreError):
    """The medium refuses (full, read-only, broken); nothing of the batch was kept, and later batches may work."""

    def __init__(self, why: str, full: bool = False) -> None:
        super().__init__(why)
        self.full = full


class Moved(StoreError):
    """Another writer was first: nothing of the batch was kept, and followers have heard what was."""


class Away(StoreError):
    """The medium does not answer. `doubtful`: it may have kept the batch all the same."""

    def __init__(self, why: str, doubtful: bool = False) -> None:
        super().__init__(why)
        self.doubtful = doubtful


class TooLarge(StoreError):
    """A batch that the medium will never take; nothing of it was kept."""


Follower = Callable[[Sequence[Event]], None]


class Store(Protocol):
    """Where objects are kept."""

    @property
    def revision(self) -> int:
        """The last committed revision; 0 when nothing was ever written."""
        ...

    @property
    def compacted(self) -> int:
        """History up to and including this revision may be gone; the state at it is kept."""
        ...

    @property
    def shared(self) -> bool:
        """Others may write too: what is here may be older than what was acknowledged, see `catch_up`."""
        ...

    @property
    def most_writes(self) -> int:
        """How many writes a batch may have; 0: any number."""
        ...

    @property
    def most_bytes(self) -> int:
        """How many bytes the values of a batch of more than one operation should have; 0: any number."""
        ...

    @property
    def trouble(self) -> str:
        """Why it cannot be relied on now; empty when it can."""
        ...

    async def commit(self, writes: Sequence[Write]) -> int:
        """Make all the writes, in order, or none; the revision of the last.

        Raises Conflict, Unwritable, Moved, Away or TooLarge."""
        ...

    async def catch_up(self) -> None:
        """See all that anybody was told to be kept before this call. Raises Away."""
        ...

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """The key now, or at a revision."""
        ...

    def range(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> list[KeyValue]:
        """Keys with a prefix that follow `after`, in order of their bytes. Raises Compacted or FutureRevision."""
        ...

    def history(self, prefix: str, after: int) -> list[Event]:
        """Events of keys with a prefix later than a revision, in order. Raises Compacted."""
        ...

    def follow(self, follower: Follower, others: Follower | None = None) -> Callable[[], None]:
        """Call with the events of every later batch; the answer stops that.

        Batches of other writers go to `others`, when it is given."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget what was superseded at or before a revision."""
        ...

    async def close(self) -> None:
        """Finish what is queued and release the medium."""
        ...


class Sole:
    """What a store of one writer says of others: there are none."""

    shared = False
    most_writes = most_bytes = 0
    trouble = ""

    async def catch_up(self) -> None:
        """There is nothing to catch up with."""


def check_revision(asked: int, current: int, compacted: int) -> int:
    """The revision that a read at `asked` (0: now) means."""
    if asked > current:
        raise FutureRevision(f"revision {asked} is later than {current}")
    if 0 < asked < compacted:
        raise Compacted(asked, compacted)
    return asked or current


def last_key(prefix: str) -> str:
    """The first string that follows every key with this prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"


async def watch(store: Store, prefix: str, after: int) -> AsyncIterator[Event]:
    """Events of a prefix later than a revision: first what is recorded, then what comes; in order, without a gap."""
    arrived: asyncio.Queue[Event] = asyncio.Queue()

    def remember(events: Sequence[Event]) -> None:
        for event in events:
            if event.key.startswith(prefix):
                arrived.put_nowait(event)

    stop = store.follow(remember)
    try:
        seen = after
        for event in store.history(prefix, after):
            seen = event.revision
            yield event
        while True:
            event = await arrived.get()
            if event.revision > seen:
                yield event
    finally:
        stop()
