"""A proxy of one mode without its process around it: commands as lines of JSON in, what they took as lines out.

    nsenter --net=... python -m bench.proxychild iptables legacy

start {"services": 1000, "endpoints": 3}   from the API's bytes to the kernel, nothing known before
change {"count": 200}                      one endpoint of one Service after the other
burst {"count": 1000}                      that many endpoints at once
rate {"per_second": 100, "seconds": 5}     CPU seconds a second
minimal {"count": 20}                      one minimal iptables-restore, as the measure of a change

Rules: times are of this process's loop, from the object until the kernel has taken what follows from it.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import sys
import time
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
import uvloop

from bench import proxyobjects as objects
from bench.figure import percentile
from bench.lines import Answer, serve
from clusterip.clock import SystemClock
from clusterip.kernel.iptables import KernelIptables
from clusterip.proxy.backends import BackendSettings
from clusterip.proxy.config import default
from clusterip.proxy.model import Family, Node, PodTraffic
from clusterip.proxy.modes import MODES
from clusterip.proxy.objects import EndpointSlice, Service
from clusterip.proxy.plan import Planner
from clusterip.proxy.process import GC_THRESHOLD
from clusterip.proxy.runner import Runner
from clusterip.proxy.snapshot import Collector

MASQUERADE_BIT = 14
LEAST_CHANGES = 3
HINT = "KUBE-IPTABLES-HINT"  # tells the proxy which variant the host uses
_service, _slice = msgspec.json.Decoder(Service), msgspec.json.Decoder(EndpointSlice)


class Measured:
    """Collector, planner and runner as in the process."""

    def __init__(self, mode: str, variant: str) -> None:
        self.variant = variant
        self.backend = MODES[mode].make(BackendSettings(Family.IPV4, default(), MASQUERADE_BIT))
        address = IPv4Address(objects.NODE)
        self.node = Node(
            "node-1",
            (address,),
            pod_traffic=PodTraffic(IPv4Network(objects.PODS)),
            node_port_addresses=frozenset({address}),
            service_networks=(IPv4Network(objects.SERVICES),),
            traits=self.backend.traits,
        )
        self.collector, self.planner = Collector(self.node), Planner()
        self.runner: Runner[Any, Any] = Runner(
            self.backend, lambda: self.planner.plan(self.collector.snapshot()), SystemClock()
        )
        self.services = self.endpoints = 0
        self._chance = random.Random(1)
        self._shrunk: set[int] = set()

    async def start(self, services: int, endpoints: int) -> Answer:
        self.services, self.endpoints = services, endpoints
        encode = msgspec.json.encode
        raw = [(encode(service), encode(part)) for service, part in objects.every(services, endpoints)]
        if self.variant:
            await KernelIptables(4, self.variant).ask("--table", "mangle", "--new-chain", HINT)
        await self.backend.prepare()
        began, worked = time.perf_counter(), time.process_time()
        for service, part in raw:
            self._take(service, part)
        collected = time.perf_counter()
        await self._sync()
        gc.freeze()  # as the process does
        return {
            "seconds": time.perf_counter() - began,
            "collect": collected - began,
            "cpu": time.process_time() - worked,
        }

    def _take(self, service: bytes, part: bytes) -> None:
        made = _service.decode(service)
        self.collector.on_service((made.metadata.namespace, made.metadata.name), None, made)
        self._take_slice(part)

    def _take_slice(self, raw: bytes) -> None:
        made = _slice.decode(raw)
        self.collector.on_slice((made.metadata.namespace, made.metadata.name), None, made)

    async def _sync(self) -> None:
        while (await self.runner.sync()).changes:
            continue

    def _changed(self, number: int) -> bytes:
        """Its slice with one endpoint less, or with all again."""
        addresses = objects.endpoints(number, self.services, self.endpoints)
        self._shrunk ^= {number}
        if number in self._shrunk:
            addresses = addresses[:-1] or [objects.server_addresses(4)[-1]]
        return msgspec.json.encode(objects.endpoint_slice(number, addresses))

    def _any(self) -> int:
        """Not the first and the last: they are asked."""
        return self._chance.randrange(1, self.services - 1)

    async def change(self, count: int, seconds: float = 30) -> Answer:
        """The times of changes, each alone, as many as the seconds allow; what is due later is made in between."""
        took: list[float] = []
        end = time.perf_counter() + seconds
        while len(took) < count and (len(took) < LEAST_CHANGES or time.perf_counter() < end):
            raw = self._changed(self._any())
            began = time.perf_counter()
            self._take_slice(raw)
            await self.runner.sync()
            took.append(time.perf_counter() - began)
            await self._sync()
        return {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99), "count": len(took)}

    async def burst(self, count: int) -> Answer:
        raws = [self._changed(number) for number in self._chance.sample(range(1, self.services - 1), count)]
        began = time.perf_counter()
        for raw in raws:
            self._take_slice(raw)
        await self.runner.sync()
        took = time.perf_counter() - began
        await self._sync()
        return {"seconds": took}

    async def rate(self, per_second: int, seconds: float) -> Answer:
        """CPU of this process and its children under changes that come one by one."""
        loop = asyncio.get_running_loop()
        used, began, made = _cpu(), loop.time(), 0
        while loop.time() - began < seconds:
            self._take_slice(self._changed(self._any()))
            await self.runner.sync()
            made += 1
            await asyncio.sleep(max(0.0, began + made / per_second - loop.time()))
        elapsed = loop.time() - began
        return {"cpu": (_cpu() - used) / elapsed, "per_second": made / elapsed}

    async def minimal(self, count: int) -> Answer:
        """One chain of one rule by iptables-restore."""
        program = KernelIptables(4, self.variant or None).program("restore")
        script = b"*nat\n:KUBE-BENCH - [0:0]\n-A KUBE-BENCH -j RETURN\nCOMMIT\n"
        took = []
        for _ in range(count):
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(program, "--noflush", stdin=asyncio.subprocess.PIPE)
            await process.communicate(script)
            took.append(time.perf_counter() - began)
        return {"p50": percentile(took, 0.5)}


def _cpu() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


async def main(mode: str, variant: str) -> None:
    gc.set_threshold(*GC_THRESHOLD)
    measured = Measured(mode, variant)
    await serve(
        {
            "start": measured.start,
            "change": measured.change,
            "burst": measured.burst,
            "rate": measured.rate,
            "minimal": measured.minimal,
        }
    )
    if close := getattr(measured.backend, "close", None):
        ended = close()
        if asyncio.iscoroutine(ended):
            await ended


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
