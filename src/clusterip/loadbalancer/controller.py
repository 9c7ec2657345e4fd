"""The address controller: Services followed, settled one by one, their status written.

Stage: shell.  In: an informer of Services, configurations.  Out: writes of two statuses (Services, pools), events.
Rules: nothing is decided here.  At start every address that is shown is entered first, so that a restart moves none.
An event is said once what it tells is written.  A write that lost a race comes again with the newer Service.
Truth: MetalLB 0.16's controller; it may update services/status, and nothing else of a Service.
"""

from __future__ import annotations

import asyncio
import logging

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, uid_of
from clusterip.api.metallb import ALLOCATED_FROM, Configuration
from clusterip.client.events import EventRecorder, Involved
from clusterip.client.informer import Informer
from clusterip.client.names import IP_ADDRESS_POOLS, SERVICES
from clusterip.client.rest import Client
from clusterip.client.workqueue import WorkQueue
from clusterip.loadbalancer import metrics
from clusterip.loadbalancer.decide import Outcome, Saying, adopt, converge, deprecations, is_ours
from clusterip.loadbalancer.ledger import Ledger
from clusterip.loadbalancer.model import Key, Service, read_service
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)

WORKERS = 8


class AddressController:
    """All Services of one load-balancer class."""

    def __init__(self, client: Client, recorder: EventRecorder, namespace: str, balancer_class: str = "") -> None:
        self._client, self._recorder = client, recorder
        self._namespace, self._class = namespace, balancer_class
        self.ledger = Ledger()
        self.registry: Registry = metrics.registry(self.ledger)
        self._services: Informer[Service] = Informer(client, SERVICES, read_service)
        self._queue: WorkQueue[Key] = WorkQueue()
        self._pools: WorkQueue[str] = WorkQueue()
        self._unsaid: dict[Key, tuple[Saying, ...]] = {}
        self._without: set[Key] = set()  # Services that wait for room
        self._configured = asyncio.Event()

    # -- news ---------------------------------------------------------------------------------------------------------

    def on_configuration(self, found: Configuration) -> None:
        """Other pools: everything is looked at again, those that have addresses first."""
        self.ledger.set_pools(found.pools)
        self._configured.set()
        for key, service in sorted(self._services.items().items(), key=lambda item: not item[1].ingress):
            if service.is_balancer or service.is_marked:
                self._queue.add(key)
        self._tell_pools()

    def on_verdict(self, error: str) -> None:
        self.registry.put(metrics.LOADED, float(self._configured.is_set()))
        self.registry.put(metrics.STALE, float(bool(error)))

    def _on_service(self, key: Key, old: Service | None, new: Service | None) -> None:
        touched = (service.is_balancer or service.is_marked for service in (old, new) if service is not None)
        if old != new and any(touched):
            self._queue.add(key)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run(), name="informer services")
            await self._services.synced()
            await self._configured.wait()
            for _, service in sorted(self._services.items().items()):
                if is_ours(service, self._class):
                    adopt(self.ledger, service)
            self._services.subscribe(self._on_service)
            group.create_task(self._queue.run(self._settle, WORKERS), name="services")
            group.create_task(self._pools.run(self._write_pool), name="pools")

    async def _settle(self, key: Key) -> None:
        self.registry.count(metrics.UPDATES)
        service = self._services.get(*key)
        if service is None or not is_ours(service, self._class):
            self._forget(key)
            return
        outcome = converge(self.ledger, service)
        self._note(service, outcome)
        try:
            await self._show(service, outcome)
        except Exception:
            self.registry.count(metrics.UPDATE_ERRORS)
            raise

    def _forget(self, key: Key) -> None:
        """The Service is gone, or another's."""
        self._without.discard(key)
        self._unsaid.pop(key, None)
        if self.ledger.release(key) is not None:
            self._make_room()
            self._tell_pools()

    def _note(self, service: Service, outcome: Outcome) -> None:
        waits = service.is_balancer and outcome.holding is None
        (self._without.add if waits else self._without.discard)(service.key)
        self._unsaid[service.key] = self._unsaid.get(service.key, ()) + outcome.sayings
        if outcome.made_room:
            self._make_room()
        if waits and outcome.sayings:
            self.registry.count(metrics.UPDATE_ERRORS)

    def _make_room(self) -> None:
        """Who could get nothing may get something now."""
        for key in sorted(self._without):
            self._queue.add(key)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def _show(self, service: Service, outcome: Outcome) -> None:
        """Write what the Service is to show, then say what happened."""
        sayings = self._unsaid.get(service.key, ())
        if not outcome.is_shown_by(service):
            sayings += tuple(deprecations(service))
            await self._client.update(SERVICES, shown(service.tree, outcome), "status")
            logger.info("Addresses", extra={"kv": {"service": service.name, "ips": ",".join(outcome.ingress)}})
            self._tell_pools()
        self._unsaid.pop(service.key, None)
        about = Involved(kind="Service", name=service.key[1], namespace=service.key[0], uid=uid_of(service.tree))
        for saying in sayings:
            self._recorder.event(about, saying.type, saying.reason, saying.message)

    def _tell_pools(self) -> None:
        for name in self.ledger.pools:
            self._pools.add(name)

    async def _write_pool(self, name: str) -> None:
        """Bring a pool's status up to date; a bundle without that right or field is left alone."""
        pool = self.ledger.pools.get(name)
        if pool is None:
            return
        try:
            tree = await self._client.get(IP_ADDRESS_POOLS, name, self._namespace)
            status = metrics.pool_status(self.ledger, pool)
            if tree.get("status") != status:
                await self._client.update(IP_ADDRESS_POOLS, tree | {"status": status}, "status")
        except ApiError as error:
            if error.code not in (403, 404):
                raise


def shown(tree: Tree, outcome: Outcome) -> Tree:
    """The Service with its addresses and their pool's name."""
    meta: Tree = {**tree["metadata"], "annotations": dict(tree["metadata"].get("annotations") or {})}
    meta["annotations"].pop(ALLOCATED_FROM, None)
    if outcome.pool is not None:
        meta["annotations"][ALLOCATED_FROM] = outcome.pool
    balancer = {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in outcome.ingress]} if outcome.ingress else {}
    head = {"apiVersion": SERVICES.api_version, "kind": SERVICES.kind}  # an item of a list does not say it
    return {**tree, **head, "metadata": meta, "status": {**(tree.get("status") or {}), "loadBalancer": balancer}}
