"""What all controllers share: one cache of each resource, one loop a controller, one way to write.

Stage: shell.  In: informers, a pure reconcile.  Out: writes, committed in order.
Rules: nothing is decided here.  A key is looked at again only when the caches hold what its last writes made, so a
reconcile never acts on a world older than itself; a key whose write failed comes again, later each time.
Truth: client-go's controller pattern; resourceVersions are compared as numbers (KEP-5504).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Chance, system_chance
from clusterip.client.events import EventRecorder
from clusterip.client.informer import Informer
from clusterip.client.names import PODS, ResourceRef
from clusterip.client.rest import Client, Unreachable
from clusterip.client.workqueue import WorkQueue
from clusterip.clock import Clock
from clusterip.controllers.model import Meta, Partial, decoder
from clusterip.controllers.numbers import Queues
from clusterip.controllers.writes import (
    Bind,
    Create,
    Delete,
    DeleteAll,
    Key,
    Outcome,
    Patch,
    Said,
    Say,
    Update,
    Write,
)
from clusterip.transport.certificates import KeyPair

CATCH_UP_SECONDS = 5.0  # a cache that does not follow must not stop a controller for ever
PARALLEL_WRITES = 16
LEAST_WAIT_SECONDS = 0.01  # nothing becomes true by looking again in the same moment

logger = logging.getLogger(__name__)


class HasMetadata(Protocol):
    @property
    def metadata(self) -> Meta: ...


T = TypeVar("T", bound=HasMetadata)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource are followed."""

    namespace: str | None = None
    fields: str = ""


ALL = Selection()


class Caches:
    """One informer a resource, shared by all controllers of one identity."""

    def __init__(self, client: Client, clock: Clock, chance: Chance = system_chance) -> None:
        self._client, self._clock, self._chance = client, clock, chance
        self._informers: dict[tuple[ResourceRef, Selection], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[tuple[ResourceRef, Selection], asyncio.Task[None]] = {}

    def follow(self, ref: ResourceRef, kind: type[T], selection: Selection = ALL) -> Informer[T]:
        """The resource's informer; its struct is that of the first who asks, and Partial is satisfied by any."""
        known = self._informers.get((ref, selection))
        if known is None:
            known = self._new(ref, kind, selection)
            self._informers[ref, selection] = known
            if self._group is not None:
                self._begin(self._group, (ref, selection))
        return known

    def forget(self, ref: ResourceRef) -> None:
        """Follow a resource no longer: the server has it no more."""
        for found in [found for found in self._informers if found[0] == ref]:
            del self._informers[found]
            if (task := self._tasks.pop(found, None)) is not None:
                task.cancel()

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Run all informers in the group, those to come too."""
        self._group = group
        for wanted in self._informers:
            self._begin(group, wanted)

    def _begin(self, group: asyncio.TaskGroup, wanted: tuple[ResourceRef, Selection]) -> None:
        self._tasks[wanted] = group.create_task(self._informers[wanted].run(), name=f"informer {wanted[0].plural}")

    def _new(self, ref: ResourceRef, kind: type[T], selection: Selection) -> Informer[T]:
        informer = Informer(
            self._client,
            ref,
            decoder(kind),
            namespace=selection.namespace,
            fields=selection.fields,
            metadata_only=kind is Partial,
            clock=self._clock,
            chance=self._chance,
        )
        informer.index("controller", _controller)
        informer.index("owner", _owners)
        informer.index("namespace", _namespace)
        return informer

    def of(self, ref: ResourceRef) -> list[Informer[Any]]:
        """All informers of a resource."""
        return [informer for (known, _), informer in self._informers.items() if known == ref]


def _controller(item: HasMetadata) -> Iterable[Hashable]:
    owner = item.metadata.controller
    return (owner.uid if owner else ("orphans", item.metadata.namespace),)


def _owners(item: HasMetadata) -> Iterable[Hashable]:
    return (owner.uid for owner in item.metadata.owner_references)


def _namespace(item: HasMetadata) -> Iterable[Hashable]:
    return (item.metadata.namespace,)


class World:
    """What a controller is given: caches, a client to write with, a voice, a clock."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        recorder: EventRecorder,
        clock: Clock,
        authority: KeyPair | None = None,
        volumes: Path | None = None,
        queues: Queues | None = None,
    ) -> None:
        self.client, self.caches, self.recorder, self.clock = client, caches, recorder, clock
        self.authority = authority
        """What certificates are signed with."""
        self.volumes = volumes
        """Where the folders of new volumes are made; every node shows them."""
        self.queues = queues
        """Where what happens to keys is counted."""

    def follow(self, ref: ResourceRef, kind: type[T], selection: Selection = ALL) -> Informer[T]:
        return self.caches.follow(ref, kind, selection)

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write in order (creates, and deletes, side by side) and wait until the caches show it."""
        failures: list[Exception] = []
        for _, group in itertools.groupby(writes, type):
            failures += await self._together(list(group))
            if failures:
                break
        if failures:
            raise failures[0]

    async def _together(self, writes: list[Write]) -> list[Exception]:
        if len(writes) == 1 or not isinstance(writes[0], (Create, Delete)):
            results = [await self._guarded(write) for write in writes]  # the order of changes may matter
        else:
            limit = asyncio.Semaphore(PARALLEL_WRITES)

            async def one(write: Write) -> Exception | None:
                async with limit:
                    return await self._guarded(write)

            results = await asyncio.gather(*map(one, writes))
        return [result for result in results if result is not None]

    async def _guarded(self, write: Write) -> Exception | None:
        try:
            await self._one(write)
        except (ApiError, Unreachable) as error:
            if _harmless(write, error):
                return None
            if isinstance(write, (Create, Delete)) and write.failed is not None and isinstance(error, ApiError):
                self._tell(write.failed, error=error.message)
            return error
        return None

    async def _one(self, write: Write) -> None:
        match write:
            case Create():
                answer = await self.client.create(write.ref, write.tree)
                self._tell(write.said, name=answer["metadata"]["name"])
                await self._seen(write.ref, answer)
            case Patch():
                answer = await self.client.patch(
                    write.ref,
                    write.name,
                    write.namespace,
                    write.patch,
                    type=write.type,
                    subresource=write.subresource,
                )
                self._tell(write.said)
                await self._seen(write.ref, answer)
            case Update():
                answer = await self.client.update(write.ref, write.tree, write.subresource)
                self._tell(write.said)
                await self._seen(write.ref, answer)
            case Delete():
                await self.client.delete(
                    write.ref,
                    write.name,
                    write.namespace,
                    uid=write.uid,
                    propagation=write.propagation,
                    grace_seconds=write.grace_seconds,
                )
                self._tell(write.said)
                await self._gone(write)
            case DeleteAll():
                await self.client.delete_collection(write.ref, write.namespace)
            case Bind():
                await self._bind(write)
            case Say():
                self._tell(write.said)

    async def _bind(self, write: Bind) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": write.namespace, "name": write.name, "uid": write.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": write.node},
        }
        await self.client.create(PODS, binding, write.namespace, "binding", write.name)
        self._tell(write.said)

    def _tell(self, said: Said | None, **words: str) -> None:
        if said is not None:
            message = said.message
            for name, word in words.items():
                message = message.replace("{" + name + "}", word)
            self.recorder.event(said.involved, said.type, said.reason, message)

    async def _seen(self, ref: ResourceRef, answer: Tree) -> None:
        """Wait until the cache shows the answer, or what came after it."""
        key, revision = _key(answer), answer["metadata"].get("resourceVersion", "")
        for informer in self.caches.of(ref):
            if informer.has_synced and revision.isdecimal() and informer.selects(answer):
                await informer.until(partial(_shows, informer, key, int(revision)), CATCH_UP_SECONDS)

    async def _gone(self, write: Delete) -> None:
        """Wait until the cache shows the deletion, or its beginning."""
        for informer in self.caches.of(write.ref):
            if informer.has_synced:
                await informer.until(partial(_shows_end, informer, write), CATCH_UP_SECONDS)


def _key(tree: Tree) -> Key:
    return tree["metadata"].get("namespace", ""), tree["metadata"]["name"]


def _shows(informer: Informer[Any], key: Key, revision: int) -> bool:
    item = informer.get(*key)
    current = item.metadata.resource_version if item is not None else informer.resource_version
    return current.isdecimal() and int(current) >= revision


def _shows_end(informer: Informer[Any], write: Delete) -> bool:
    item = informer.get(write.namespace, write.name)
    return item is None or item.metadata.is_terminating or write.uid not in (None, item.metadata.uid)


def _harmless(write: Write, error: Exception) -> bool:
    """What a level-triggered controller need not mind: the object is gone, or there, or its namespace is going."""
    if not isinstance(error, ApiError):
        return False
    if isinstance(write, Create):
        return (write.exists_ok and error.reason == "AlreadyExists") or _namespace_is_going(error)
    if isinstance(write, Delete):
        return error.code == 404 or (error.code == 409 and write.uid is not None)
    return error.code == 404


def _namespace_is_going(error: ApiError) -> bool:
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


class Part(Protocol):
    """What a controller's start returns."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


