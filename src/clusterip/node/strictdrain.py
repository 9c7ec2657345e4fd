"""Before a pod is told to stop: wait until no proxy sends it new connections any more (`--strict-drain`).

Stage: shell around pure questions.  In: EndpointSlices, the proxies' Leases.  Out: a wait that ends.
Rules: both are followed only while a pod waits; a proxy that is dead (its Lease ran out) is not waited for; the wait is
never longer than it was asked for, and who was not ready in time is named.
Truth: clusterip.api.programmed; discovery/v1; KEP-1672 (terminating endpoints).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clusterip.api.meta import Tree
from clusterip.api.programmed import NAMESPACE, SELECTOR, ProgrammedNode, parse_programmed
from clusterip.client.informer import Informer
from clusterip.client.names import ENDPOINT_SLICES, LEASES, ResourceRef
from clusterip.client.rest import Client
from clusterip.clock import Clock

THE_API = "the API"
THE_SLICES = "the EndpointSlices"


@dataclass(slots=True)
class _Followed:
    informer: Informer[Any]
    task: asyncio.Task[None]
    users: int = 0


@dataclass(slots=True)
class StrictDrain:
    """The waits of one node's pods."""

    client: Client
    group: asyncio.TaskGroup
    clock: Clock
    _followed: dict[tuple[str, str], _Followed] = field(default_factory=dict)

    async def wait(self, namespace: str, uid: str, seconds: float) -> tuple[str, ...]:
        """Until every live proxy has heard that the pod leaves, or the seconds are over; who has not heard by then."""
        deadline = self.clock.monotonic() + seconds
        following = self._following(ENDPOINT_SLICES, namespace, "", lambda tree: tree)
        proxies = self._following(LEASES, NAMESPACE, SELECTOR, parse_programmed)
        async with following as slices, proxies as leases:
            if not await self._until(slices, lambda: slices.has_synced and leases.has_synced, deadline, leases):
                return (THE_API,)
            if not await self._until(slices, lambda: not takes_new(slices.items().values(), uid), deadline):
                return (THE_SLICES,)
            revision = newest(slices.items().values())
            return await self._until_passed(leases, revision, deadline)

    async def _until_passed(self, leases: Informer[ProgrammedNode], revision: int, deadline: float) -> tuple[str, ...]:
        def behind() -> tuple[str, ...]:
            return laggards(leases.items().values(), revision, self.clock.now())

        while (late := behind()) and (left := deadline - self.clock.monotonic()) > 0:
            now = self.clock.now()
            ends = (found.expires for found in leases.items().values() if found.name in late and found.expires)
            first = min(((moment - now).total_seconds() for moment in ends), default=left)
            await leases.until(lambda: not behind(), max(min(left, first), 0.001))
        return late

    async def _until(
        self, one: Informer[Any], condition: Callable[[], bool], deadline: float, other: Informer[Any] | None = None
    ) -> bool:
        """Whether the condition came true; either cache may bring it about."""
        waits = [
            asyncio.ensure_future(found.until(condition, deadline - self.clock.monotonic()))
            for found in (one, other)
            if found is not None
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return condition()

    @asynccontextmanager
    async def _following(
        self, ref: ResourceRef, namespace: str, labels: str, decode: Callable[[Tree], Any]
    ) -> AsyncIterator[Informer[Any]]:
        """A cache that all who wait share; the last one out ends it."""
        key = (ref.plural, namespace)
        found = self._followed.get(key)
        if found is None:
            informer: Informer[Any] = Informer(self.client, ref, decode, namespace=namespace, labels=labels)
            task = self.group.create_task(informer.run(), name=f"drain {ref.plural} {namespace}")
            found = self._followed[key] = _Followed(informer, task)
        found.users += 1
        try:
            yield found.informer
        finally:
            found.users -= 1
            if not found.users:
                del self._followed[key]
                found.task.cancel()

    def stop(self) -> None:
        """The agent ends."""
        for found in self._followed.values():
            found.task.cancel()


def takes_new(slices: Iterable[Tree], uid: str) -> bool:
    """Whether new connections are still meant for the pod."""
    endpoints = (endpoint for found in slices for endpoint in found.get("endpoints") or ())
    return any(_is(endpoint, uid) and _is_open(endpoint.get("conditions") or {}) for endpoint in endpoints)


def _is(endpoint: Tree, uid: str) -> bool:
    return (endpoint.get("targetRef") or {}).get("uid") == uid


def _is_open(conditions: Mapping[str, Any]) -> bool:
    """One that is published although it is not ready stays open; that it is terminating is all that can be said."""
    return conditions.get("ready") is not False and not conditions.get("terminating")


def newest(slices: Iterable[Tree]) -> int:
    """The highest revision among them: whoever has passed it knows all of them."""
    versions = (found["metadata"]["resourceVersion"] for found in slices)
    return max((int(version) for version in versions if version.isdigit()), default=0)


def laggards(nodes: Iterable[ProgrammedNode], revision: int, now: datetime) -> tuple[str, ...]:
    """Live proxies that have not passed the revision."""
    return tuple(sorted(found.name for found in nodes if found.passed < revision and found.is_live(now)))
