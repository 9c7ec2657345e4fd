"""The `kubernetes` Service: it stays, and leads to every API server that shares the store.

Stage: a task for the server's life.  In: what becomes of a few objects, the other servers' signs of life.
Out: the default range, the Service, its Endpoints and EndpointSlice, as they should be; this server's own sign of life.
Rules: alone on its store a server acts on changes only.  With others each renews its sign, a key below SIGNS; one
       whose sign does not change for a while, by the observer's own clock, is gone.  A server on loopback is nobody's
       endpoint.
Truth: kube-apiserver's kubernetesservice controller and lease endpoint reconciler.
"""

from __future__ import annotations

import asyncio
import logging
from ipaddress import ip_address

from clusterip.api.allocation import Ranges
from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver.bootstrap import ensure, ensure_range
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction
from clusterip.failure import Failure

log = logging.getLogger(__name__)

SIGNS = "/masterleases"
RENEW_SECONDS, GONE_SECONDS, LEAVE_SECONDS = 10.0, 15.0, 2.0
SLICE_LABELS = {SERVICE_NAME_LABEL: "kubernetes"}
KEPT = {
    "/registry/services/": "default/kubernetes",
    "/registry/endpoints/": "default/kubernetes",
    "/registry/discovery.k8s.io/endpointslices/": "default/kubernetes",
    "/registry/networking.k8s.io/servicecidrs/": "kubernetes",
}


class Presence:
    """This server among those of its store."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._signs = core.registry.keep(SIGNS)
        self._seen: dict[str, tuple[int, float]] = {}
        """Each server's sign: its revision, and when that was new."""
        self._wake = asyncio.Event()
        core.writes.observers.append(self.observe)

    @property
    def _host(self) -> str:
        return self._core.settings.advertise[0]

    def observe(self, collection: Collection, old: Entry | None, new: Entry | None) -> None:
        """One of the kept objects changed."""
        entry = new or old
        if entry is not None and KEPT.get(collection.prefix) == entry.key:
            self._wake.set()

    async def run(self) -> None:
        """Keep the objects as they should be."""
        while True:
            try:
                async with asyncio.timeout(RENEW_SECONDS if self._core.store.shared else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.reconcile()
            except (ApiError, Failure) as error:
                log.warning("The kubernetes Service could not be kept", extra={"kv": {"err": error}})

    async def reconcile(self) -> None:
        """Make what is missing, change what is not so."""
        core, port = self._core, self._core.settings.advertise[1]
        await ensure_range(core)
        await ensure(core, "", "v1", "services", "default", kubernetes_service(core.settings.ranges, port))
        if ip_address(self._host).is_loopback:
            return
        if core.store.shared:
            await core.writes.do(self._renew)
        await self._point_to(self._alive())

    async def leave(self) -> None:
        """Say at the end that this server goes; the others find out if it cannot."""
        if not self._core.store.shared or ip_address(self._host).is_loopback:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._core.writes.do(lambda transaction: self._forget(transaction, self._host))
                others = [host for host in self._alive() if host != self._host]
                if others:
                    await self._point_to(others)
        except (ApiError, Failure, TimeoutError) as error:
            log.warning("Could not say that this server goes", extra={"kv": {"err": error}})

    async def _point_to(self, hosts: list[str]) -> None:
        port = self._core.settings.advertise[1]
        await ensure(self._core, "", "v1", "endpoints", "default", kubernetes_endpoints(hosts, port))
        await ensure(self._core, "discovery.k8s.io", "v1", "endpointslices", "default", kubernetes_slice(hosts, port))

    def _renew(self, transaction: Transaction) -> None:
        """Our sign changes; those of servers that are gone go."""
        count = transaction.get(self._signs, self._host)
        number = count.tree().get("count", 0) + 1 if count is not None else 1
        transaction.put(self._signs, self._host, {"metadata": {"name": self._host}, "count": number})
        for host in set(self._signs.entries) - set(self._alive()):
            self._forget(transaction, host)

    def _forget(self, transaction: Transaction, host: str) -> None:
        if transaction.get(self._signs, host) is not None:
            transaction.delete(self._signs, host)

    def _alive(self) -> list[str]:
        """Servers of our family whose signs are fresh, and this one."""
        now, family = self._core.clock.monotonic(), ip_address(self._host).version
        for host, entry in self._signs.entries.items():
            if self._seen.get(host, (0, 0.0))[0] != entry.revision:
                self._seen[host] = entry.revision, now
        fresh = {host for host in self._signs.entries if now - self._seen[host][1] < GONE_SECONDS} | {self._host}
        return sorted(
            (host for host in fresh if ip_address(host).version == family), key=lambda host: int(ip_address(host))
        )


def kubernetes_service(ranges: Ranges, port: int) -> Tree:
    first = str(ranges.networks[0][1])
    return {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": first,
            "clusterIPs": [first],
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }


def kubernetes_endpoints(hosts: list[str], port: int) -> Tree:
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    return {
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": host} for host in hosts], "ports": ports}],
    }


def kubernetes_slice(hosts: list[str], port: int) -> Tree:
    return {
        "metadata": {"name": "kubernetes", "labels": SLICE_LABELS},
        "addressType": f"IPv{ip_address(hosts[0]).version}",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}} for host in hosts],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
