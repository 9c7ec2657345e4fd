"""Leases: a heartbeat that says "I live", and an election that says who leads.

Stage: commit (heartbeat), plan (decide).  In: a lease tree, the time.  Out: a lease tree to write, or None.
Rules: decide is pure and judges a foreign lease by when it was seen to change, not by clocks of other machines.
Truth: coordination.k8s.io/v1, client-go tools/leaderelection, KEP-589 node heartbeats.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff, Chance, system_chance
from clusterip.client.names import LEASES
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock, SystemClock, rfc3339_micro

logger = logging.getLogger(__name__)


class Heartbeat:
    """Keeps one Lease fresh."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        *,
        holder: str | None = None,
        duration_seconds: int = 40,
        interval_seconds: float = 10.0,
        owner: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        chance: Chance = system_chance,
    ) -> None:
        self._client, self._namespace, self._name = client, namespace, name
        self._holder = holder or name
        self._duration, self._interval = duration_seconds, interval_seconds
        self._owner = owner
        self._clock, self._chance = clock or SystemClock(), chance

    async def beat(self) -> None:
        """Renew the Lease, or make it."""
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": self._duration,
            "renewTime": rfc3339_micro(self._clock.now()),
        }
        try:
            await self._client.patch(LEASES, self._name, self._namespace, {"spec": spec}, type="merge")
        except ApiError as error:
            if error.code != 404:
                raise
            await self._client.create(LEASES, self._new(spec))

    async def run(self) -> NoReturn:
        """Beat for ever; when the API is away, try sooner."""
        backoff = Backoff(first=0.2, longest=self._interval, chance=self._chance)
        while True:
            try:
                await self.beat()
            except (ApiError, Unreachable) as error:
                values = {"lease": f"{self._namespace}/{self._name}", "err": error}
                logger.debug("Cannot renew a lease", extra={"kv": values})
                await asyncio.sleep(backoff.delay())
                continue
            backoff.reset()
            await asyncio.sleep(self._interval * (0.96 + 0.08 * self._chance()))

    def _new(self, spec: Tree) -> Tree:
        metadata: Tree = {"name": self._name, "namespace": self._namespace}
        if self._owner:
            metadata["ownerReferences"] = [dict(self._owner)]
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease's revision and when (by our own monotonic clock) it was first seen."""

    resource_version: str
    at: float


def decide(
    lease: Tree | None, seen: Seen | None, identity: str, duration_seconds: int, now: datetime, monotonic: float
) -> Tree | None:
    """The spec with which identity holds the lease; None while another holds it."""
    moment = rfc3339_micro(now)
    spec: Tree = (lease or {}).get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if holder and holder != identity:
        stale = seen is not None and monotonic - seen.at > spec.get("leaseDurationSeconds", duration_seconds)
        if not stale:
            return None
    mine = holder == identity
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": duration_seconds,
        "acquireTime": spec.get("acquireTime", moment) if mine else moment,
        "renewTime": moment,
        "leaseTransitions": spec.get("leaseTransitions", 0) + (0 if mine or lease is None else 1),
    }


class Election:
    """One candidate for one Lease."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration_seconds: int = 15,
        retry_seconds: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self._client, self._namespace, self._name, self._identity = client, namespace, name, identity
        self._duration, self._retry = duration_seconds, retry_seconds
        self._clock = clock or SystemClock()
        self._seen: Seen | None = None

    async def keep(self) -> None:
        """Stay leader; returns when leadership is lost, or could not be renewed for so long that it soon may be."""
        renewed = self._clock.monotonic()
        while (left := renewed + self._duration * 2 / 3 - self._clock.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):  # a server that is silent is waited for no longer either
                    await asyncio.sleep(self._retry)
                    if not await self.attempt():
                        return
                renewed = self._clock.monotonic()
            except (ApiError, Unreachable, TimeoutError) as error:
                logger.debug("Cannot renew leadership", extra={"kv": {"lease": self._name, "err": error}})

    async def attempt(self) -> bool:
        """One try to take or renew the lease; a write that loses a race is a lost try."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            lease = None
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if lease is not None and (self._seen is None or self._seen.resource_version != _version(lease)):
            self._seen = Seen(_version(lease), monotonic)
        spec = decide(lease, self._seen, self._identity, self._duration, now, monotonic)
        return spec is not None and await self._write(lease, spec)

    async def _write(self, lease: Tree | None, spec: Tree) -> bool:
        try:
            if lease is None:
                meta = {"name": self._name, "namespace": self._namespace}
                tree = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
                await self._client.create(LEASES, tree)
            else:
                await self._client.update(LEASES, lease | {"spec": spec})
        except ApiError as error:
            if error.code != 409:
                raise
            return False
        return True


def _version(tree: Tree) -> str:
    version: str = tree["metadata"]["resourceVersion"]
    return version
