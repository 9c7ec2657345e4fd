"""ServiceL2Status and ServiceBGPStatus: which node makes a Service known, and to whom, for everybody to see.

Stage: commit.  In: Services announced here, the objects that are there.  Out: one object a Service, written behind.
Rules: a node writes its own, and removes it when it announces nothing.  On layer 2 only one node answers: it removes
the others' too.
Truth: MetalLB 0.16, metallb.io/v1beta1: labels, prefixes of names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, labels_of, name_of
from clusterip.api.metallb import NODE_LABEL, SERVICE_LABEL, SERVICE_NAMESPACE_LABEL
from clusterip.client.informer import Informer
from clusterip.client.names import SERVICE_BGP_STATUSES, SERVICE_L2_STATUSES, ResourceRef
from clusterip.client.rest import Client
from clusterip.client.workqueue import WorkQueue
from clusterip.speaker.model import Key

# what is said of a Service beside the node: None when it is not announced here
Said = Callable[[Key], Tree | None]


@dataclass(frozen=True, slots=True)
class Sort:
    """A protocol's statuses."""

    ref: ResourceRef
    prefix: str
    is_sole: bool  # one node at a time


LAYER2 = Sort(SERVICE_L2_STATUSES, "l2-", True)
BGP = Sort(SERVICE_BGP_STATUSES, "bgp-", False)


def by_interfaces(names: frozenset[str] | None) -> Tree | None:
    """Layer 2: the interfaces; none of them for all."""
    if names is None:
        return None
    return {"interfaces": [{"name": name} for name in sorted(names)]} if names else {}


def by_peers(names: frozenset[str] | None) -> Tree | None:
    """BGP: the routers."""
    return {"peers": sorted(names)} if names else None


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do about one Service's statuses."""

    delete: tuple[str, ...] = ()
    create: Tree | None = None
    patch: tuple[str, Tree] | None = None  # name, status


def steps(
    sort: Sort, node: str, key: Key, said: Tree | None, present: Iterable[Tree], namespace: str, owner: Tree | None
) -> Steps:
    """Bring the statuses of one Service in line with what this node announces (None: nothing)."""
    known = list(present)
    mine = [tree for tree in known if labels_of(tree).get(NODE_LABEL) == node]
    if said is None:
        return Steps(tuple(map(name_of, mine)))
    gone = tuple(name_of(tree) for tree in (known if sort.is_sole else mine) if tree not in mine[:1])
    status = {"node": node, "serviceName": key[1], "serviceNamespace": key[0]} | said
    if not mine:
        return Steps(gone, create=_tree(sort, node, key, namespace, owner) | {"status": status})
    if mine[0].get("status") != status:
        return Steps(gone, patch=(name_of(mine[0]), status))
    return Steps(gone)


def _tree(sort: Sort, node: str, key: Key, namespace: str, owner: Tree | None) -> Tree:
    labels = {NODE_LABEL: node, SERVICE_LABEL: key[1], SERVICE_NAMESPACE_LABEL: key[0]}
    meta: Tree = {"generateName": sort.prefix, "namespace": namespace, "labels": labels}
    if owner is not None:
        meta["ownerReferences"] = [owner]
    return {"apiVersion": sort.ref.api_version, "kind": sort.ref.kind, "metadata": meta, "spec": {}}


def service_of(tree: Tree) -> Key:
    labels = labels_of(tree)
    return labels.get(SERVICE_NAMESPACE_LABEL, ""), labels.get(SERVICE_LABEL, "")


class StatusWriter:
    """Keeps this node's statuses."""

    def __init__(self, client: Client, sort: Sort, namespace: str, node: str, said: Said) -> None:
        self._client, self._sort, self._namespace, self._node, self._said = client, sort, namespace, node, said
        self.owner: Tree | None = None
        self._queue: WorkQueue[Key] = WorkQueue(first=0.05)
        self._informer: Informer[Tree] = Informer(client, sort.ref, dict, namespace=namespace)
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
        todo = steps(self._sort, self._node, key, self._said(key), present, self._namespace, self.owner)
        for name in todo.delete:
            await self._delete(name)
        if todo.create is not None:
            await self._create(todo.create)
        if todo.patch is not None:
            await self._patch(*todo.patch)

    async def _delete(self, name: str) -> None:
        try:
            await self._client.delete(self._sort.ref, name, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _create(self, tree: Tree) -> None:
        made = await self._client.create(self._sort.ref, {k: v for k, v in tree.items() if k != "status"})
        await self._patch(name_of(made), tree["status"])
        await self._informer.until(lambda: self._informer.get(self._namespace, name_of(made)) is not None, 5.0)

    async def _patch(self, name: str, status: Tree) -> None:
        await self._client.patch(self._sort.ref, name, self._namespace, {"status": status}, subresource="status")
