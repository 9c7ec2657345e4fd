"""Layer 2 on a real LAN: two nodes and a machine, each a network namespace; what the machine's kernel believes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from pathlib import Path

import pytest

from clusterip.api.metallb import L2Advertisement, Pool
from clusterip.clock import SystemClock
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink
from clusterip.kernel.packet import KernelLan, LanInterface, Port
from clusterip.kernel.packet_fake import FakeLan
from clusterip.speaker import metrics
from clusterip.speaker.frames import arp_announcements
from clusterip.speaker.layer2 import Layer2
from clusterip.speaker.model import Key, Node, Service
from clusterip.speaker.view import View
from speaker.test_frames import solicitation
from speaker.test_layer2 import KEY, VIP, VIP6, Heard

pytestmark = pytest.mark.root
SECONDS = 60.0
MACHINE, LIAR = "02:00:00:00:04:01", bytes.fromhex("020000000999")
MACS = {"node-1": "02:00:00:00:04:65", "node-2": "02:00:00:00:04:66"}


@dataclass
class Inside:
    """The interfaces of another namespace: what is opened there stays there."""

    fd: int

    def interfaces(self) -> list[LanInterface]:
        return netns.inside(self.fd, KernelLan().interfaces)

    def open(self, interface: LanInterface) -> Port:
        return netns.inside(self.fd, lambda: KernelLan().open(interface))


@dataclass
class Net:
    """The LAN: a bridge in the machine's namespace."""

    machine: int = field(default_factory=netns.create)
    nodes: dict[str, int] = field(default_factory=dict)
    layers: dict[str, Layer2] = field(default_factory=dict)

    def make(self) -> None:
        with Netlink(self.machine) as net:
            net.add_bridge("lan", MACHINE)
            net.set_up("lan")
            net.set_up("lo")
            net.add_address("lan", "192.168.4.1/24")
            for number, name in enumerate(MACS, 101):
                self.nodes[name] = node = netns.create()
                net.add_veth(name, "eth0", node, peer_mac=MACS[name])
                net.set_master(name, "lan")
                net.set_up(name)
                with Netlink(node) as there:
                    there.add_address("eth0", f"192.168.4.{number}/24")
                    there.add_address("eth0", f"fe80::{number}/64")
                    there.set_up("eth0")

    def start(self, name: str) -> Heard:
        heard = Heard()
        self.layers[name] = Layer2(
            Inside(self.nodes[name]), heard, metrics.registry(), SystemClock(), re.compile("^veth")
        )
        self.layers[name].look_around()
        return heard

    def tell(self, *alive: str) -> None:
        """All who live hear who lives."""
        names = frozenset(MACS)
        pool = Pool("p", (ip_network("192.168.4.0/24"),), l2=(L2Advertisement("all", names),))
        for name in alive:
            keys: list[Key] = [KEY]
            view = View(
                name,
                services={KEY: Service(KEY, addresses=(VIP, VIP6))},
                pools={KEY: pool},
                endpoints={KEY: {"node-1"}},
                nodes={each: Node(each) for each in names},
                alive=frozenset(alive),
            )
            self.layers[name].settle(view, keys)

    def believed(self) -> str:
        """The MAC that the machine's kernel has for the address; it asks when it has none."""

        def look() -> str:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"?", (str(VIP), 9))
            lines = Path("/proc/thread-self/net/arp").read_text().splitlines()
            found = [line.split()[3] for line in lines if line.startswith(f"{VIP} ")]
            return found[0] if found else ""

        return netns.inside(self.machine, look)

    def wire(self) -> socket.socket:
        """All frames on the machine's interface."""

        def make() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
            sock.bind(("lan", 3))
            return sock

        return netns.inside(self.machine, make)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for layer in self.layers.values():
            for known in layer._open.values():
                loop.remove_reader(known.port.fileno())
                known.port.close()
        for fd in (self.machine, *self.nodes.values()):
            os.close(fd)


@asynccontextmanager
async def lan() -> AsyncIterator[Net]:
    net = Net()
    try:
        net.make()
        yield net
    finally:
        net.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the kernel tells nobody


def test_the_machine_finds_the_leader_and_follows_it() -> None:
    async def run() -> None:
        async with lan() as net:
            for name in MACS:
                net.start(name)
            net.tell("node-1", "node-2")
            await until(lambda: net.believed() == MACS["node-1"])
            net.tell("node-2")  # node-1 is dead: it does not even know
            await until(lambda: net.believed() == MACS["node-2"])
            net.tell("node-1", "node-2")  # it was not: both said they led, and one goes
            await until(lambda: net.believed() == MACS["node-1"])

    asyncio.run(run())


def test_a_liar_is_not_believed_for_long() -> None:
    async def run() -> None:
        async with lan() as net:
            net.start("node-1")
            net.tell("node-1")
            await until(lambda: net.believed() == MACS["node-1"])
            with net.wire() as wire:
                for frame in arp_announcements(VIP, LIAR):
                    wire.send(frame)
                await until(lambda: net.believed() == MACS["node-1"])
                seen = []
                await until(lambda: seen.extend(heard(wire)) or any(f[22:28].hex(":") == MACS["node-1"] for f in seen))

    asyncio.run(run())


def test_neighbour_solicitations_are_answered() -> None:
    async def run() -> None:
        async with lan() as net:
            net.start("node-1")
            await until(lambda: any(each.link_local for each in net.layers["node-1"]._lan.interfaces()))
            net.layers["node-1"].look_around()
            net.tell("node-1")
            mac = bytes.fromhex(MACHINE.replace(":", ""))
            with net.wire() as wire:
                seen: list[bytes] = []

                def answered() -> bool:
                    wire.send(solicitation(VIP6, IPv6Address("fe80::1"), mac))
                    seen.extend(frame for frame in heard(wire) if frame[20:21] == b"\x3a" and frame[54:55] == b"\x88")
                    return any(frame[62:78] == VIP6.packed and frame[:6] == mac for frame in seen)

                await until(answered)
                answer = next(frame for frame in seen if frame[62:78] == VIP6.packed and frame[:6] == mac)
                assert answer[80:86].hex(":") == MACS["node-1"]

    asyncio.run(run())


def heard(wire: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(wire.recv(2048))
        except BlockingIOError:
            return found


def test_the_fake_has_the_same_ways() -> None:
    for name in ("interfaces", "open"):
        assert callable(getattr(FakeLan, name))
        assert callable(getattr(KernelLan, name))
