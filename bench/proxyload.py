"""Fills an API with Services and changes endpoints, and says when the kernel has them.

    nsenter --net=... python -m bench.proxyload KUBECONFIG

fill {"services": 10000, "endpoints": 3}       Node, Services, EndpointSlices
change {"count": 200}                          from a request until the table changes
rate {"per_second": 100, "seconds": 10, "pid": 1}  CPU of that process meanwhile
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
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
from clusterip.kernel.netlink import netfilter_socket

AT_ONCE = 32
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES = 270, 1, 7
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
        """From the request on, the API's own work included."""
        heard = asyncio.Event()
        events, at = nft_events(), [0.0]

        def on_kernel() -> None:
            events.recv(1 << 20)
            if not heard.is_set():
                at[0] = time.perf_counter()
                heard.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(events.fileno(), on_kernel)
        took = []
        try:
            for _ in range(count):
                heard.clear()
                began = time.perf_counter()
                async with asyncio.timeout(CHANGE_SECONDS):
                    await self._patch(self._any())
                    await heard.wait()
                took.append(at[0] - began)
                await asyncio.sleep(0.03)  # what is due later is no news
        finally:
            loop.remove_reader(events.fileno())
            events.close()
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


def nft_events() -> socket.socket:
    """Whatever changes in nftables here; nobody but the proxy changes anything."""
    events = netfilter_socket(1 << 24, socket.SOCK_NONBLOCK)
    events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)
    return events


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
