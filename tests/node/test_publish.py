"""A pod's status on its way: what is new is written, what others write over it is said again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from apiserver.serving import serving
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.names import NODES, PODS, SERVICE_ACCOUNTS
from clusterip.client.rest import Client
from clusterip.clock import SystemClock
from clusterip.node.model import Pod, PodSeen, Seen, parse_pod
from clusterip.node.publish import Publisher, delete
from clusterip.node.registration import Machine, Registrar
from clusterip.node.settings import Settings
from clusterip.node.status import Facts, is_said, patch_of, pod_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = {"nodeName": "node-1", "containers": [{"name": "c", "image": "busybox"}]}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": SPEC}
SECONDS = 30.0


def running(pod: Pod, former: Tree) -> Tree:
    """The status of the pod with its container ready."""
    one = Seen(state="running", attempt=0, id="i", started_at=NOW, started=True, ready=True)
    seen = PodSeen(prepared=True, sandbox=True, ip="10.244.1.9", containers={"c": one})
    return pod_status(pod, seen, former, Facts(host_ips=("192.168.4.101",), pod_ips=(), started_at=NOW, now=NOW))


def ready(tree: Tree) -> str:
    return str(next(c["status"] for c in tree["status"]["conditions"] if c["type"] == "Ready"))


async def created(client: Client) -> Pod:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    with contextlib.suppress(ApiError):  # it is there when a second pod is made
        await client.create(SERVICE_ACCOUNTS, account)
    return parse_pod(await client.create(PODS, POD))


async def now(client: Client) -> Pod:
    return parse_pod(await client.get(PODS, "p", "default"))


def test_what_was_written_is_said_and_what_others_changed_is_not() -> None:
    async def body() -> None:
        async with serving() as api, api.client() as client:
            pod = await created(client)
            status = running(pod, {})
            assert not is_said(pod, status)
            await client.patch(PODS, "p", "default", patch_of(pod, status), type="strategic", subresource="status")
            assert is_said(await now(client), status)
            gate = {"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}}
            await client.patch(PODS, "p", "default", gate, type="strategic", subresource="status")
            assert is_said(await now(client), status)  # what others add is theirs
            await client.patch(PODS, "p", "default", NOT_READY, type="strategic", subresource="status")
            assert not is_said(await now(client), status)

    asyncio.run(body())


NOT_READY = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}}


def test_a_pod_that_the_controllers_marked_is_ready_again() -> None:
    async def body() -> None:
        async with serving() as api, api.client() as client, asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            pod = await created(client)
            publisher = Publisher(client, {})
            task = group.create_task(publisher.run())
            publisher.publish(pod, running(pod, publisher.status))
            await publisher.flush()
            written = await now(client)
            publisher.hear(pod)  # a state from before the write says nothing
            assert publisher.status != pod.status
            publisher.hear(written)
            publisher.publish(written, running(written, publisher.status))
            await publisher.flush()
            assert (await now(client)).meta["resourceVersion"] == written.meta["resourceVersion"]
            await client.patch(PODS, "p", "default", NOT_READY, type="strategic", subresource="status")
            marked = await now(client)
            publisher.hear(marked)
            publisher.publish(marked, running(marked, publisher.status))
            await publisher.flush()
            assert ready((await now(client)).tree) == "True"
            task.cancel()

    asyncio.run(body())


def test_the_end_is_of_this_very_pod() -> None:
    async def body() -> None:
        async with serving() as api, api.client() as client, asyncio.timeout(SECONDS):
            pod = await created(client)
            await delete(client, pod)  # with no grace: there is no node to end it
            later = await created(client)
            await delete(client, pod)  # another pod of the same name stays
            assert (await now(client)).uid == later.uid

    asyncio.run(body())


MACHINE: dict[str, Any] = {
    "cpus": 2, "memory_bytes": 1 << 30, "disk_bytes": 1 << 30, "kernel": "6", "os_image": "Debian",
    "machine_id": "m", "boot_id": "b", "architecture": "amd64",
}  # fmt: skip


def test_a_node_that_was_called_unknown_says_that_it_is_ready(tmp_path: Path) -> None:
    unknown = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}

    async def body(client: Client) -> None:
        await told(client, unknown, lambda node: ready(node) == "True")

    asyncio.run(registered(tmp_path, body))


def test_what_others_declare_a_node_to_have_can_be_given_to_pods(tmp_path: Path) -> None:
    """As in https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/."""

    def given(node: Tree) -> Any:
        return node["status"]["allocatable"].get("example.com/dongle")

    async def body(client: Client) -> None:
        for amount in ("4", "2", None):
            declared = {"status": {"capacity": {"example.com/dongle": amount}}}
            await told(client, declared, lambda node, amount=amount: given(node) == amount)

    asyncio.run(registered(tmp_path, body))


async def registered(root: Path, body: Callable[[Client], Awaitable[None]]) -> None:
    """Do it while node-1 tells how it is."""
    settings = Settings(name="node-1", node_ip="192.168.4.101", pod_cidr=IPv4Network("10.244.1.0/24"), root=root)
    async with serving() as api, api.client() as client, asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        registrar = Registrar(client, settings, Machine(**MACHINE), SystemClock())
        task = group.create_task(registrar.run())
        await registrar.registered.wait()
        await body(client)
        task.cancel()


async def told(client: Client, patch: Tree, agrees: Callable[[Tree], bool]) -> None:
    """Somebody writes over the node's status, and the node comes to terms with it."""
    said = await client.patch(NODES, "node-1", None, patch, type="strategic", subresource="status")
    async for _, node in client.watch(NODES, resource_version=said["metadata"]["resourceVersion"]):
        if agrees(node):
            return
