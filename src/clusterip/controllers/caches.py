"""One informer a resource, shared by all controllers of one identity.

Stage: shell.  In: resources, structs to decode them into.  Out: informers with indexes by controller, owner, namespace.
Rules: a resource is followed once for each selection, whoever asks; what is asked for later begins then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from clusterip.client.backoff import Chance, system_chance
from clusterip.client.informer import Informer
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client
from clusterip.clock import Clock
from clusterip.controllers.model import Meta, Partial, decoder


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
        self._kinds: dict[tuple[ResourceRef, Selection], type[Any]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[tuple[ResourceRef, Selection], asyncio.Task[None]] = {}

    def follow(self, ref: ResourceRef, kind: type[T], selection: Selection = ALL) -> Informer[T]:
        """The resource's informer; its struct is that of the first who asks, and Partial is satisfied by any.

        TypeError when it is followed as another struct already: both have to ask for the same.
        """
        known, had = self._informers.get((ref, selection)), self._kinds.setdefault((ref, selection), kind)
        if kind not in (had, Partial):
            raise TypeError(f"{ref.plural} are followed as {had.__name__} already, and cannot be {kind.__name__}")
        if known is None:
            known = self._new(ref, kind, selection)
            self._informers[ref, selection] = known
            if self._group is not None:
                self._begin(self._group, (ref, selection))
        return known

    def forget(self, ref: ResourceRef) -> None:
        """Follow a resource no longer: the server has it no more."""
        for found in [found for found in self._informers if found[0] == ref]:
            del self._informers[found], self._kinds[found]
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
