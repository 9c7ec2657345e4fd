"""Pods come and go by the dozen: nothing of them stays.  CLUSTERIP_SOAK=1 goes on for longer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.test_whole import Cluster, World, is_any_alive, running, until, world
from clusterip.api.meta import Tree
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import DEPLOYMENTS, PODS
from clusterip.client.rest import Client
from clusterip.cluster.folder import cache
from clusterip.cluster.machines import anchor_name
from clusterip.kernel import netns
from clusterip.kernel.cgroup import Cgroups
from clusterip.kernel.link import Netlink

pytestmark = [
    pytest.mark.root,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (cache() / "images/index.json").exists(), reason="no images: run `clusterip image build`"),
]
NODES = ("node-1", "node-2")
SYSTEM_PODS = 4  # kube-proxy's and the DNS servers', which are on one node where the other came late
PODS_AT_ONCE = 20
ROUNDS = 40 if os.environ.get("CLUSTERIP_SOAK") else 2
SECONDS = 120.0
GROUP_PATIENCE = 64  # descriptors of connections that are kept open for the next request


@dataclass(frozen=True)
class Held:
    """What pods hold of the machine."""

    processes: int
    groups: int
    links: tuple[int, ...]
    routes: tuple[int, ...]
    mounts: tuple[int, ...]
    folders: tuple[int, ...]
    logs: tuple[int, ...]


def held(cluster: Cluster) -> Held:
    anchors = [cluster.living()[anchor_name(name)].pid for name in NODES]
    roots = [Path(f"/proc/{pid}/root") for pid in anchors]
    groups = Cgroups()
    folders = [root / cluster.folder.cgroup.strip("/") for root in groups.layout.roots()]
    return Held(
        processes=len(groups.pids(cluster.folder.cgroup)),
        groups=sum(1 for folder in folders for _ in os.walk(folder)),  # what goes meanwhile is no error
        links=tuple(_count(pid, lambda links: len(links.links())) for pid in anchors),
        routes=tuple(_count(pid, lambda links: len(links.routes())) for pid in anchors),
        mounts=tuple(len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines()) for pid in anchors),
        folders=tuple(len(os.listdir(root / "var/lib/clusterip/pods")) for root in roots),
        logs=tuple(len(os.listdir(root / "var/log/pods")) for root in roots),
    )


def _count(pid: int, look) -> int:  # type: ignore[no-untyped-def]
    fd = netns.open_of_pid(pid)
    try:
        with Netlink(fd) as links:
            return int(look(links))
    finally:
        os.close(fd)


def descriptors(cluster: Cluster) -> dict[str, int]:
    """How many each process of ours has open."""
    return {name: len(os.listdir(f"/proc/{found.pid}/fd")) for name, found in cluster.living().items()}


def deployment(replicas: int) -> Tree:
    container = {"name": "c", "image": "busybox", "command": ["sleep", "1000"]}
    labels = {"app": "churn"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "churn", "namespace": "default"},
        "spec": spec,
    }


async def come_and_go(cluster: Cluster) -> None:
    """All pods run, then all are gone."""
    async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client, asyncio.timeout(SECONDS):
        made = await client.create(DEPLOYMENTS, deployment(PODS_AT_ONCE))
        revision = made["metadata"]["resourceVersion"]
        async for _, tree in client.watch(DEPLOYMENTS, "default", resource_version=revision):
            if (tree.get("status") or {}).get("availableReplicas") == PODS_AT_ONCE:
                break
        pods = await client.list(PODS, "default")
        left = {pod["metadata"]["name"] for pod in pods["items"]}
        await client.delete(DEPLOYMENTS, "churn", "default", propagation="Background")
        async for kind, tree in client.watch(PODS, "default", resource_version=pods["metadata"]["resourceVersion"]):
            if kind == "DELETED":
                left.discard(tree["metadata"]["name"])
            if not left:
                return


@pytest.fixture(scope="module")
def before() -> World:
    return world()


@pytest.fixture(scope="module")
def cluster(before: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(f"churn-{os.getpid()}", tmp_path_factory.mktemp("home"))
    try:
        made.run("up", "--nodes", "2")
        yield made
    finally:
        made.run("down", check=False)


def test_pods_that_come_and_go_leave_nothing(cluster: Cluster, before: World) -> None:
    asyncio.run(come_and_go(cluster))  # the runtime makes the node's group in hierarchies that nobody used before
    assert until(lambda: sum(held(cluster).folders) == SYSTEM_PODS), held(cluster)
    first, opened = held(cluster), descriptors(cluster)
    for _ in range(ROUNDS):
        asyncio.run(come_and_go(cluster))
    assert until(lambda: held(cluster) == first), (first, held(cluster))
    grown = {name: count - opened[name] for name, count in descriptors(cluster).items()}
    assert max(grown.values()) < GROUP_PATIENCE + PODS_AT_ONCE * 2, grown
    assert world() == before


def test_down_leaves_nothing_while_pods_run(cluster: Cluster, before: World) -> None:
    async def body() -> None:
        async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client:
            await client.create(DEPLOYMENTS, deployment(PODS_AT_ONCE))

    asyncio.run(body())
    ours = running(Cgroups().pids(cluster.folder.cgroup))
    assert cluster.run("down").stdout == f"cluster {cluster.name} is down; nothing of it is left\n"
    assert not is_any_alive(ours)
    assert os.listdir(cluster.home) == []
    assert world() == before
