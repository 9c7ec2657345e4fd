"""Figures of a whole cluster: start, memory, pods, and how soon a ready pod gets packets.

Rules: each bench starts a cluster of its own and removes it; loads are bounded in count and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from bench.figure import Figure, percentile
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import PODS, SERVICES
from clusterip.client.rest import Client
from clusterip.cluster.folder import Folder
from clusterip.kernel.cgroup import Cgroups

NAME = "bench"
NODES = ("node-1", "node-2", "node-3")
PODS_STARTED = 20
SERVICES_BESIDE = 100
READY_ROUNDS = 20
PEER_START = "k3d 19.9 s, kind 33.0 s, minikube 50.8 s (published)"


def clusterip(*words: str, home: str) -> str:
    """Run the command line; its stdout."""
    command = [sys.executable, "-m", "clusterip.main", *words]
    environment = {**os.environ, "CLUSTERIP_HOME": home}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=120, text=True).stdout


@contextlib.contextmanager
def state() -> Iterator[str]:
    """A state folder of its own; the cluster in it is removed."""
    with tempfile.TemporaryDirectory(prefix="clusterip-bench-") as home:
        try:
            yield home
        finally:
            clusterip("down", "--name", NAME, home=home)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[Client, str]]:
    """A started cluster and its administrator."""
    with state() as home:
        clusterip("up", "--name", NAME, home=home)
        async with Client(from_kubeconfig(Path(home) / NAME / "kubeconfig")) as client:
            yield client, home


def pod(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox", "command": command, **more.pop("container", {})}
    metadata = {"name": name, "namespace": "default", **more.pop("metadata", {})}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def until(client: Client, name: str, seen: Any, seconds: float = 30.0) -> float:
    """Follow a pod until it is as wanted; the moment at which that was told."""
    listed = await client.list(PODS, "default", fields=f"metadata.name={name}")
    if any(seen(item) for item in listed["items"]):
        return time.perf_counter()
    async with asyncio.timeout(seconds):
        revision = listed["metadata"]["resourceVersion"]
        events = client.watch(PODS, "default", resource_version=revision, fields=f"metadata.name={name}")
        async for _, item in events:
            if seen(item):
                return time.perf_counter()
    raise TimeoutError(f"pod {name}")


def has_phase(phase: str) -> Any:
    return lambda item: item.get("status", {}).get("phase") == phase


def is_ready(item: dict[str, Any]) -> bool:
    conditions = item.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def start() -> list[Figure]:
    """From the command until a pod has got an answer of DNS: with nothing there, and with the state of a former run."""
    with state() as home:
        first = await start_once(home)
        clusterip("down", "--keep", "--name", NAME, home=home)
        second = await start_once(home)
    return [
        Figure("up, first start, until DNS answers a pod", first, "s", 4.0, PEER_START),
        Figure("up, second start, until DNS answers a pod", second, "s", 2.0, PEER_START),
    ]


async def start_once(home: str) -> float:
    started = time.perf_counter()
    await asyncio.to_thread(clusterip, "up", "--name", NAME, home=home)
    async with Client(from_kubeconfig(Path(home) / NAME / "kubeconfig")) as client:
        asks = pod(
            f"asks-{time.time_ns()}", ["nslookup", "kubernetes.default.svc.cluster.local"], restartPolicy="Never"
        )
        await client.create(PODS, asks)
        return await until(client, asks["metadata"]["name"], has_phase("Succeeded")) - started


async def memory() -> list[Figure]:
    """PSS of every process of the cluster, ten seconds after start."""
    async with running() as (_, home):
        await asyncio.sleep(10)
        total = sum(map(pss, members(home)))
    return [
        Figure("idle cluster of 3 nodes, PSS of all processes", total / 2**20, "MB", 250, "k8s + etcd alone 376 MB")
    ]


def members(home: str) -> set[int]:
    """Every process in a control group of the cluster."""
    groups = Cgroups().folders(Folder(NAME, Path(home) / NAME).cgroup)
    files = (path for group in groups for path in group.rglob("cgroup.procs"))
    return {int(pid) for path in files for pid in path.read_text().split()}


def pss(pid: int) -> int:
    """Bytes; nothing for a process that has gone, or a thread of the kernel."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


async def pods() -> list[Figure]:
    """One pod after the other, from the request until the watch says Running."""
    times = []
    async with running() as (client, _):
        for number in range(PODS_STARTED):
            wanted = pod(f"p{number}", ["sleep", "600"])
            began = time.perf_counter()
            await client.create(PODS, wanted)
            times.append(await until(client, f"p{number}", has_phase("Running")) - began)
    median = statistics.median(times) * 1000
    return [Figure(f"pod create to Running, median of {PODS_STARTED}", median, "ms", 200)]


async def ready() -> list[Figure]:
    """From the pod's Ready on the watch until every node's connection to the Service is accepted."""
    times = []
    async with running() as (client, home):
        for number in range(SERVICES_BESIDE):
            await client.create(SERVICES, service(f"beside-{number}", {"app": f"none-{number}"}))
        for number in range(READY_ROUNDS):
            made = await client.create(SERVICES, service(f"web-{number}", {"app": f"web-{number}"}))
            times.append(await ready_once(client, home, number, made["spec"]["clusterIP"]))
    worst = percentile(times, 0.99) * 1000
    return [
        Figure(f"Ready to packet on every node, {SERVICES_BESIDE} Services, p99 of {READY_ROUNDS}", worst, "ms", 100)
    ]


def service(name: str, selector: dict[str, str]) -> dict[str, Any]:
    spec = {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


TRY = """\
import socket, sys, time
print("trying", flush=True)
end = time.monotonic() + 30
while time.monotonic() < end:
    try:
        socket.create_connection((sys.argv[1], 80), 0.2).close()
        print(time.perf_counter())
        break
    except OSError:
        time.sleep(0.005)
"""


async def ready_once(client: Client, home: str, number: int, address: str) -> float:
    """Connections are tried every five milliseconds on each node from before the pod is there."""
    probe = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    labels = {"labels": {"app": f"web-{number}"}}
    web = pod(f"web-{number}", ["httpd", "-f", "-p", "8080"], container=probe, metadata=labels)
    tries = [await trying(home, node, address) for node in NODES]
    await client.create(PODS, web)
    at = await until(client, f"web-{number}", is_ready)
    accepted = [float((await one.communicate())[0]) for one in tries]
    return max(0.0, max(accepted) - at)


async def trying(home: str, node: str, address: str) -> asyncio.subprocess.Process:
    """A process on a node that tries already."""
    words = ["shell", "--name", NAME, node, "--", "/usr/bin/python3.11", "-c", TRY, address]
    environment = {**os.environ, "CLUSTERIP_HOME": home}
    command = [sys.executable, "-m", "clusterip.main", *words]
    started = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert started.stdout is not None
    await asyncio.wait_for(started.stdout.readline(), 30)
    return started
