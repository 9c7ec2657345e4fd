"""Writes of controllers, in order, until the caches show them.

Stage: commit.  In: writes, as reconcilers asked for them.  Out: requests to the API, events.
Rules: creates go side by side, and deletes, and patches that say so; the first failure ends a commit.  What a
level-triggered controller need not mind is no failure.
Truth: resourceVersions are compared as numbers (KEP-5504).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.events import EventRecorder
from clusterip.client.informer import Informer
from clusterip.client.names import PODS, ResourceRef
from clusterip.client.rest import Client, Unreachable
from clusterip.controllers.caches import Caches
from clusterip.controllers.writes import Bind, Create, Delete, DeleteAll, Key, Patch, Said, Say, Update, Write

CATCH_UP_SECONDS = 5.0  # a cache that does not follow must not stop a controller for ever
PARALLEL_WRITES = 16


class Writer:
    """Commits writes of one identity."""

    def __init__(self, client: Client, caches: Caches, recorder: EventRecorder) -> None:
        self._client, self._caches, self._recorder = client, caches, recorder

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write in order, side by side what may, and wait until the caches show it."""
        failures: list[Exception] = []
        for (_, is_free), group in itertools.groupby(writes, lambda write: (type(write), _is_free(write))):
            failures += await self._together(list(group), is_free)
            if failures:
                break
        if failures:
            raise failures[0]

    async def _together(self, writes: list[Write], is_free: bool) -> list[Exception]:
        if len(writes) == 1 or not is_free:
            results = [await self._guarded(write) for write in writes]
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
            case Create() | Patch() | Update():
                answer = await self._sent(write)
                self._tell(write.said, **({"name": answer["metadata"]["name"]} if isinstance(write, Create) else {}))
                await self._seen(write.ref, answer)
            case Delete():
                await self._delete(write)
                self._tell(write.said)
                await self._gone(write)
            case DeleteAll():
                await self._client.delete_collection(write.ref, write.namespace)
            case Bind():
                await self._bind(write)
            case Say():
                self._tell(write.said)

    async def _sent(self, write: Create | Patch | Update) -> Tree:
        """The object as it is now."""
        if isinstance(write, Create):
            return await self._client.create(write.ref, write.tree)
        if isinstance(write, Update):
            return await self._client.update(write.ref, write.tree, write.subresource)
        return await self._client.patch(
            write.ref, write.name, write.namespace, write.patch, type=write.type, subresource=write.subresource
        )

    async def _delete(self, write: Delete) -> None:
        await self._client.delete(
            write.ref,
            write.name,
            write.namespace,
            uid=write.uid,
            propagation=write.propagation,
            grace_seconds=write.grace_seconds,
        )

    async def _bind(self, write: Bind) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": write.namespace, "name": write.name, "uid": write.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": write.node},
        }
        await self._client.create(PODS, binding, write.namespace, "binding", write.name)
        self._tell(write.said)

    def _tell(self, said: Said | None, **words: str) -> None:
        if said is not None:
            message = said.message
            for name, word in words.items():
                message = message.replace("{" + name + "}", word)
            self._recorder.event(said.involved, said.type, said.reason, message)

    async def _seen(self, ref: ResourceRef, answer: Tree) -> None:
        """Wait until the cache shows the answer, or what came after it."""
        key, revision = _key(answer), answer["metadata"].get("resourceVersion", "")
        for informer in self._caches.of(ref):
            if informer.has_synced and revision.isdecimal() and informer.selects(answer):
                await informer.until(partial(_shows, informer, key, int(revision)), CATCH_UP_SECONDS)

    async def _gone(self, write: Delete) -> None:
        """Wait until the cache shows the deletion, or its beginning."""
        for informer in self._caches.of(write.ref):
            if informer.has_synced:
                await informer.until(partial(_shows_end, informer, write), CATCH_UP_SECONDS)


def _is_free(write: Write) -> bool:
    """Whether it may go beside others of its kind; the order of changes matters unless they say otherwise."""
    return isinstance(write, (Create, Delete)) or (isinstance(write, Patch) and write.free)


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
