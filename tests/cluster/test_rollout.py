"""A rollout under load with --strict-drain: servers that die at once on SIGTERM, and not one request is lost.

Slow by nature (seconds): a cluster of two nodes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.test_whole import Cluster
from clusterip.api.meta import Tree
from clusterip.api.programmed import SELECTOR, parse_programmed
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import DEPLOYMENTS, EVENTS, LEASES, NODES, PODS, SERVICES
from clusterip.client.rest import Client
from clusterip.cluster.folder import cache
from clusterip.cluster.machines import anchor_name
from clusterip.cluster.topology import LAN
from clusterip.kernel import netns
from clusterip.node.record import PodFolder

pytestmark = [
    pytest.mark.root,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (cache() / "images/index.json").exists(), reason="no images: run `clusterip image build`"),
]
SECONDS = 180.0
REPLICAS = 3
ROLLOUTS = 10 if os.environ.get("CLUSTERIP_SOAK") else 1
PAUSE_SECONDS, HANG_SECONDS = 0.002, 3.0
ANSWER_SECONDS = 30.0
NODE_PORT = 30080
# no preStop, no patience: SIGTERM ends the server and what it was doing
SERVER = (
    "mkdir -p /tmp/www && hostname > /tmp/www/index.html && httpd -f -p 8080 -h /tmp/www & "
    "trap 'kill -9 $!; exit 0' TERM; wait"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(f"rollout-{os.getpid()}", tmp_path_factory.mktemp("home"))
    try:
        made.run("up", "--nodes", "2", "--strict-drain")
        yield made
    finally:
        made.run("down", check=False)


def deployment() -> Tree:
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30}
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", SERVER], "readinessProbe": probe}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": "web", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def service() -> Tree:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT}]
    spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": ports}
    meta = {"name": "web", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def asker() -> Tree:
    spec = {"nodeName": "node-1", "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "1000"]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asker", "namespace": "default"}, "spec": spec}


@dataclass
class Load:
    """New connections from one place to one address, one after the other, until it ends."""

    namespace: int
    address: tuple[str, int]
    ended: threading.Event = field(default_factory=threading.Event)
    seen: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        netns.enter(self.namespace)
        while not self.ended.wait(PAUSE_SECONDS):
            try:
                self.seen[self.ask()] += 1
            except OSError as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def ask(self) -> str:
        with socket.create_connection(self.address, timeout=ANSWER_SECONDS) as asking:
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: asking.recv(4096), b""))
        if b" 200 OK" not in answer[:16] or not answer.endswith(b"\n"):
            raise OSError(f"cut off: {answer!r}")
        return answer.split()[-1].decode()


async def until_complete(client: Client, generation: int) -> None:
    """The Deployment has only new pods, and the old ones are gone."""
    while True:
        tree = await client.get(DEPLOYMENTS, "web", "default")
        status = tree.get("status") or {}
        pods = (await client.list(PODS, "default", labels="app=web"))["items"]
        numbers = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        if status.get("observedGeneration", 0) >= generation and numbers == [REPLICAS] * 3 and len(pods) == REPLICAS:
            return
        await asyncio.sleep(0.1)


async def restart(client: Client, number: int) -> None:
    annotations = {"kubectl.kubernetes.io/restartedAt": str(number)}
    patch: Tree = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    tree = await client.patch(DEPLOYMENTS, "web", "default", patch)
    await until_complete(client, tree["metadata"]["generation"])


async def running(client: Client, name: str) -> Tree:
    while True:
        tree = await client.get(PODS, name, "default")
        if (tree.get("status") or {}).get("phase") == "Running":
            return tree
        await asyncio.sleep(0.05)


def namespace_of(cluster: Cluster, node: str, uid: str) -> int:
    root = Path(f"/proc/{cluster.living()[anchor_name(node)].pid}/root")
    return netns.open_pinned(PodFolder(root / "var/lib/clusterip", uid, root).namespace("net"))


def proxy_of(cluster: Cluster, node: str) -> int:
    """The process id of a node's proxy."""
    own = os.readlink(f"/proc/{cluster.living()[anchor_name(node)].pid}/ns/net")
    found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if _is_proxy(path, own)]
    assert len(found) == 1, found
    return found[0]


def _is_proxy(comm: Path, namespace: str) -> bool:
    try:
        return comm.read_text().strip() == "kube-proxy" and os.readlink(comm.parent / "ns/net") == namespace
    except OSError:
        return False


def get(namespace: int, address: str, port: int) -> tuple[int, dict[str, object]] | None:
    """Status and body of a page, asked in a namespace; None: nobody listens."""

    def ask() -> bytes:
        with socket.create_connection((address, port), timeout=ANSWER_SECONDS) as asking:
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: asking.recv(4096), b""))

    try:
        head, _, body = netns.inside(namespace, ask).partition(b"\r\n\r\n")
    except ConnectionRefusedError:
        return None
    return int(head.split()[1]), json.loads(body)


