"""The true API server and all controllers in one loop, with nodes that pretend: their pods run at once.

async with cluster() as c:
    await c.apply(tree)
    await c.until(lambda: len(c.pods()) == 3)
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from apiserver.serving import Api, serving
from clusterip.api.errors import ApiError
from clusterip.apiserver.core import Settings
from clusterip.client.informer import Informer
from clusterip.client.names import (
    CLUSTER_ROLES,
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
    ResourceRef,
)
from clusterip.client.rest import Client
from clusterip.clock import Clock, SystemClock, rfc3339
from clusterip.controllers.run import CONTROLLERS, SCHEDULER, serve

Tree = dict[str, Any]
REFS = {
    ref.kind: ref
    for ref in (
        PODS, SERVICES, ENDPOINTS, ENDPOINT_SLICES, NODES, NAMESPACES, DEPLOYMENTS, REPLICA_SETS, DAEMON_SETS, JOBS,
        EVENTS, LEASES, SERVICE_ACCOUNTS, CLUSTER_ROLES, STATEFUL_SETS, CONTROLLER_REVISIONS, CRON_JOBS,
        PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES, POD_DISRUPTION_BUDGETS, RESOURCE_QUOTAS,
        REPLICATION_CONTROLLERS, VOLUME_ATTRIBUTES_CLASSES,
    )
}  # fmt: skip


@dataclass
class Cluster:
    api: Api
    client: Client
    seen: dict[ResourceRef, Informer[Tree]] = field(default_factory=dict)
    ready: bool = True  # whether the nodes' pods become ready by themselves
    addresses: Any = field(default_factory=lambda: itertools.count(2))
    clock: Clock = field(default_factory=SystemClock)

    async def create(self, tree: Tree) -> Tree:
        ref = REFS[tree["kind"]]
        if ref.namespaced:
            tree["metadata"].setdefault("namespace", "default")
        return await self.client.create(ref, tree)

    async def patch(
        self, ref: ResourceRef, name: str, patch: Tree, namespace: str | None = "default", **more: Any
    ) -> Tree:
        return await self.client.patch(ref, name, namespace if ref.namespaced else None, patch, **more)

    async def namespace(self, name: str) -> None:
        """A namespace in which pods can be made."""
        await self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await self.until(lambda: self.one(SERVICE_ACCOUNTS, "default", name))

    async def node(self, name: str, **labels: str) -> None:
        """A machine with 4 processors."""
        await self.create(node(name, **labels))

    def all(self, ref: ResourceRef, namespace: str = "default") -> list[Tree]:
        """What the API holds of a resource, by name, as a watcher sees it."""
        found = [tree for key, tree in self.seen[ref].items().items() if not ref.namespaced or key[0] == namespace]
        return sorted(found, key=lambda tree: tree["metadata"]["name"])

    def one(self, ref: ResourceRef, name: str, namespace: str = "default") -> Tree | None:
        return self.seen[ref].get(namespace if ref.namespaced else "", name)

    def pods(self, namespace: str = "default") -> list[Tree]:
        return self.all(PODS, namespace)

    def said(self, reason: str) -> list[str]:
        """The messages of the events with that reason."""
        return [tree["message"] for tree in self.all(EVENTS) if tree["reason"] == reason]

    async def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> None:
        """Wait for the world to agree."""
        waits = [asyncio.ensure_future(informer.until(condition, seconds)) for informer in self.seen.values()]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            assert any(task.result() for task in done), self.describe()
        finally:
            for task in waits:
                task.cancel()

    def describe(self) -> str:
        lines = []
        for ref, informer in self.seen.items():
            for (namespace, name), tree in informer.items().items():
                what = tree.get("message") if ref is EVENTS else tree.get("status")
                lines.append(f"{ref.plural} {namespace}/{name}: {what}")
        return "the world never agreed:\n" + "\n".join(lines)

    async def kubelet(self, tree: Tree | None) -> None:
        """What a node would do with its pod."""
        if tree is None or not tree["spec"].get("nodeName"):
            return
        meta, status = tree["metadata"], tree.get("status", {})
        try:
            if meta.get("deletionTimestamp"):
                await self.client.delete(PODS, meta["name"], meta["namespace"], grace_seconds=0, uid=meta["uid"])
            elif self.ready and status.get("phase", "Pending") == "Pending":
                await self.run(tree)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def run(self, pod: Tree, ready: bool = True, phase: str = "Running") -> None:
        ip = f"10.244.1.{next(self.addresses)}"
        now = rfc3339(self.clock.now())
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}
        status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition], "startTime": now}
        await self.patch(
            PODS, pod["metadata"]["name"], {"status": status}, pod["metadata"]["namespace"], subresource="status"
        )


@asynccontextmanager
async def cluster(
    *names: str, nodes: int = 2, without: tuple[str, ...] = (), clock: Clock | None = None, **more: Any
) -> AsyncIterator[Cluster]:
    """A server, its controllers (all, or those named) and some nodes."""
    clock = clock or SystemClock()
    async with (
        serving(clock=clock, settings=Settings(advertise=("192.168.4.100", 6443))) as api,
        api.client() as client,
    ):
        here = Cluster(api, client, clock=clock)
        for ref in REFS.values():
            here.seen[ref] = Informer(client, ref, lambda tree: tree)
        wanted = [name for name in names or (*CONTROLLERS, SCHEDULER) if name not in without]
        async with asyncio.TaskGroup() as group:
            nodework: set[asyncio.Task[None]] = set()

            def pod_changed(key: object, old: Tree | None, new: Tree | None) -> None:
                task = group.create_task(here.kubelet(new))
                nodework.add(task)
                task.add_done_callback(nodework.discard)

            here.seen[PODS].subscribe(pod_changed)
            tasks = [group.create_task(informer.run()) for informer in here.seen.values()]
            for informer in here.seen.values():
                await informer.synced()
            manager = api.config("system:kube-controller-manager")
            tasks.append(group.create_task(serve(manager, api.config("system:kube-scheduler"), wanted, clock, **more)))
            for number in range(1, nodes + 1):
                await here.node(f"node-{number}", zone=f"z{number}")
            if "nodelifecycle" in wanted:
                await here.until(lambda: not any(found["spec"].get("taints") for found in here.all(NODES)))
            if "serviceaccount" in wanted:
                await here.until(lambda: here.one(SERVICE_ACCOUNTS, "default"))
            try:
                yield here
            finally:
                for task in (*tasks, *nodework):
                    task.cancel()


# -- objects ---------------------------------------------------------------------------------------------------------


def node(name: str, zone: str = "", cpu: str = "4", **labels: str) -> Tree:
    labels |= {"kubernetes.io/hostname": name} | ({"topology.kubernetes.io/zone": zone} if zone else {})
    room = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    status = {
        "capacity": room,
        "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(SystemClock().now())}],
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def template(app: str, image: str = "nginx", **spec: Any) -> Tree:
    container = {"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 80}]}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def pod(name: str, **spec: Any) -> Tree:
    labels = spec.pop("labels", {"app": "web"})
    made = template("web", **spec)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": made["spec"]}


def workload(kind: str, name: str, **spec: Any) -> Tree:
    selector = {"matchLabels": {"app": name}}
    pod_spec = spec.pop("pod", {})
    spec = {"selector": selector, "template": template(name, **pod_spec), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(name: str, **spec: Any) -> Tree:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
