"""CustomResourceDefinitions at work: kinds are served as soon as their definition is committed.

Stage: shell; follows the collection of definitions.  In: its changes.  Out: records in the registry; the definitions'
conditions; the end of a kind's objects before the end of its definition.
Rules: what a definition means is api/customresource.py's; statuses go through the write path like anyone's.
Truth: apiextensions-apiserver, pkg/controller (status, establish, finalizer).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from clusterip.api import customresource
from clusterip.api.crd_validation import is_established
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, name_of
from clusterip.api.resource import Resource
from clusterip.api.resources.apiextensions import CLEANUP, CUSTOM_RESOURCE_DEFINITION
from clusterip.apiserver import conversion, deleting, own, writing
from clusterip.apiserver.cache import Change, Collection, Entry
from clusterip.apiserver.conversion import Converter, Unmarked
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.deleting import Options
from clusterip.apiserver.writes import Transaction
from clusterip.clock import rfc3339

log = logging.getLogger(__name__)

DEFINITIONS = CUSTOM_RESOURCE_DEFINITION
RETRY_SECONDS = 1.0


class CustomResources:
    """Keeps the registry as the definitions say."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._served: dict[str, list[tuple[str, str, str]]] = {}
        self._open: set[str] = set()
        self._wanted = asyncio.Event()
        self._definitions = core.registry.of(DEFINITIONS.plural, DEFINITIONS.group)

    def begin(self) -> None:
        """Serve what the store knows already, and follow."""
        if self._definitions is None:
            return
        for entry in self._definitions.entries.values():
            self._take(entry)
        self._definitions.watchers[id(self)] = self._changed

    def _changed(self, change: Change) -> None:
        if change.kind == "DELETED":
            self._drop(change.entry)
        else:
            self._take(change.entry)
        self._wanted.set()

    def _take(self, entry: Entry) -> None:
        """Serve a definition, as far as its names are free."""
        crd = entry.tree()
        self._open.add(entry.key)
        settled = {**crd, "status": self._settled(crd)}
        self._core.registry.remove(self._served.pop(entry.key, ()))
        if is_established(settled):
            try:
                resources = customresource.resources_of(settled)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                values = {"definition": entry.key, "err": repr(error)}
                log.exception("A CustomResourceDefinition cannot be served", extra={"kv": values})
                return
            self._core.registry.add(resources)
            self._convert(settled)
            self._end(resources, bool(crd["metadata"].get("deletionTimestamp")))
            storage = next((each["name"] for each in crd["spec"]["versions"] if each.get("storage")), "")
            resources.sort(key=lambda each: each.version != storage)  # the first is what the server itself works with
            self._served[entry.key] = [(each.group, each.version, each.plural) for each in resources]

    def _end(self, resources: list[Resource], is_ending: bool) -> None:
        for each in resources:
            served = self._core.registry.find(each.group, each.version, each.plural)
            if served is not None:
                served.is_ending = is_ending

    def _convert(self, crd: Tree) -> None:
        """Who turns the versions into each other: a webhook, or nobody (and then marks of a former one go)."""
        objects = self._objects(crd)
        if objects is None:  # none of its versions is served
            return
        converter: Converter | Unmarked | None = None
        if (crd["spec"].get("conversion") or {}).get("strategy") == "Webhook" and self._core.webhooks is not None:
            ask = conversion.asking(self._core.webhooks.caller, crd)
            converter = Converter(crd, ask, lambda: len(objects.entries))
        elif any(conversion.MARKED in entry.body for entry in objects.entries.values()):
            converter = Unmarked()
        for name in [
            (crd["spec"]["group"], each["name"], crd["spec"]["names"]["plural"]) for each in crd["spec"]["versions"]
        ]:
            served = self._core.registry.find(*name)
            if served is not None:
                served.converter = converter

    def _drop(self, entry: Entry) -> None:
        """A definition that went frees its names: the others are looked at again."""
        self._core.registry.remove(self._served.pop(entry.key, ()))
        assert self._definitions is not None
        self._open = set(self._definitions.entries)

    def _settled(self, crd: Tree) -> Tree:
        assert self._definitions is not None
        group, name = crd["spec"]["group"], name_of(crd)
        others = [
            entry.tree()
            for key, entry in self._definitions.entries.items()
            if key.endswith(f".{group}") and key != name
        ]
        return customresource.settled(crd, others, rfc3339(self._core.clock.now()))

    async def run(self) -> None:
        """Write statuses and clean up, for the server's life."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for key in sorted(self._open):
                try:
                    await self._tend(key)
                    self._open.discard(key)
                except ApiError as error:
                    values = {"definition": key, "err": error}
                    log.warning("Cannot tend to a CustomResourceDefinition, trying again", extra={"kv": values})
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wanted.set)

    async def _tend(self, key: str) -> None:
        assert self._definitions is not None
        entry = self._definitions.entries.get(key)
        if entry is None:
            return
        crd = entry.tree()
        if crd["metadata"].get("deletionTimestamp"):
            await self._finish(key, crd)
        elif (status := self._settled(crd)) != crd.get("status"):
            await self._edit(key, lambda tree: {**tree, "status": status}, "status")
            self._take(self._definitions.entries[key])

    async def _finish(self, key: str, crd: Tree) -> None:
        """Delete what there is of the kind; when nothing is left, let the definition go."""
        if CLEANUP not in (crd["metadata"].get("finalizers") or ()):
            return
        objects = self._objects(crd)
        call = self._call_of(key)
        if objects is not None and call is not None:
            for where in list(objects.entries):
                await writing.decide(self._core, call, _removal(self._core, call, objects, where), False)
        if objects is not None and objects.entries:
            objects.watchers.setdefault(id(self), lambda change: self._again(key, objects))
            return
        await self._edit(key, _without_cleanup)

    def _again(self, key: str, objects: Collection) -> None:
        """An object of a kind that shall end went or changed."""
        if not objects.entries:
            objects.watchers.pop(id(self), None)
            self._open.add(key)
            self._wanted.set()

    def _objects(self, crd: Tree) -> Collection | None:
        return self._core.registry.of(crd["spec"]["names"]["plural"], crd["spec"]["group"])

    def _call_of(self, key: str) -> Call | None:
        versions = self._served.get(key)
        return own.own_call(self._core, *versions[0], "", "") if versions else None

    async def _edit(self, key: str, edit: writing.Edit, subresource: str = "") -> None:
        """A definition changed by the server itself; one that is gone needs nothing."""
        resource = DEFINITIONS
        call = own.own_call(self._core, resource.group, resource.version, resource.plural, "", key)
        assert call is not None
        call.subresource = subresource
        await own.change(self._core, call, edit)


def _removal(core: Core, call: Call, objects: Collection, key: str) -> Callable[[Transaction], None]:
    def operation(transaction: Transaction) -> None:
        if transaction.get(objects, key) is not None:
            deleting.remove(core, call, transaction, key, Options())

    return operation


def _without_cleanup(tree: Tree) -> Tree:
    metadata = tree["metadata"]
    metadata["finalizers"] = [name for name in metadata.get("finalizers") or () if name != CLEANUP]
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    return tree