async def play(cluster: Cluster) -> list[Load]:
    async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client, asyncio.timeout(SECONDS * ROLLOUTS):
        made = await client.create(SERVICES, service())
        await client.create(DEPLOYMENTS, deployment())
        await client.create(PODS, asker())
        uid = (await running(client, "asker"))["metadata"]["uid"]
        await until_complete(client, 1)
        outside = netns.open_of_pid(cluster.living()[anchor_name(LAN)].pid)
        inside = await asyncio.to_thread(namespace_of, cluster, "node-1", uid)
        nodes = [
            host["address"] for tree in (await client.list(NODES))["items"] for host in tree["status"]["addresses"][:1]
        ]
        loads = [Load(inside, (made["spec"]["clusterIP"], 80)), *(Load(outside, (node, NODE_PORT)) for node in nodes)]
        threads = [threading.Thread(target=load.run) for load in loads]
        for thread in threads:
            thread.start()
        try:
            await until_seen(loads, REPLICAS)
            for number in range(ROLLOUTS):
                await restart(client, number)
            await until_seen(loads, 2 * REPLICAS)
        finally:
            for load, thread in zip(loads, threads, strict=True):
                load.ended.set()
                await asyncio.to_thread(thread.join)
            os.close(inside)
            os.close(outside)
        events = (await client.list(EVENTS, "default"))["items"]
        assert [event["message"] for event in events if event["reason"] == "DrainIncomplete"] == []
        return loads


async def until_seen(loads: list[Load], pods: int) -> None:
    """From every place so many pods have answered."""
    while any(len(load.seen) < pods and not load.failures for load in loads):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def test_every_proxy_says_what_it_has_programmed(cluster: Cluster) -> None:
    async def look() -> None:
        async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client, asyncio.timeout(SECONDS):
            found: dict[str, int] = {}
            while found.keys() != {"node-1", "node-2"} or min(found.values()) <= 0:
                await asyncio.sleep(0.1)
                leases = (await client.list(LEASES, "kube-system", labels=SELECTOR))["items"]
                assert all(tree["metadata"]["ownerReferences"][0]["kind"] == "Node" for tree in leases)
                found = {each.name: each.passed for each in map(parse_programmed, leases)}

    asyncio.run(look())


def test_a_rollout_loses_no_request(cluster: Cluster) -> None:
    loads = asyncio.run(play(cluster))
    for load in loads:
        print(load.address, load.seen.total(), "requests,", len(load.failures), "lost", sorted(load.seen))
        assert load.failures == []
        assert len(load.seen) >= 2 * REPLICAS, "old and new pods answered"


def test_a_proxy_that_hangs_is_waited_for(cluster: Cluster) -> None:
    """The proxy of the other node stops for a while: until it has heard, the pod that leaves goes on serving."""

    async def body() -> None:
        async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client, asyncio.timeout(SECONDS):
            pod = (await client.list(PODS, "default", labels="app=web"))["items"][0]["metadata"]["name"]
            outside = netns.open_of_pid(cluster.living()[anchor_name(LAN)].pid)
            address = await address_of(client, "node-2")
            load = Load(outside, (address, NODE_PORT))
            thread = threading.Thread(target=load.run)
            thread.start()
            proxy = proxy_of(cluster, "node-2")
            os.kill(proxy, signal.SIGSTOP)
            try:
                await client.delete(PODS, pod, "default")
                await asyncio.sleep(HANG_SECONDS)
                tree = await client.get(PODS, pod, "default")
                assert tree["status"]["containerStatuses"][0]["state"].keys() == {"running"}
            finally:
                os.kill(proxy, signal.SIGCONT)
            while pod in {tree["metadata"]["name"] for tree in (await client.list(PODS, "default"))["items"]}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            load.ended.set()
            await asyncio.to_thread(thread.join)
            os.close(outside)
            assert load.failures == []
            assert load.seen.total() > 0

    asyncio.run(body())


def test_health_check_node_ports_say_where_endpoints_are(cluster: Cluster) -> None:
    async def body() -> None:
        async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client, asyncio.timeout(SECONDS):
            outside = netns.open_of_pid(cluster.living()[anchor_name(LAN)].pid)
            spec = {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "selector": {"lives": "here"},
                "ports": [{"port": 80}],
            }
            meta = {"name": "balanced", "namespace": "default"}
            tree = await client.create(
                SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
            )
            port = tree["spec"]["healthCheckNodePort"]
            addresses = {node: await address_of(client, node) for node in ("node-1", "node-2")}
            await client.patch(PODS, "asker", "default", {"metadata": {"labels": {"lives": "here"}}})
            wanted = {"node-1": (200, 1), "node-2": (503, 0)}
            while (seen := await answers(outside, addresses, port)) != wanted:
                print(seen)
                await asyncio.sleep(0.05)
            await client.delete(SERVICES, "balanced", "default")
            while await answers(outside, addresses, port) != {"node-1": None, "node-2": None}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            os.close(outside)

    asyncio.run(body())


async def answers(outside: int, addresses: dict[str, str], port: int) -> dict[str, object]:
    """Status and local endpoints, as each node tells a load balancer."""
    found: dict[str, object] = {}
    for node, address in addresses.items():
        answer = await asyncio.to_thread(get, outside, address, port)
        found[node] = (answer[0], answer[1]["localEndpoints"]) if answer else None
    return found


async def address_of(client: Client, node: str) -> str:
    address: str = (await client.get(NODES, node))["status"]["addresses"][0]["address"]
    return address
