"""ServiceL2Status: which node answers for a Service, for everybody to see.

Stage: commit.  In: Services announced here, the objects that are there.  Out: one object a Service, written behind.
Rules: the node that announces writes its own and removes others'; one that does not removes its own.
Truth: MetalLB 0.16, metallb.io/v1beta1 ServiceL2Status: its labels, its name's prefix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, labels_of, name_of
from clusterip.api.metallb import NODE_LABEL, SERVICE_LABEL, SERVICE_NAMESPACE_LABEL
from clusterip.client.informer import Informer
from clusterip.client.names import SERVICE_L2_STATUSES
from clusterip.client.rest import Client
from clusterip.client.workqueue import WorkQueue
from clusterip.speaker.model import Key

PREFIX = "l2-"
# what a speaker announces: None when it does not, else the interfaces, or nothing for all
Interfaces = Callable[[Key], "frozenset[str] | None"]


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do about one Service's statuses."""

    delete: tuple[str, ...] = ()
    create: Tree | None = None
    patch: tuple[str, Tree] | None = None  # name, status


def steps(
    node: str, key: Key, interfaces: frozenset[str] | None, present: Iterable[Tree], namespace: str, owner: Tree | None
) -> Steps:
    """Bring the statuses of one Service in line with what this node announces (None: nothing)."""
    known = list(present)
    mine = [tree for tree in known if labels_of(tree).get(NODE_LABEL) == node]
    if interfaces is None:
        return Steps(tuple(map(name_of, mine)))
    gone = tuple(name_of(tree) for tree in known if tree not in mine[:1])
    status = _status(node, key, interfaces)
    if not mine:
        return Steps(gone, create=_tree(node, key, namespace, owner) | {"status": status})
    if mine[0].get("status") != status:
        return Steps(gone, patch=(name_of(mine[0]), status))
    return Steps(gone)


def _status(node: str, key: Key, interfaces: frozenset[str]) -> Tree:
    status: Tree = {"node": node, "serviceName": key[1], "serviceNamespace": key[0]}
    return status | ({"interfaces": [{"name": name} for name in sorted(interfaces)]} if interfaces else {})


def _tree(node: str, key: Key, namespace: str, owner: Tree | None) -> Tree:
    labels = {NODE_LABEL: node, SERVICE_LABEL: key[1], SERVICE_NAMESPACE_LABEL: key[0]}
    meta: Tree = {"generateName": PREFIX, "namespace": namespace, "labels": labels}
    if owner is not None:
        meta["ownerReferences"] = [owner]
    ref = SERVICE_L2_STATUSES
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta, "spec": {}}


def service_of(tree: Tree) -> Key:
    labels = labels_of(tree)
    return labels.get(SERVICE_NAMESPACE_LABEL, ""), labels.get(SERVICE_LABEL, "")


class StatusWriter:
    """Keeps this node's statuses."""

    def __init__(self, client: Client, namespace: str, node: str, interfaces: Interfaces) -> None:
        self._client, self._namespace, self._node, self._interfaces = client, namespace, node, interfaces
        self.owner: Tree | None = None
        self._queue: WorkQueue[Key] = WorkQueue(first=0.05)
        self._informer: Informer[Tree] = Informer(client, SERVICE_L2_STATUSES, dict, namespace=namespace)
        self._informer.index("service", lambda tree: (service_of(tree),))
        self._informer.subscribe(self._on_status)

    def changed(self, key: Key) -> None:
        """What is announced of the Service changed, or may have."""
        self._queue.add(key)

    def _on_status(self, key: Key, old: Tree | None, new: Tree | None) -> None:
        tree = new or old
        if tree is not None and labels_of(tree).get(NODE_LABEL) == self._node:
            self._queue.add(service_of(tree))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name="informer statuses")
            await self._informer.synced()
            group.create_task(self._queue.run(self._settle), name="statuses")

    async def _settle(self, key: Key) -> None:
        present = self._informer.by_index("service", key)
        todo = steps(self._node, key, self._interfaces(key), present, self._namespace, self.owner)
        for name in todo.delete:
            await self._delete(name)
        if todo.create is not None:
            await self._create(todo.create)
        if todo.patch is not None:
            await self._patch(*todo.patch)

    async def _delete(self, name: str) -> None:
        try:
            await self._client.delete(SERVICE_L2_STATUSES, name, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _create(self, tree: Tree) -> None:
        made = await self._client.create(SERVICE_L2_STATUSES, {k: v for k, v in tree.items() if k != "status"})
        await self._patch(name_of(made), tree["status"])
        await self._informer.until(lambda: self._informer.get(self._namespace, name_of(made)) is not None, 5.0)

    async def _patch(self, name: str, status: Tree) -> None:
        await self._client.patch(SERVICE_L2_STATUSES, name, self._namespace, {"status": status}, subresource="status")