class Loop:
    """One controller: which changes concern which keys, and what is done about a key."""

    def __init__(
        self, name: str, world: World, reconcile: Callable[[Key], Outcome | Awaitable[Outcome]], *, workers: int = 4
    ) -> None:
        self.name, self.world = name, world
        self.queue: WorkQueue[Key] = WorkQueue(listener=world.queues.of(name) if world.queues else None)
        self._reconcile, self._workers = reconcile, workers
        self._sources: list[Informer[Any]] = []
        self._failed: Callable[[Key, Exception], None] | None = None

    def follow(
        self, informer: Informer[T], keys: Callable[[Key, T | None, T | None], Iterable[Key]] | None = None
    ) -> None:
        """Look at the keys that a change concerns; without a function, at the changed object itself."""
        self._sources.append(informer)

        def changed(key: Key, old: T | None, new: T | None) -> None:
            for concerned in (key,) if keys is None else keys(key, old, new):
                self.queue.add(concerned)

        informer.subscribe(changed)

    def on_failure(self, failed: Callable[[Key, Exception], None]) -> None:
        """Call when the writes of a key failed, with the first failure, before the key comes again."""
        self._failed = failed

    async def run(self) -> None:
        """Wait for the caches, then work for ever."""
        for source in self._sources:
            await source.synced()
        logger.debug("Caches are synced", extra={"kv": {"controller": self.name}})
        await self.queue.run(self._work, self._workers)

    async def _work(self, key: Key) -> None:
        found = self._reconcile(key)
        outcome = found if isinstance(found, Outcome) else await found
        if outcome.writes:
            try:
                await self.world.commit(outcome.writes)
            except Exception as error:
                if self._failed is not None:
                    self._failed(key, error)
                raise
        if outcome.again is not None:
            self.queue.add_after(key, max(outcome.again, LEAST_WAIT_SECONDS))
