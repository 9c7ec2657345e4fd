"""The doctor on a thousand Services: the command as a person runs it, against an API server of its own.

Rules: every Service has a pod and a slice, one in a hundred has a slip in its selector; the command alone is timed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

from bench.figure import Figure
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICE_ACCOUNTS, SERVICES
from clusterip.client.rest import Client
from clusterip.testing import ApiServer

SERVICES_COUNT, WRONG, ROUNDS, AT_ONCE = 1000, 100, 5, 50
SPACE = "shop"


async def doctor() -> list[Figure]:
    """The best of some runs, and whether all that is wrong was named."""
    async with ApiServer() as api:
        await _fill(api)
        took, told = await asyncio.to_thread(_run, api)
    wrong = [each for each in told["findings"] if each["kind"] == "selector-matches-nothing"]
    if len(wrong) != SERVICES_COUNT // WRONG:
        raise RuntimeError(f"{len(wrong)} slips were found, there are {SERVICES_COUNT // WRONG}")
    return [Figure("doctor: 1,000 Services, the whole command", took, "s", 2.0)]


def _run(api: ApiServer) -> tuple[float, dict[str, Any]]:
    command = [sys.executable, "-m", "clusterip.main", "doctor", "--kubeconfig", str(api.kubeconfig), "-o", "json"]
    best, told = float("inf"), {}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=False)
        best = min(best, time.perf_counter() - began)
        told = json.loads(done.stdout)
    return best, told


async def _fill(api: ApiServer) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    async with Client(from_kubeconfig(api.kubeconfig)) as client:
        await client.create(NAMESPACES, {"metadata": {"name": SPACE}})
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": SPACE}})
        async with asyncio.TaskGroup() as group:
            for number in range(SERVICES_COUNT):
                group.create_task(_one(client, turns, number))


async def _one(client: Client, turns: asyncio.Semaphore, number: int) -> None:
    """A Service, its pod, its slice."""
    name, address = f"app-{number}", f"10.244.{1 + number // 250}.{1 + number % 250}"
    wanted = f"{name}x" if number % WRONG == 0 else name
    async with turns:
        head = {"name": name, "namespace": SPACE}
        await client.create(
            SERVICES,
            {"metadata": head, "spec": {"selector": {"app": wanted}, "ports": [{"port": 80, "targetPort": 8080}]}},
        )
        container = {"name": "main", "image": "nginx", "ports": [{"containerPort": 8080}]}
        pod = {"metadata": head | {"labels": {"app": name}}, "spec": {"containers": [container]}}
        await client.create(PODS, pod)
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        await client.patch(PODS, name, SPACE, {"status": status}, subresource="status")
        reference = {"kind": "Pod", "name": name, "namespace": SPACE}
        await client.create(
            ENDPOINT_SLICES,
            {
                "metadata": head | {"labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "targetRef": reference}],
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            },
        )
