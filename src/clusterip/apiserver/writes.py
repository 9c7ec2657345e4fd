"""The write path: operations are decided against pending state, committed in groups, then answered.

Stage: commit.  In: operations, pure functions of a Transaction.  Out: durable writes; the cache follows, then answers.
Rules: an operation may run again (after a failed group), so it changes nothing but its transaction; what it answers
       from uncommitted state waits for that state's commit, refusals too; a failed group changes nothing and answers
       all its members, and those that were decided on top of it are decided anew.  When another server wrote first,
       everything that is not committed is decided anew, on top of what was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver.cache import Collection, Entry, encode
from clusterip.store.contract import Away, Event, Moved, Store, StoreError, TooLarge, Unwritable, Write

log = logging.getLogger(__name__)
T = TypeVar("T")

FINAL = (413, 503, 504, 507)  # refusals that another look would not change


class Transaction:
    """What one operation sees and does: committed state, under pending groups, under its own writes."""

    def __init__(self, path: WritePath, dry: bool = False) -> None:
        self._path = path
        self.dry = dry
        """Nothing of it will be kept."""
        self.writes: list[Write] = []
        self.made: dict[str, Entry | None] = {}
        self.places: dict[str, Collection] = {}
        """Where each of them is kept."""

    def get(self, collection: Collection, key: str) -> Entry | None:
        full = collection.prefix + key
        if full in self.made:
            return self.made[full]
        if full in self._path.pending:
            return self._path.pending[full]
        return collection.entries.get(key)

    def put(self, collection: Collection, key: str, tree: Tree) -> Entry:
        """Keep an object; the entry carries the revision that it will have."""
        old = self.get(collection, key)
        value = encode(tree)
        revision = self._path.next_revision + len(self.writes)
        if self.dry:  # an object keeps its revision, a new one has none
            revision = old.revision if old else 0
        entry = Entry(key, value, revision, old.created if old else revision, collection.readers)
        self._write(collection, key, value, old)
        self.made[collection.prefix + key] = entry
        return entry

    def delete(self, collection: Collection, key: str) -> Entry:
        """Remove an object; the answer shows it at the revision of its deletion."""
        old = self.get(collection, key)
        assert old is not None
        revision = self._path.next_revision + len(self.writes)
        self._write(collection, key, None, old)
        self.made[collection.prefix + key] = None
        return old.moved(revision)

    def _write(self, collection: Collection, key: str, value: bytes | None, old: Entry | None) -> None:
        full = collection.prefix + key
        self.places[full] = collection
        self.writes.append(Write(full, value, old.revision if old else 0))


Operation = Callable[[Transaction], T]
Observer = Callable[[Collection, Entry | None, Entry | None], None]


class _Member:
    """One operation of a group, and whom it answers."""

    __slots__ = ("answer", "error", "future", "operation", "wrote")

    def __init__(self, operation: Operation[Any], future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.future = future
        self.answer: Any = None
        self.error: ApiError | None = None
        self.wrote = False

    def settle(self) -> None:
        if self.future.done():  # the client left
            return
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)

    def fail(self, error: ApiError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Group:
    """Operations that are committed together."""

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.writes: list[Write] = []
        self.made: dict[str, Entry | None] = {}
        self.entries: dict[int, Entry] = {}
        self.places: dict[str, Collection] = {}
        self.size = 0  # bytes of the values, once somebody asked
        self.kept = False
        """It is in the store, whose answer may come later than news of what follows it."""


class WritePath:
    """The one door to the store for changes."""

    def __init__(self, store: Store, find: Callable[[str], Collection | None]) -> None:
        """`find` gives the collection that a store key belongs to."""
        self._store = store
        self._find = find
        self._open = _Group()
        self._flying: _Group | None = None
        self._in_flight = 0  # writes sent to the store that its revision does not count yet
        self._wake = asyncio.Event()
        self.pending: dict[str, Entry | None] = {}
        self.rolled_back: list[Callable[[], None]] = []
        """Called when pending state was given up: whoever keeps something derived from it starts over."""
        self.timed: Callable[[float, bool], None] = lambda seconds, kept: None
        """Told how long the store took for each group, and whether it kept it."""
        self.observers: list[Observer] = []
        """Called for each kept object (collection, old, new) as soon as it is pending."""
        store.follow(self._committed, self._overtaken)
        self._later: deque[_Member] = deque()  # operations that the open group has no room for

    @property
    def next_revision(self) -> int:
        return self._store.revision + self._in_flight + len(self._open.writes) + 1

    async def do(self, operation: Operation[T]) -> T:
        """Decide an operation and, once what it saw and wrote is durable, its answer or its ApiError."""
        seen = self._store.revision
        member = self._begun(operation)
        try:
            answer: T = await member.future
        except ApiError as error:
            if not self._store.shared or error.code in FINAL or not await self._has_news(seen):
                raise
        else:
            if member.wrote or not self._store.shared or not await self._has_news(seen):
                return answer
        again: T = await self._begun(operation).future
        return again

    def _begun(self, operation: Operation[Any]) -> _Member:
        member = _Member(operation, asyncio.get_running_loop().create_future())
        if self._later:
            self._later.append(member)
        else:
            self._decide(member)
        return member

    async def _has_news(self, seen: int) -> bool:
        """Whether others wrote what an operation that changed nothing has not seen."""
        try:
            await self._store.catch_up()
        except Away as error:
            raise away(error) from error
        return self._store.revision > seen

    def try_out(self, operation: Operation[T]) -> T:
        """What the operation would answer now; nothing is kept."""
        return operation(Transaction(self, dry=True))

    def _decide(self, member: _Member) -> None:
        transaction = Transaction(self)
        member.wrote = False
        try:
            member.answer, member.error = member.operation(transaction), None
        except ApiError as error:
            member.answer, member.error = None, error
        except Exception as error:
            log.exception("An operation failed")
            member.error = ApiError.internal(f"{type(error).__name__}: {error}")
        if member.error is None:
            if not self._has_room(transaction):
                self._later.append(member)
                return
            self._take(transaction)
            member.wrote = bool(transaction.writes)
        if not (self._open.writes or self._flying):
            member.settle()
            return
        self._open.members.append(member)
        self._wake.set()

    def _has_room(self, transaction: Transaction) -> bool:
        """Whether the open group may have these writes too; alone they may always be tried."""
        most, size = self._store.most_writes, self._store.most_bytes
        if not most or not self._open.writes or not transaction.writes:
            return True
        self._open.size = self._open.size or _size(self._open.writes)
        fits = self._open.size + _size(transaction.writes) <= size
        return fits and len(self._open.writes) + len(transaction.writes) <= most

    def _take(self, transaction: Transaction) -> None:
        """Make an operation's writes part of the open group."""
        first = self.next_revision
        for number, write in enumerate(transaction.writes):
            entry = transaction.made.get(write.key)
            if entry is not None and entry.revision == first + number:
                self._open.entries[entry.revision] = entry
        self._open.places.update(transaction.places)
        for key, entry in transaction.made.items():
            self._observe(transaction.places[key], key, entry)
            self.pending[key] = entry
            self._open.made[key] = entry
        self._open.writes += transaction.writes
        if self._open.size:
            self._open.size += _size(transaction.writes)

    def _observe(self, collection: Collection, key: str, entry: Entry | None) -> None:
        if not self.observers:
            return
        old = self.pending[key] if key in self.pending else collection.entries.get(key[len(collection.prefix) :])
        for observer in self.observers:
            observer(collection, old, entry)

    async def run(self) -> None:
        """Commit group after group, for as long as the server lives."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            group, self._open = self._open, _Group()
            self._flying, self._in_flight = group, len(group.writes)
            self._decide_later()
            began, kept = loop.time(), False
            try:
                if group.writes:
                    await self._store.commit(group.writes)
                    kept = True
            except Moved:
                self._retry(group)
            except StoreError as error:
                self._give_up(group, error)
            else:
                self._finish(group)
            finally:
                if group.writes:
                    self.timed(loop.time() - began, kept)

    def _decide_later(self) -> None:
        """Operations that found no room, in their order, as far as there is room now."""
        waiting, self._later = self._later, deque()
        while waiting and not self._later:
            self._decide(waiting.popleft())
        self._later += waiting

    def _overtaken(self, events: Sequence[Event]) -> None:
        """Another server wrote: give up what is pending, take its changes in, decide again on top of them."""
        members = list(self._open.members)
        if self._flying and not self._flying.kept:
            members, self._flying.members = [*self._flying.members, *members], []
        self._open, self._in_flight = _Group(), 0
        self._forget_pending()
        for event in events:
            collection = self._find(event.key)
            if collection is not None:
                change = collection.change_of(event)
                for observer in self.observers:
                    observer(collection, change.old, None if change.kind == "DELETED" else change.entry)
                collection.apply(change)
        for member in members:
            if not member.future.done():
                self._decide(member)

    def _forget_pending(self) -> None:
        """Tell observers of pending objects that they are as committed; all are taken away before any is put back."""
        kept: list[tuple[Collection, Entry]] = []
        for key, entry in self.pending.items():
            collection = self._find(key)
            if collection is None or not self.observers:
                continue
            old = collection.entries.get(key[len(collection.prefix) :])
            kept += [(collection, old)] if old is not None else []
            for observer in self.observers if entry is not None else ():  # None: it was about to go
                observer(collection, entry, None)
        self.pending.clear()
        for collection, old in kept:
            for observer in self.observers:
                observer(collection, None, old)

    def _retry(self, group: _Group) -> None:
        """Another server's batch came first; who was told of it has decided the group's members again."""
        self._flying, self._in_flight = None, 0
        for member in group.members:
            if not member.future.done():
                self._decide(member)
        self._wake.set()

    def _committed(self, events: Sequence[Event]) -> None:
        """The store's events, in order, into the cache."""
        made: dict[int, Entry] = {}
        places: dict[str, Collection] = {}
        if self._flying:
            made, places, self._flying.kept = self._flying.entries, self._flying.places, True
        self._in_flight = 0
        for event in events:
            collection = places.get(event.key) or self._find(event.key)
            if collection is not None:
                collection.apply(collection.change_of(event, made.get(event.revision)))

    def _finish(self, group: _Group) -> None:
        self._flying = None
        if self._later:
            self._wake.set()
        for key, entry in group.made.items():
            if key in self.pending and self.pending[key] is entry and key not in self._open.made:
                del self.pending[key]
        for member in group.members:
            member.settle()

    def _give_up(self, group: _Group, error: StoreError) -> None:
        """Nothing of the group was kept: tell its members, decide the later ones again."""
        log.error("A group of writes failed", extra={"kv": {"writes": len(group.writes), "err": error}})
        later, self._open, self._flying = self._open, _Group(), None
        self._in_flight = 0
        self.pending.clear()
        for forget in self.rolled_back:
            forget()
        if self._later:
            self._wake.set()
        refusal = refused(error)
        for member in group.members:
            member.fail(refusal)
        for member in later.members:
            if not member.future.done():
                self._decide(member)


def _size(writes: Sequence[Write]) -> int:
    return sum(len(write.value or b"") for write in writes)


def refused(error: StoreError) -> ApiError:
    """What a client hears of a store that could not keep a write."""
    if isinstance(error, Away):
        return away(error)
    if isinstance(error, TooLarge):
        return ApiError(413, "RequestEntityTooLarge", f"{error}; nothing was changed")
    if isinstance(error, Unwritable) and error.full:
        text = f"the store's disk is full ({error}); nothing was changed; free some space and try again"
        return ApiError(507, "InsufficientStorage", text)  # without a time to try again: kubectl would wait a minute
    return ApiError.internal(f"the store refused the write, nothing was changed: {error}")


def away(error: Away) -> ApiError:
    """What a client hears while the store does not answer."""
    if error.doubtful:
        text = f"{error}; it is not known whether the change was kept: look before you try again"
        return ApiError(504, "Timeout", text)
    text = f"{error}; nothing was changed; try again later"
    return ApiError(503, "ServiceUnavailable", text, {"retryAfterSeconds": 1})
