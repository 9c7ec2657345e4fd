"""The Ingress controller: what the API says is followed, planned and carried out; Ingresses show their address.

Stage: shell.  In: informers of Ingresses, classes, Services, EndpointSlices, Secrets.  Out: HAProxy, status, events.
Rules: nothing is decided here.  When the API goes away, the last plan goes on.  Endpoints are carried at once, other
changes after a moment, so that many make one reload.  What is wrong with an Ingress is said once, by one event.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clusterip.api.addresses import balancers_of
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.events import WARNING, EventRecorder, Involved
from clusterip.client.informer import Informer, Key
from clusterip.client.names import ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, SECRETS, SERVICES
from clusterip.client.rest import Client, Unreachable
from clusterip.client.workqueue import WorkQueue
from clusterip.ingress import endpoints
from clusterip.ingress.carrier import Carrier
from clusterip.ingress.endpoints import Address
from clusterip.ingress.model import (
    Ingress,
    IngressClass,
    Secret,
    Service,
    Slice,
    read_class,
    read_ingress,
    read_secret,
    read_service,
    read_slice,
)
from clusterip.ingress.plan import Backend, Picture, Plan, Saying, Served, is_ours

logger = logging.getLogger(__name__)

TOGETHER_SECONDS = 0.05
TLS_SECRETS = "type=kubernetes.io/tls"


@dataclass(frozen=True, slots=True)
class Published:
    """Where Ingresses can be reached: a Service's addresses, or these."""

    service: Key | None = None
    addresses: tuple[str, ...] = ()


