"""Follow one resource: list once, then watch, and keep what was seen as frozen values.

Stage: snapshot.  In: the API's list and watch.  Out: a cache, indices, and calls to subscribers in order.
Rules: the cache changes in the event loop only; a broken watch resumes from the last revision; a compacted one (410) is
listed again and every lost change is told, deletions too; one object that cannot be decoded leaves the others alone.
Truth: client-go tools/cache (reflector, shared informer), Kubernetes API concepts "efficient detection of changes".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NoReturn, TypeVar

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff, Chance, system_chance
from clusterip.client.names import ResourceRef
from clusterip.client.rest import WATCH_SECONDS, Client, Unreachable
from clusterip.clock import Clock, SystemClock

T = TypeVar("T")
Key = tuple[str, str]  # namespace ("" for cluster-scoped), name
Subscriber = Callable[[Key, T | None, T | None], None]

logger = logging.getLogger(__name__)


class Informer(Generic[T]):
    """A cache of one resource that tells what changes."""

    def __init__(
        self,
        client: Client,
        ref: ResourceRef,
        decode: Callable[[Tree], T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        clock: Clock | None = None,
        chance: Chance = system_chance,
    ) -> None:
        self.ref = ref
        self._client, self._decode = client, decode
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._metadata_only = metadata_only
        self._clock, self._chance = clock or SystemClock(), chance
        self._items: dict[Key, T] = {}
        self._marks: dict[Key, tuple[str, str]] = {}  # uid and revision of what the cache holds
        self._indices: dict[str, _Index[T]] = {}
        self._subscribers: list[Subscriber[T]] = []
        self._waiters: list[_Waiter] = []
        self._synced = asyncio.Event()
        self._revision = ""
        self._away = False
        self._contact: float | None = None

    # -- what it knows -------------------------------------------------------------------------------------------------

    @property
    def has_synced(self) -> bool:
        """Whether the first list has been taken in."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    @property
    def resource_version(self) -> str:
        """The revision up to which the cache is complete; empty before the first list."""
        return self._revision

    @property
    def in_contact_since(self) -> float | None:
        """Since when (by the monotonic clock) the API is followed without a break; None while it is away."""
        return self._contact

    def get(self, namespace: str, name: str) -> T | None:
        return self._items.get((namespace, name))

    def items(self) -> Mapping[Key, T]:
        """A live, read-only view."""
        return MappingProxyType(self._items)

    def index(self, name: str, values: Callable[[T], Iterable[Hashable]]) -> None:
        """Keep an index of that name; values says under what an object is found."""
        self._indices[name] = index = _Index(values)
        for key, item in self._items.items():
            index.change(key, None, item)

    def by_index(self, name: str, value: Hashable) -> list[T]:
        """The objects under one value of an index."""
        return [self._items[key] for key in self._indices[name].keys(value)]

    def subscribe(self, subscriber: Subscriber[T]) -> None:
        """Call on every change, in order; what is known already is told at once."""
        self._subscribers.append(subscriber)
        for key, item in list(self._items.items()):
            self._tell(subscriber, key, None, item)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until changes make the condition true; False when they did not in time."""
        if condition():
            return True
        waiter = _Waiter(condition, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.met
        except TimeoutError:
            return False
        finally:
            self._waiters.remove(waiter)
        return True

    def selects(self, tree: Tree) -> bool:
        """Whether the object can be in this cache at all; field selectors beyond the name are taken to match."""
        namespace, name = _key(tree)
        if self._namespace and namespace != self._namespace:
            return False
        wanted = [term.split("=", 1)[1] for term in self._fields.split(",") if term.startswith("metadata.name=")]
        return not wanted or wanted == [name]

    # -- how it follows ------------------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """List and watch for ever."""
        backoff = Backoff(chance=self._chance)
        while True:
            try:
                if not self._revision:
                    await self._list()
                started = self._clock.monotonic()
                await self._watch(backoff)
                if self._clock.monotonic() - started > 1.0:
                    continue  # the server ended it after a while, as it should: go on at once
            except ApiError as error:
                if _needs_list(error):
                    logger.info("Revision is not there, listing again", extra={"kv": {"resource": self.ref.plural}})
                    self._revision = ""
                else:
                    self._lost(error)
            except Unreachable as error:
                self._lost(error)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._lost(error)  # not what a Kubernetes API answers
            await asyncio.sleep(backoff.delay())

    async def _list(self) -> None:
        answer = await self._client.list(
            self.ref, self._namespace, labels=self._labels, fields=self._fields, metadata_only=self._metadata_only
        )
        revision = answer["metadata"]["resourceVersion"]
        self._replace(answer.get("items") or [])
        self._revision = revision
        self._back()
        self._synced.set()
        self._wake()

    async def _watch(self, backoff: Backoff) -> None:
        timeout = WATCH_SECONDS * (1.0 + self._chance())
        events = self._client.watch(
            self.ref,
            self._namespace,
            resource_version=self._revision,
            labels=self._labels,
            fields=self._fields,
            timeout_seconds=timeout,
            metadata_only=self._metadata_only,
            opened=self._back,
        )
        async with aclosing(events):
            async for kind, tree in events:
                backoff.reset()
                self._take(kind, tree)

    def _take(self, kind: str, tree: Tree) -> None:
        revision = tree["metadata"]["resourceVersion"]
        if kind == "DELETED":
            self._remove(_key(tree))
        elif kind != "BOOKMARK":
            self._put(tree)
        self._revision = revision
        if self._waiters:
            self._wake()

    def _replace(self, trees: Iterable[Tree]) -> None:
        """Take a whole list for truth: what it lacks was deleted while nobody watched."""
        present = {_key(tree): tree for tree in trees}
        for key in [key for key in self._marks if key not in present]:
            self._remove(key)
        for tree in present.values():
            self._put(tree)

    def _put(self, tree: Tree) -> None:
        key, mark = _key(tree), _mark(tree)
        known = self._marks.get(key)
        if known == mark:
            return
        if known is not None and known[0] != mark[0]:
            self._remove(key)  # another object of the same name
        try:
            item = self._decode(tree)
        except Exception as error:  # a decode is foreign code, and one bad object must not stop the rest
            values = {"resource": self.ref.plural, "object": "/".join(key), "err": error}
            logger.warning("Skipping an object that cannot be read", extra={"kv": values})
            return
        self._marks[key] = mark
        self._change(key, item)

    def _remove(self, key: Key) -> None:
        self._marks.pop(key, None)
        self._change(key, None)

    def _change(self, key: Key, new: T | None) -> None:
        old = self._items.get(key)
        if old is None and new is None:
            return
        for index in self._indices.values():
            index.change(key, old, new)
        if new is None:
            del self._items[key]
        else:
            self._items[key] = new
        for subscriber in self._subscribers:
            self._tell(subscriber, key, old, new)

    def _tell(self, subscriber: Subscriber[T], key: Key, old: T | None, new: T | None) -> None:
        try:
            subscriber(key, old, new)
        except Exception:  # a subscriber's fault is its own
            logger.exception(
                "A subscriber failed", extra={"kv": {"resource": self.ref.plural, "object": "/".join(key)}}
            )

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.met.done() and waiter.condition():
                waiter.met.set_result(None)

    def _lost(self, error: Exception) -> None:
        if not self._away:
            values = {"resource": self.ref.plural, "err": error}
            logger.warning("Cannot follow the API, trying on", extra={"kv": values})
        self._away = True
        self._contact = None

    def _back(self) -> None:
        if self._away:
            logger.info("Following the API again", extra={"kv": {"resource": self.ref.plural}})
        self._away = False
        if self._contact is None:
            self._contact = self._clock.monotonic()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    condition: Callable[[], bool]
    met: asyncio.Future[None]


class _Index(Generic[T]):
    """value -> keys, in the order of arrival."""

    def __init__(self, values: Callable[[T], Iterable[Hashable]]) -> None:
        self._values = values
        self._keys: dict[Hashable, dict[Key, None]] = {}

    def keys(self, value: Hashable) -> Iterable[Key]:
        return self._keys.get(value, ())

    def change(self, key: Key, old: T | None, new: T | None) -> None:
        before = frozenset(self._values(old)) if old is not None else frozenset()
        after = frozenset(self._values(new)) if new is not None else frozenset()
        for value in before - after:
            keys = self._keys[value]
            del keys[key]
            if not keys:
                del self._keys[value]
        for value in after - before:
            self._keys.setdefault(value, {})[key] = None


def _needs_list(error: ApiError) -> bool:
    """The revision was compacted, or lies ahead of a server that was set back."""
    causes = (error.details or {}).get("causes") or ()
    return error.code == 410 or any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes)


def _key(tree: Tree) -> Key:
    meta = tree["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _mark(tree: Tree) -> tuple[str, str]:
    meta = tree["metadata"]
    return meta.get("uid", ""), meta["resourceVersion"]
