"""Follows every kind that the server has, and runs garbage and namespace over what it sees.

Stage: shell.  In: discovery, metadata of all objects.  Out: two kinds of loops.
Rules: nothing is decided here.  Events are not followed: they own nothing, and nothing owns them.
An owner that no cache knows is asked for before anything is deleted on its account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.discovery import discover
from clusterip.client.informer import Informer
from clusterip.client.names import NAMESPACES, ResourceRef
from clusterip.client.rest import Unreachable
from clusterip.controllers import garbage, namespace
from clusterip.controllers.caches import HasMetadata
from clusterip.controllers.garbage import Fate, Item
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Meta, Namespace, Owner, Partial
from clusterip.controllers.writes import NOTHING, Key, Outcome

NOT_FOLLOWED = frozenset({"events"})
REMEMBERED = 10_000
SYNC_SECONDS = 30.0  # a kind that cannot be listed holds nobody up for longer
DEFINITIONS = ResourceRef(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

logger = logging.getLogger(__name__)


class Graph:
    """All objects by their owners, and a loop for each kind."""

    name = "garbage"

    def __init__(self, world: World) -> None:
        self._world = world
        self._gone: dict[str, None] = {}  # uids that will never come back
        self._refs: dict[tuple[str, str], ResourceRef] = {}
        self._informers: dict[ResourceRef, Informer[Any]] = {}
        self._loops: dict[ResourceRef, Loop] = {}
        self._namespaces = world.follow(NAMESPACES, Namespace)
        self._content: list[ResourceRef] = []
        self._unseen: list[ResourceRef] = []
        self._emptying = Loop("namespace", world, self._empty, workers=2)
        self._definitions = world.follow(DEFINITIONS, Partial)
        self._changes = asyncio.Event()
        self._settling = asyncio.Lock()
        self._working: dict[ResourceRef, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Discover, follow, then work for ever; definitions of new kinds make it discover again."""
        self._emptying.follow(self._namespaces, _terminating)
        self._definitions.subscribe(lambda *_: self._changes.set())
        async with asyncio.TaskGroup() as group:
            await self._take_up(group)
            group.create_task(self._emptying.run())
            while True:
                await self._changes.wait()
                self._changes.clear()
                await self._take_up(group)

    async def _take_up(self, group: asyncio.TaskGroup) -> None:
        """Follow what the server has now. Nobody is judged until the caches show it, or do not come."""
        async with self._settling:
            refs = await self._discovered()
            new = [ref for ref in refs if ref not in self._informers and ref.plural not in NOT_FOLLOWED]
            for ref in set(self._informers) - set(refs):
                if await self._is_unknown(ref):
                    self._drop(ref)
            for ref in new:
                self._follow(ref)
            self._content = [ref for ref in self._informers if ref.namespaced]
            self._unseen = [ref for ref in refs if ref.namespaced and ref.plural in NOT_FOLLOWED]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SYNC_SECONDS):
                    for ref in new:
                        await self._informers[ref].synced()
            for ref in new:
                self._working[ref] = group.create_task(self._loops[ref].run(), name=f"garbage {ref.plural}")

    async def _is_unknown(self, ref: ResourceRef) -> bool:
        """Whether the server says itself that it has no such kind: a group that is merely away comes back."""
        try:
            await self._world.client.list(ref, limit=1, metadata_only=True)
        except ApiError as error:
            return error.code == 404
        except Unreachable:
            return False
        return False

    def _drop(self, ref: ResourceRef) -> None:
        """The server has the kind no more."""
        self._world.caches.forget(ref)
        del self._informers[ref], self._loops[ref]
        self._refs.pop((ref.group, ref.kind), None)
        if (task := self._working.pop(ref, None)) is not None:
            task.cancel()

    async def _discovered(self) -> list[ResourceRef]:
        backoff = Backoff()
        while True:
            try:
                return await discover(self._world.client, frozenset({"list", "watch", "delete"}))
            except (ApiError, Unreachable) as error:
                logger.info("Cannot discover what the server has, trying on", extra={"kv": {"err": error}})
                await asyncio.sleep(backoff.delay())

    def _follow(self, ref: ResourceRef) -> None:
        informer: Informer[Any] = self._world.follow(ref, Partial)
        self._refs[ref.group, ref.kind] = ref
        self._informers[ref] = informer

        async def look(key: Key) -> Outcome:
            return await self._look(ref, key)

        def changed(key: Key, old: HasMetadata | None, new: HasMetadata | None) -> Iterable[Key]:
            return self._changed(ref, key, old, new)

        self._loops[ref] = loop = Loop(f"garbage {ref.plural}", self._world, look, workers=2)
        loop.follow(informer, changed)

    # -- owners and dependents -----------------------------------------------------------------------------------------

    def _changed(self, ref: ResourceRef, key: Key, old: HasMetadata | None, new: HasMetadata | None) -> Iterable[Key]:
        if old is not None and new is not None and _relations(old.metadata) == _relations(new.metadata):
            return
        if new is not None:
            yield key
        item = new or old
        assert item is not None
        if new is None:
            self._forget(item.metadata.uid)
        if new is None or new.metadata.is_terminating:
            if ref.namespaced:
                self._namespace_changed(key[0])
            self._wake_dependents(item.metadata.uid)
        for owner in (*(old.metadata.owner_references if old else ()), *item.metadata.owner_references):
            self._wake_owner(key[0], owner)

    def _forget(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _wake_dependents(self, uid: str) -> None:
        for ref, meta in self._dependents(uid):
            self._loops[ref].queue.add((meta.namespace, meta.name))

    def _wake_owner(self, at: str, owner: Owner) -> None:
        ref = self._ref_of(owner)
        if ref is None:
            return
        key = (at if ref.namespaced else "", owner.name)
        found = self._informers[ref].get(*key)
        if found is not None and found.metadata.is_terminating:
            self._loops[ref].queue.add(key)

    def _dependents(self, uid: str) -> Iterable[tuple[ResourceRef, Meta]]:
        for ref, informer in self._informers.items():
            for item in informer.by_index("owner", uid):
                yield ref, item.metadata

    def _ref_of(self, owner: Owner) -> ResourceRef | None:
        return self._refs.get((owner.api_version.rpartition("/")[0], owner.kind))

    async def _look(self, ref: ResourceRef, key: Key) -> Outcome:
        async with self._settling:
            pass  # a kind that is not yet followed may have dependents
        found = self._informers[ref].get(*key) if ref in self._informers else None
        if found is None:
            return NOTHING
        meta: Meta = found.metadata
        fates = {}
        if not meta.is_terminating:
            fates = {owner.uid: await self._fate(meta.namespace, owner) for owner in meta.owner_references}
        dependents = [Item(of, its) for of, its in self._dependents(meta.uid)]
        return garbage.reconcile(Item(ref, meta), dependents, lambda owner: fates[owner.uid])

    async def _fate(self, at: str, owner: Owner) -> Fate:
        ref = self._ref_of(owner)
        if ref is None:
            return Fate.PRESENT  # a kind that this server does not say it has: nobody can know
        if ref.namespaced and not at:
            return Fate.PRESENT  # what has no namespace cannot be owned by what has one: nobody can say which
        if owner.uid in self._gone:
            return Fate.GONE
        place = at if ref.namespaced else ""
        found = self._informers[ref].get(place, owner.name)
        if found is not None and found.metadata.uid == owner.uid:
            waits = found.metadata.is_terminating and garbage.FOREGROUND in found.metadata.finalizers
            return Fate.WAITING if waits else Fate.PRESENT
        if await self._exists(ref, place, owner):
            return Fate.PRESENT
        self._forget(owner.uid)
        return Fate.GONE

    async def _exists(self, ref: ResourceRef, place: str, owner: Owner) -> bool:
        try:
            tree = await self._world.client.get(ref, owner.name, place)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return bool(tree["metadata"]["uid"] == owner.uid)

    # -- namespaces ----------------------------------------------------------------------------------------------------

    def _namespace_changed(self, name: str) -> None:
        found = self._namespaces.get("", name)
        if found is not None and found.metadata.is_terminating:
            self._emptying.queue.add(("", name))

    async def _empty(self, key: Key) -> Outcome:
        found = self._namespaces.get(*key)
        if found is None or not found.metadata.is_terminating:
            return NOTHING
        name = key[1]
        content = {
            ref: [item.metadata for item in items]
            for ref in self._content
            if (items := self._informers[ref].by_index("namespace", name))
        }
        if not content:  # the caches may not show all yet, nor kinds that are new: ask before the last step
            content = await self._listed(name)
        return namespace.reconcile(found, content, self._unseen, self._world.clock.now())

    async def _listed(self, name: str) -> dict[ResourceRef, list[Meta]]:
        refs = [ref for ref in await self._discovered() if ref.namespaced and ref.plural not in NOT_FOLLOWED]
        lists = await asyncio.gather(*(self._world.client.list(ref, name, limit=1, metadata_only=True) for ref in refs))
        answers = zip(refs, lists, strict=True)
        return {ref: [_meta(tree) for tree in trees] for ref, answer in answers if (trees := answer.get("items"))}


def _meta(tree: Tree) -> Meta:
    return msgspec.convert(tree["metadata"], Meta)


def _relations(meta: Meta) -> tuple[object, ...]:
    """All of an object that matters to its owners and dependents."""
    return meta.uid, meta.owner_references, meta.deletion_timestamp, meta.finalizers


def _terminating(key: Key, old: Namespace | None, new: Namespace | None) -> Iterable[Key]:
    return (key,) if new is not None and new.metadata.is_terminating else ()


def start(world: World) -> list[Graph]:
    return [Graph(world)]
