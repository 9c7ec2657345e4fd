"""Health-check node ports: a load balancer asks whether a Service with external policy Local has endpoints here.

Stage: commit and serve.  In: plans that are in the kernel.  Out: one small HTTP server a Service.
Rules: `wanted` decides; a port that is taken is told and tried again, and the others go on; an answer speaks of what
the kernel has, never of what it will have; the same Service in both families is asked once, and counted once.
Truth: k8s.io/kubernetes pkg/proxy/healthcheck/service_health.go; KEP-1669; KEP-3836.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NoReturn, Protocol

from clusterip.api.addresses import with_port
from clusterip.api.meta import ObjectKey
from clusterip.failure import Failure
from clusterip.proxy.model import Family, HealthCheck, IPAddress, Node, Plan
from clusterip.transport.answers import Response
from clusterip.transport.http import Handler, Listener
from clusterip.transport.listening import bind, bind_any
from clusterip.transport.request import Request

logger = logging.getLogger(__name__)

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
EVERYWHERE = frozenset({""})
HEADERS = (("X-Content-Type-Options", "nosniff"),)
WEIGHT = "X-Load-Balancing-Endpoint-Weight"


class Told(Protocol):
    """events.ServiceEvents."""

    def health_port_taken(self, key: ObjectKey, port: int, why: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Service's load balancers ask; an empty address is every address."""

    port: int
    addresses: frozenset[str]


@dataclass(slots=True)
class _Server:
    place: Place
    listener: Listener


class HealthChecks:
    """The servers of one node. `programmed` may be called at any time from the loop; `run` opens and closes."""

    def __init__(self, is_healthy: Callable[[], bool], told: Told | None = None) -> None:
        self._is_healthy, self._told = is_healthy, told
        self._checks: dict[ObjectKey, dict[Family, HealthCheck]] = {}
        self._nodes: dict[Family, Node] = {}
        self._revisions: dict[Family, int] = {}
        self._open: dict[ObjectKey, _Server] = {}
        self._failed: dict[ObjectKey, Place] = {}
        self._wanted = asyncio.Event()

    def programmed(self, plan: Plan) -> None:
        """The kernel has this plan now."""
        family = plan.node.family
        changed = plan.changed_since(self._revisions.get(family, 0))
        known = (key for key, checks in self._checks.items() if family in checks)
        for key in {*known, *plan.services} if changed is None else changed:
            self._take(key, family, plan)
        if changed is None and self._nodes.get(family) != plan.node:
            self._nodes[family] = plan.node
            self._wanted.set()
        self._revisions[family] = plan.revision

    def _take(self, key: ObjectKey, family: Family, plan: Plan) -> None:
        service = plan.services.get(key)
        check = service.health if service else None
        checks = self._checks.get(key, {})
        if check == checks.get(family):
            return
        if check is None:
            del checks[family]
            if not checks:
                del self._checks[key]
        else:
            self._checks.setdefault(key, checks)[family] = check
        self._wanted.set()

    def local_endpoints(self, key: ObjectKey) -> int:
        """Endpoints here: a pod that has addresses of both families is one."""
        return max((check.local_endpoints for check in self._checks.get(key, {}).values()), default=0)

    # -- servers -------------------------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Keep the servers as they are wanted, until cancelled."""
        failures = 0
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close_all)
            while True:
                seconds = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)] if self._failed else None
                try:
                    async with asyncio.timeout(seconds):
                        await self._wanted.wait()
                    failures = 0
                except TimeoutError:
                    failures += 1
                self._wanted.clear()
                await self.settle()

    async def settle(self) -> None:
        """Close what is no more wanted, then open what is."""
        places = wanted(self._checks, self._nodes.values())
        for key in [key for key, server in self._open.items() if places.get(key) != server.place]:
            await self._open.pop(key).listener.close()
        self._failed = {key: place for key, place in self._failed.items() if places.get(key) == place}
        for key, place in places.items():
            if key not in self._open:
                await self._start(key, place)

    async def _start(self, key: ObjectKey, place: Place) -> None:
        listener = Listener(self._answerer(key))
        try:
            for address in sorted(place.addresses):
                await listener.listen(bind(with_port(address, place.port)) if address else bind_any(place.port), None)
        except Failure as failure:
            await listener.close()
            self._fail(key, place, failure)
            return
        self._failed.pop(key, None)
        self._open[key] = _Server(place, listener)

    def _fail(self, key: ObjectKey, place: Place, failure: Failure) -> None:
        if self._failed.get(key) == place:
            return  # it was said
        self._failed[key] = place
        values = {"service": f"{key.namespace}/{key.name}", "port": place.port, "err": failure}
        logger.error("Cannot answer health checks, trying again", extra={"kv": values})
        if self._told:
            self._told.health_port_taken(key, place.port, str(failure))

    async def _close_all(self) -> None:
        for server in self._open.values():
            await server.listener.close()
        self._open.clear()

    def _answerer(self, key: ObjectKey) -> Handler:
        async def handle(request: Request) -> Response:
            return report(key, self.local_endpoints(key), self._is_healthy())

        return handle


def wanted(
    checks: Mapping[ObjectKey, Mapping[Family, HealthCheck]], nodes: Iterable[Node]
) -> Mapping[ObjectKey, Place]:
    """Where each Service is to be asked: where node ports are, in the families that it has."""
    of = {node.family: node for node in nodes}
    return {
        key: Place(next(iter(found.values())).node_port, listening_addresses(of[family] for family in found))
        for key, found in sorted(checks.items())
    }


def listening_addresses(nodes: Iterable[Node]) -> frozenset[str]:
    """The addresses that take node ports; one family without a choice of them means all."""
    found: set[IPAddress] = set()
    for node in nodes:
        if node.node_port_addresses is None:
            return EVERYWHERE
        found |= node.node_port_addresses
    return frozenset(map(str, found)) or EVERYWHERE


def report(key: ObjectKey, local_endpoints: int, is_healthy: bool) -> Response:
    """An answer in upstream's form."""
    service = {"namespace": key.namespace, "name": key.name}
    body = {"service": service, "localEndpoints": local_endpoints, "serviceProxyHealthy": is_healthy}
    status = 200 if local_endpoints and is_healthy else 503
    headers = (*HEADERS, (WEIGHT, str(local_endpoints)))
    return Response(status, json.dumps(body, indent="\t").encode(), headers=headers)
