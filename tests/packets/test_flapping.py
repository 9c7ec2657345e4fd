"""An endpoint that comes and goes a thousand times a second, under as many new connections as a test can make.

No connection fails, the proxy's own work stays bounded, and what is wanted in the end is there within one sync.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from clusterip.clock import SystemClock
from clusterip.proxy.backends import BackendSettings
from clusterip.proxy.config import default
from clusterip.proxy.family import FamilyProxy, Programmed
from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES
from clusterip.proxy.objects import EndpointSlice, Service, decoder
from clusterip.proxy.pace import Periods
from packets.lab import Lab
from packets.machines import ANSWER_SECONDS
from packets.nodeproxy import Conntrack, Loop
from proxy.clusters import node

pytestmark = pytest.mark.root

STABLE, FLAPPING, CLIENT, VIP = "10.244.1.5", "10.244.1.6", "10.244.1.9", "10.96.0.20"
FLAPS, FLAP_SECONDS, CLIENTS = 2000, 0.001, 2
MOST_CPU = 0.7  # of one core: half for syncs that keep coming, the rest for taking in the changes themselves
SERVICE = decoder(Service)(
    {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": VIP, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }
)


def slice_of(*addresses: str) -> EndpointSlice:
    return decoder(EndpointSlice)(
        {
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [address], "conditions": {"ready": True}, "nodeName": "node-1"} for address in addresses
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
    )


@dataclass
class Reports:
    """What the proxy did."""

    syncs: int = 0
    failures: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def queued(self, family: Family) -> None:
        self.idle.clear()

    def programmed(self, programmed: Programmed) -> None:
        self.syncs += 1
        if not programmed.more_waits:
            self.idle.set()

    def intact(self, family: Family) -> None: ...

    def failed(self, family: Family) -> None:
        self.failures += 1

    def refused(self, part: object, why: str) -> None: ...

    def settled(self, family: Family, deleted: int, seconds: float) -> None: ...


@dataclass
class Clients:
    """Threads that connect, one connection after the other."""

    lab: Lab
    ended: threading.Event = field(default_factory=threading.Event)
    seen: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        def play() -> None:
            while not self.ended.is_set():
                self.seen[one(VIP)] += 1

        self.lab.machine(CLIENT).inside(play)


def one(address: str) -> str:
    """Which endpoint answered; or how it failed."""
    try:
        with socket.create_connection((address, 80), timeout=ANSWER_SECONDS) as sock:
            return sock.recv(100).decode().partition(":")[0] or "closed"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(nodes=["node-1"]) as lab:
        for endpoint in (STABLE, FLAPPING):
            lab.serve(endpoint, 8080)
        lab.machine(CLIENT)
        yield lab


def test_no_connection_is_lost(lab: Lab) -> None:
    loop = Loop(lab.nodes["node-1"])
    clients = Clients(lab)
    threads = [threading.Thread(target=clients.run) for _ in range(CLIENTS)]
    with_both, without = slice_of(STABLE, FLAPPING), slice_of(STABLE)

    async def play() -> tuple[float, int, Reports]:
        reports = Reports()
        backend = MODES["nftables"].make(BackendSettings(Family.IPV4, default(), 14))
        await backend.prepare()
        clock = SystemClock()
        proxy = FamilyProxy(
            backend,
            node(),
            Periods(),
            reports,
            clock,
            conntrack=Conntrack(lab.nodes["node-1"]),
            slices_revision=lambda: "1",
        )
        proxy.on_service(("default", "web"), None, SERVICE)
        proxy.on_slice(("default", "web-1"), None, with_both)
        running = asyncio.create_task(proxy.run())
        await proxy.programmed_once.wait()
        for thread in threads:
            thread.start()
        began, used, flaps, present = time.monotonic(), time.thread_time(), 0, with_both
        while flaps < FLAPS:
            due = (time.monotonic() - began) / FLAP_SECONDS
            while flaps < min(due, FLAPS):  # as many as the time asks for, also after a late wake-up
                before, present = present, without if present is with_both else with_both
                proxy.on_slice(("default", "web-1"), before, present)
                flaps += 1
            await asyncio.sleep(FLAP_SECONDS)
        share = (time.thread_time() - used) / (time.monotonic() - began)
        proxy.on_slice(("default", "web-1"), present, without)
        async with asyncio.timeout(ANSWER_SECONDS):
            await reports.idle.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return share, flaps, reports

    try:
        share, flaps, reports = loop.call(play())
        clients.ended.set()
        settled = Counter(lab.machine(CLIENT).inside(lambda: [one(VIP) for _ in range(40)]))
    finally:
        clients.ended.set()
        for thread in threads:
            thread.join()
        loop.close()
    print(f"{flaps} flaps, {reports.syncs} syncs, {share:.2f} of a core, {clients.seen}")
    assert clients.seen.keys() == {STABLE, FLAPPING}
    assert settled.keys() == {STABLE}
    assert reports.failures == 0
    assert share < MOST_CPU