class IngressController:
    """All Ingresses of some classes."""

    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        carrier: Carrier,
        served: Served,
        published: Published,
        namespace: str | None = None,
    ) -> None:
        self._client, self._recorder, self._carrier = client, recorder, carrier
        self._served, self._published = served, published
        self._ingresses: Informer[Ingress] = Informer(client, INGRESSES, read_ingress, namespace=namespace)
        self._classes: Informer[IngressClass] = Informer(client, INGRESS_CLASSES, read_class)
        self._services: Informer[Service] = Informer(client, SERVICES, read_service, namespace=namespace)
        self._slices: Informer[Slice] = Informer(client, ENDPOINT_SLICES, read_slice, namespace=namespace)
        self._secrets: Informer[Secret] = Informer(
            client, SECRETS, read_secret, namespace=namespace, fields=TLS_SECRETS
        )
        self._slices.index("service", lambda each: [(each.namespace, each.service)])
        self._statuses: WorkQueue[Key] = WorkQueue()
        self._plan = Plan()
        self._said: frozenset[tuple[Saying, str]] = frozenset()
        self._dirty, self._replan = asyncio.Event(), True
        self.carried = asyncio.Event()  # HAProxy runs a plan

    async def run(self) -> None:
        followed: tuple[Informer[Any], ...] = (
            self._ingresses,
            self._classes,
            self._services,
            self._slices,
            self._secrets,
        )
        async with asyncio.TaskGroup() as group:
            for informer in followed:
                group.create_task(informer.run(), name=f"informer {informer.ref.plural}")
            for informer in followed:
                await informer.synced()
            for informer, replan in zip(followed, (True, True, False, False, True), strict=True):
                informer.subscribe(self._on_change(replan))
            self._ingresses.subscribe(lambda key, old, new: self._statuses.add(key))
            self._services.subscribe(self._on_service)
            self._classes.subscribe(lambda key, old, new: self._look_at_all())
            group.create_task(self._statuses.run(self._show, 4), name="statuses")
            group.create_task(self._work(), name="plans")

    # -- news ---------------------------------------------------------------------------------------------------------

    def _on_change(self, replan: bool) -> Callable[[Key, Any, Any], None]:
        def changed(_: Key, old: object, new: object) -> None:
            if old != new:
                self._replan = self._replan or replan
                self._dirty.set()

        return changed

    def _on_service(self, key: Key, old: Service | None, new: Service | None) -> None:
        if key == self._published.service and (old and old.published) != (new and new.published):
            self._look_at_all()

    def _look_at_all(self) -> None:
        for key in self._ingresses.items():
            self._statuses.add(key)

    def restarted(self) -> None:
        """HAProxy was started anew."""
        self._carrier.forget()
        self._dirty.set()

    # -- work ---------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        self._dirty.set()
        backoff = Backoff(first=0.05, longest=5.0)
        while True:
            await self._dirty.wait()
            if self._replan and self.carried.is_set():
                await asyncio.sleep(TOGETHER_SECONDS)
            self._dirty.clear()
            try:
                await self._step()
                backoff.reset()
            except (OSError, TimeoutError) as error:
                logger.error("HAProxy does not take the plan, trying on", extra={"kv": {"err": error}})
                self._replan = True
                await asyncio.sleep(backoff.delay())
                self._dirty.set()

    async def _step(self) -> None:
        if self._replan:
            self._replan = False
            self._plan = await self._carrier.admit(self._picture(), self._served)
        await self._carrier.carry(self._plan, self._endpoints())
        self.carried.set()
        self._say()

    def _picture(self) -> Picture:
        classes = {each.name: each for each in self._classes.items().values()}
        return Picture(dict(self._ingresses.items()), classes, dict(self._secrets.items()))

    def _endpoints(self) -> dict[Backend, tuple[Address, ...]]:
        found = {}
        for backend in self._plan.backends():
            service = self._services.get(backend.namespace, backend.target.service)
            slices = self._slices.by_index("service", (backend.namespace, backend.target.service))
            upstream = backend.settings.service_upstream
            found[backend] = endpoints.endpoints(backend.target, service, slices, upstream)
        return found

    # -- words --------------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        """What is wrong now and was not before."""
        sayings = [*self._plan.sayings]
        for backend in self._plan.backends():
            service = self._services.get(backend.namespace, backend.target.service)
            if why := endpoints.fault(backend.target, service):
                sayings.append(Saying(backend.ingress, "BadBackend", f"{why}; its requests are answered with 503"))
        marked = frozenset((saying, self._uid(saying.ingress)) for saying in sayings)
        for saying, uid in sorted(marked - self._said):
            about = Involved(
                kind="Ingress",
                name=saying.ingress[1],
                namespace=saying.ingress[0],
                uid=uid,
                api_version=INGRESSES.api_version,
            )
            # replicas say the same words: it is one event
            key = hashlib.sha256(f"{saying}{uid}".encode()).hexdigest()[:16]
            self._recorder.event(about, WARNING, saying.reason, saying.message, key=key)
        self._said = marked

    def _uid(self, key: Key) -> str:
        ingress = self._ingresses.get(*key)
        return ingress.uid if ingress else ""

    # -- status -------------------------------------------------------------------------------------------------------

    async def _show(self, key: Key) -> None:
        ingress = self._ingresses.get(*key)
        classes = {each.name: each for each in self._classes.items().values()}
        if ingress is None or not is_ours(ingress, classes, self._served):
            return
        tree = shown(ingress.tree, self._addresses())
        if tree is None:
            return
        try:
            await self._client.update(INGRESSES, tree, "status")
        except ApiError as error:
            if error.code not in (404, 409):  # gone; or changed, and then it comes again
                raise
        except Unreachable:
            self._statuses.add_after(key, 1.0)

    def _addresses(self) -> list[dict[str, str]]:
        if self._published.service is None:
            return [_address(text) for text in self._published.addresses]
        service = self._services.get(*self._published.service)
        if service is None:
            return []
        if service.published:
            return [{kind: value} for kind, value in service.published]
        given = service.type != "LoadBalancer" and service.cluster_ip not in ("", "None")
        return [{"ip": service.cluster_ip}] if given else []


def _address(text: str) -> dict[str, str]:
    return {"ip" if text.replace(".", "").isdigit() or ":" in text else "hostname": text}


def shown(tree: Tree, addresses: list[dict[str, str]]) -> Tree | None:
    """The Ingress with these addresses; None when it shows them already."""
    before = balancers_of(tree)
    if before == addresses:
        return None
    balancer = {"ingress": addresses} if addresses else {}
    head = {"apiVersion": INGRESSES.api_version, "kind": INGRESSES.kind}
    return {**tree, **head, "status": {"loadBalancer": balancer}}
