"""Fills an API with Services and changes endpoints, and says when the kernel has what the watch told.

    nsenter --net=... python -m bench.proxyload KUBECONFIG

fill {"services": 10000, "endpoints": 3}       Node, Services, EndpointSlices
change {"count": 200}                          from the event on a watch until the table changes
rate {"per_second": 100, "seconds": 10, "pid": 1}  CPU of that process meanwhile
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from pathlib import Path

import uvloop

from bench import proxyobjects as objects
from bench.figure import percentile
from bench.lines import Answer, serve
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES
from clusterip.client.rest import Client
from clusterip.kernel.nft_monitor import Monitor
from clusterip.proxy.backends.nftables_table import KUBE_PROXY

AT_ONCE = 32
CHANGE_SECONDS = 10.0
NODE_NAME = "node-1"


class Load:
    """A client of the API and a listener to the kernel."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._services = self._endpoints = 0
        self._chance = random.Random(1)
        self._shrunk: set[int] = set()

    async def fill(self, services: int, endpoints: int) -> Answer:
        self._services, self._endpoints = services, endpoints
        began = time.perf_counter()
        await self._client.create(NAMESPACES, {"metadata": {"name": objects.NAMESPACE}})
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME}}
        await self._client.create(NODES, node)
        status = {"status": {"addresses": [{"type": "InternalIP", "address": objects.NODE}]}}
        await self._client.patch(NODES, NODE_NAME, None, status, subresource="status")
        every = iter(list(objects.every(services, endpoints)))

        async def some() -> None:
            for service, part in every:
                await self._client.create(SERVICES, service)
                await self._client.create(ENDPOINT_SLICES, part)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())
        return {"seconds": time.perf_counter() - began}

    async def _patch(self, number: int) -> None:
        addresses = objects.endpoints(number, self._services, self._endpoints)
        self._shrunk ^= {number}
        if number in self._shrunk:
            addresses = addresses[:-1]
        tree = objects.endpoint_slice(number, addresses)
        name = tree["metadata"]["name"]
        await self._client.patch(ENDPOINT_SLICES, name, objects.NAMESPACE, {"endpoints": tree["endpoints"]})

    def _any(self) -> int:
        return self._chance.randrange(1, self._services - 1)

    async def change(self, count: int) -> Answer:
        told, heard, opened = asyncio.Event(), asyncio.Event(), asyncio.Event()
        at = {"told": 0.0, "heard": 0.0}

        def on_kernel() -> None:
            if not heard.is_set():
                at["heard"] = time.perf_counter()
                heard.set()

        async def follow() -> None:
            listed = await self._client.list(ENDPOINT_SLICES, objects.NAMESPACE, limit=1)
            version = listed["metadata"]["resourceVersion"]
            where = {"resource_version": version, "opened": opened.set}
            async for _ in self._client.watch(ENDPOINT_SLICES, objects.NAMESPACE, **where):
                at["told"] = time.perf_counter()
                told.set()

        monitor = Monitor(KUBE_PROXY, frozenset(), on_kernel)
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), monitor.drain)
        following = asyncio.ensure_future(follow())
        took = []
        try:
            await opened.wait()
            for _ in range(count):
                told.clear()
                heard.clear()
                async with asyncio.timeout(CHANGE_SECONDS):
                    await self._patch(self._any())
                    await told.wait()
                    await heard.wait()
                took.append(max(0.0, at["heard"] - at["told"]))
                await asyncio.sleep(0.03)  # what is due later is no news
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        return {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99)}

    async def rate(self, per_second: int, seconds: float, pid: int) -> Answer:
        loop = asyncio.get_running_loop()
        used, began, made = cpu_of(pid), loop.time(), 0
        while loop.time() - began < seconds:
            await self._patch(self._any())
            made += 1
            await asyncio.sleep(max(0.0, began + made / per_second - loop.time()))
        elapsed = loop.time() - began
        return {"cpu": (cpu_of(pid) - used) / elapsed, "per_second": made / elapsed}


def cpu_of(pid: int) -> float:
    """Seconds that a process and its children that ended have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


async def main(kubeconfig: str) -> None:
    async with Client(from_kubeconfig(kubeconfig)) as client:
        load = Load(client)
        await serve({"fill": load.fill, "change": load.change, "rate": load.rate})


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
