"""The store in etcd: several servers on one state, each with an image of it that follows etcd's watch.

Stage: store.  In: batches, and what other servers wrote.  Out: the same values as any store, read from the image.
Rules: a batch is one transaction that holds only if nobody wrote since the image (`Moved` otherwise, after followers
       heard what was written), so servers decide in one order; own batches are heard once, from whichever tells first,
       the transaction's answer or the watch; when no answer comes the same transaction is sent again: it can succeed
       only once.  What was written is known after `catch_up`, or when its revision is there.
Limits: history in the image is bounded; when etcd was compacted while it was away, what happened meanwhile is told
       shortened: each key's last state.
Truth: etcd's api_guarantees; libraries of its kind re-open a watch at the revision after the last one seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from clusterip.failure import Failure
from clusterip.store import etcdbatch as batch
from clusterip.store import etcdwire as wire
from clusterip.store.contract import Away, Event, Follower, KeyValue, Moved, StoreError, TooLarge, Write
from clusterip.store.etcdclient import Absent, Doubtful, Endpoints, EtcdClient, Refused, Watching
from clusterip.store.etcdcompact import compact, shortened
from clusterip.store.etcdload import load
from clusterip.store.memory import MemoryStore

log = logging.getLogger(__name__)

WRITE_SECONDS = 10.0  # a batch without an answer is given up; upstream's etcd requests have about as long
TRY_SECONDS = 3.0
PAUSE_SECONDS = 0.2
PROGRESS_SECONDS = 10.0
START_SECONDS = 20.0
MOST_WRITES = 120  # etcd takes 128 operations a transaction
MOST_BYTES = 1_000_000  # and 1.5 MiB a request
HISTORY_BYTES = 64 * 1024 * 1024


class _Flight:
    """A batch on its way."""

    def __init__(self, number: int, events: list[Event]) -> None:
        self.number, self.events = number, events
        self.landed = False


class EtcdStore:
    """An image of what etcd keeps under a prefix. Made by `opened`."""

    shared = True
    most_writes, most_bytes = MOST_WRITES, MOST_BYTES

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._places = batch.Places(client.endpoints.prefix)
        self._image = MemoryStore()
        self._writer = os.urandom(8).hex()
        self._number = 0
        self._head = 0  # etcd's revision of the batch that the image ends with
        self._seen = 0  # all of etcd's revisions up to here are in the image
        self._turns: deque[tuple[int, int]] = deque()  # (last revision, etcd's) of batches, for compaction
        self._followers: list[tuple[Follower, Follower]] = []
        self._flight: _Flight | None = None
        self._commits = asyncio.Lock()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._round: asyncio.Future[None] | None = None
        self._next_round: asyncio.Future[None] | None = None
        self._history_bytes = 0
        self._compactions = 0  # etcd's revision of the record that says up to where history is gone
        self.trouble = ""

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        return self._image.revision

    @property
    def compacted(self) -> int:
        return self._image.compacted

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        return self._image.get(key, revision)

    def range(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> list[KeyValue]:
        return self._image.range(prefix, revision=revision, after=after, limit=limit)

    def history(self, prefix: str, after: int) -> list[Event]:
        return self._image.history(prefix, after)

    def follow(self, follower: Follower, others: Follower | None = None) -> Callable[[], None]:
        pair = (follower, others or follower)
        self._followers.append(pair)
        return lambda: self._followers.remove(pair)

    async def catch_up(self) -> None:
        """Ask etcd for its head, once for all that ask meanwhile, and wait until the image has it."""
        if self._next_round is None:
            self._next_round = asyncio.ensure_future(self._ask_head(self._round))
        await asyncio.shield(self._next_round)

    async def _ask_head(self, former: asyncio.Future[None] | None) -> None:
        if former is not None:
            await asyncio.wait([former])
        self._round, self._next_round = self._next_round, None
        self._refuse_lost()
        try:
            found = await self._client.range(wire.range_request(self._places.head, keys_only=True), TRY_SECONDS)
        except StoreError as error:
            raise self._away(error, doubtful=False) from error
        await self._reach(found.kept[0].modified if found.kept else 0)

    async def _reach(self, head: int) -> None:
        """Until the image has a batch of etcd's."""
        if head <= self._head:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((head, reached))
        try:
            async with asyncio.timeout(TRY_SECONDS):
                await reached
        except TimeoutError:
            raise Away(f"the watch of etcd at {self._client.endpoints.shown} is behind") from None
        finally:
            self._waiting = [each for each in self._waiting if each[1] is not reached]

    def _away(self, error: StoreError, doubtful: bool) -> Away:
        where = self._client.endpoints.shown
        return Away(f"etcd at {where} does not answer: {error}", doubtful)

    def _refuse_lost(self) -> None:
        if self.trouble.startswith(LOST):
            raise Away(self.trouble)

    # -- writing ------------------------------------------------------------------------------------------------------

    async def commit(self, writes: Sequence[Write]) -> int:
        async with self._commits:
            self._refuse_lost()
            events = self._image.check(writes)
            if not events:
                return self._image.revision
            self._number += 1
            flight = self._flight = _Flight(self._number, events)
            try:
                await self._send(flight)
            finally:
                self._flight = None
            return events[-1].revision

    async def _send(self, flight: _Flight) -> None:
        """Until it is known what became of the batch, or for as long as a writer waits."""
        record = batch.record(self._writer, flight.number, flight.events)
        request = wire.transaction(
            [wire.unchanged_since(self._places.head, self._head)],
            batch.operations(self._places, flight.events, record),
            [wire.get_op(wire.range_request(self._places.head))],
        )
        deadline = asyncio.get_running_loop().time() + WRITE_SECONDS
        doubtful = False
        while not flight.landed:
            left = deadline - asyncio.get_running_loop().time()
            try:
                done = await self._client.transact(request, max(0.5, min(left, TRY_SECONDS)))
            except Refused as error:
                if flight.landed:
                    return
                if error.too_large:
                    raise TooLarge(f"etcd takes no request of this size: {error}") from error
                raise self._away(error, doubtful) from error
            except (Absent, Doubtful) as error:
                doubtful = doubtful or isinstance(error, Doubtful)
                if not flight.landed and (not doubtful or left <= TRY_SECONDS):
                    raise self._away(error, doubtful) from error
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if done.succeeded:
                self._land(flight, done.revision)
            elif not flight.landed:
                await self._settle(flight, done.found, doubtful)

    async def _settle(self, flight: _Flight, found: Sequence[wire.Kept], doubtful: bool) -> None:
        """The head is another: ours after all (an answer was lost), or somebody else's."""
        if not found:
            self._lose("what it kept was removed")
            self._refuse_lost()
        try:
            await self._reach(found[0].modified)
        except Away as error:
            raise Away(str(error), doubtful) from error
        if not flight.landed:
            raise Moved("another server wrote first")

    def _land(self, flight: _Flight, head: int) -> None:
        if not flight.landed:
            flight.landed = True
            self._take(flight.events, head, own=True)

    def _take(self, events: Sequence[Event], head: int, own: bool) -> None:
        """A batch into the image, and on to those who follow."""
        self._image.apply(events)
        self._head = max(self._head, head)
        self._turns.append((self._image.revision, head))
        self._history_bytes += sum(len(event.value or b"") for event in events)
        if self._history_bytes > HISTORY_BYTES:
            self._shorten()
        for follower, others in list(self._followers):
            (follower if own else others)(events)
        for wanted, reached in self._waiting:
            if wanted <= self._head and not reached.done():
                reached.set_result(None)

    def _shorten(self) -> None:
        """Forget the older half of the history: the image is in memory."""
        self._image.forget((self._image.compacted + self._image.revision) // 2)
        self._history_bytes //= 2

    # -- following ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The image as etcd has it now."""
        try:
            async with asyncio.timeout(START_SECONDS):
                loaded = await load(self._client, self._places)
        except TimeoutError:
            raise Failure(f"etcd at {self._client.endpoints.shown} does not answer in {START_SECONDS:.0f} s") from None
        except StoreError as error:
            raise Failure(f"cannot use etcd at {self._client.endpoints.shown}: {error}") from error
        except batch.Unreadable as error:
            raise Failure(f"etcd at {self._client.endpoints.shown}: {error}") from error
        self._image.begin(loaded.items, loaded.revision)
        for events, head in loaded.batches:
            self._image.apply(events)
            self._turns.append((self._image.revision, head))
        self._head, self._seen, self._compactions = loaded.head, loaded.seen, loaded.compactions
        if loaded.compacted <= self._image.revision:
            self._image.forget(loaded.compacted)

    async def run(self) -> None:
        """Follow etcd, for as long as the server lives: whatever happens to it, until it is back."""
        while True:
            why = await self._followed()
            if isinstance(why, Refused) and why.compacted:
                await self._reload()
            elif isinstance(why, batch.Unreadable):  # a restore under our feet, or another program
                self._lose(str(why))
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                await self._complain(why)

    async def _followed(self) -> Exception:
        """Follow until it cannot go on; why."""
        # nothing is awaited in an `except*`: a cancellation would leave it as a group, and end the server as an error
        why: Exception = Doubtful("etcd ended the watch")
        try:
            async with (
                self._client.watching(*self._places.all, self._seen + 1) as watching,
                asyncio.TaskGroup() as group,
            ):
                asking = group.create_task(watching.ask_progress(PROGRESS_SECONDS), name="etcd progress")
                try:
                    await self._listen(watching)
                finally:
                    asking.cancel()
        except* (StoreError, batch.Unreadable, ValueError) as errors:
            why = errors.exceptions[0]
        return why

    async def _complain(self, error: Exception) -> None:
        if not self.trouble:
            log.warning("Lost etcd, trying again", extra={"kv": {"err": error}})
        self.trouble = self.trouble or f"etcd at {self._client.endpoints.shown} is away: {error}"
        await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self, watching: Watching) -> None:
        parts: list[tuple[bool, wire.Kept]] = []
        while True:
            notice = await watching.next()
            if notice.canceled:
                raise Refused(notice.reason or "compacted", compacted=bool(notice.compacted))
            if notice.created:
                await self._back(notice.revision)
            parts += notice.events
            if notice.part:
                continue
            if not self._hear(parts):
                raise Refused("a batch is missing", compacted=True)
            parts = []

    async def _back(self, revision: int) -> None:
        """A watch is open, at a member that has this revision."""
        known = max(self._seen, self._head)
        if revision < known:  # one member may lag behind; what all agree on may not
            found = await self._client.range(wire.range_request(self._places.head, keys_only=True), TRY_SECONDS)
            revision = found.revision
        if revision < known:
            self._lose(f"it was at revision {known} and is at {revision}")
        elif self.trouble and not self.trouble.startswith(LOST):
            log.info("etcd is back", extra={"kv": {"revision": revision}})
            self.trouble = ""

    def _lose(self, why: str) -> None:
        """What the image shows is no more: only another start helps."""
        if not self.trouble.startswith(LOST):
            self.trouble = f"{LOST}: {why}; {WAY_OUT}"
            log.error("etcd went back", extra={"kv": {"err": why}})

    def _hear(self, events: Sequence[tuple[bool, wire.Kept]]) -> bool:
        """Batches that the watch tells; False when one is missing before them."""
        by_turn: dict[int, list[tuple[bool, wire.Kept]]] = {}
        for deleted, kept in events:
            by_turn.setdefault(kept.modified, []).append((deleted, kept))
        for modified, found in sorted(by_turn.items()):
            head = next((kept for deleted, kept in found if kept.key == self._places.head and not deleted), None)
            if head is not None and modified > self._head and not self._hear_batch(batch.head_of(head.value), found):
                return False
            self._seen = max(self._seen, modified)
        return True

    def _hear_batch(self, head: batch.Head, found: Sequence[tuple[bool, wire.Kept]]) -> bool:
        modified = found[0][1].modified
        flight = self._flight
        if flight and head.writer == self._writer and head.number == flight.number and not flight.landed:
            self._land(flight, modified)
            return True
        if head.first != self._image.revision + 1:
            return False
        items = [batch.item(self._places, kept) for deleted, kept in found if not deleted and self._is_object(kept.key)]
        present = {key: self._image.get(key) for key, *_ in head.writes}
        events = batch.events_of(head, {item.key: item.value for item in items}, present)
        self._take(events, modified, own=False)
        return True

    def _is_object(self, place: bytes) -> bool:
        return place.startswith(self._places.objects[0])

    async def _reload(self) -> None:
        """History is gone: read the present, and tell what is another than before, each key's last state."""
        async with self._commits:  # so that no batch of ours is on its way
            try:
                loaded = await load(self._client, self._places, history=False)
            except (StoreError, batch.Unreadable) as error:
                await self._complain(error)
                return
            if loaded.revision < self._image.revision:
                self._lose(f"the state was at revision {self._image.revision} and is at {loaded.revision}")
                await asyncio.sleep(PAUSE_SECONDS)
                return
            events = shortened(self._image, loaded)
            log.warning("etcd forgot what happened while it was away", extra={"kv": {"changes": len(events)}})
            self._seen = loaded.seen
            self._take(events, loaded.head, own=False)
            self._image.forget(self._image.revision)

    # -- forgetting ---------------------------------------------------------------------------------------------------

    async def compact(self, revision: int) -> None:
        """Forget here; and in etcd, unless another server did since we looked."""
        if revision <= self._image.compacted and not self._turns:
            return
        turn = 0
        while self._turns and self._turns[0][0] <= revision:
            turn = self._turns.popleft()[1]
        if revision > self._image.compacted:
            self._image.forget(revision)
            self._history_bytes = self._history_bytes // 2 if self._turns else 0
        if not turn:
            return
        try:
            self._compactions = await compact(self._client, self._places, revision, turn, self._compactions)
        except StoreError as error:
            raise self._away(error, doubtful=False) from error

    async def close(self) -> None:
        self._followers.clear()
        await self._client.close()


LOST = "etcd went back"
WAY_OUT = "restart the API servers on it; after a restore of etcd itself run `clusterip restore`, which goes beyond all"


@asynccontextmanager
async def opened(endpoints: Endpoints) -> AsyncIterator[EtcdStore]:
    """A store for the length of the block; a Failure when etcd cannot be used now."""
    client = EtcdClient(endpoints)
    store = EtcdStore(client)
    try:
        await store.start()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(store.run(), name="etcd")
            try:
                yield store
            finally:
                following.cancel()
    finally:
        with suppress(StoreError):
            await store.close()
