"""Machines for packet tests: a LAN, two nodes, pods; each a network namespace, with real sockets in them.

    with Lab() as lab:
        lab.serve("10.244.1.5", 8080)                      # a pod on node-1 that answers who it saw
        lab.ask("10.244.1.9", "10.96.0.20:80/tcp")         # "10.244.1.5:8080 saw 10.244.1.9", "refused" or "silence"

Addresses: 192.168.4.1 the LAN machine, 192.168.4.101 and .102 the nodes, 10.244.<n>.x a pod of node n.  Nothing here
touches the host's network, and all is gone with the last descriptor.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any, TypeVar

from clusterip.clock import SystemClock
from clusterip.kernel import netns, sysctl
from clusterip.kernel.conntrack import Flow, KernelConntrack
from clusterip.kernel.link import DEFAULT, Netlink
from clusterip.proxy.backends.nftables import Nftables
from clusterip.proxy.conntrack import Settler
from clusterip.proxy.model import Plan
from clusterip.proxy.runner import Runner
from kernel.nft_places import nft_in
from proxy.clusters import NODE_ADDRESSES, node_of

T = TypeVar("T")
LAN_MACHINE = "192.168.4.1"
GATEWAY = "169.254.1.1"
ANSWER_SECONDS = 2.0
SILENCE_SECONDS = 0.35
SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.icmp_ratelimit": 0,  # tests refuse more often than once a second
}
TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Machine:
    """A network namespace with its loopback up."""

    def __init__(self) -> None:
        self.fd = netns.create()
        with Netlink(self.fd) as netlink:
            netlink.set_up("lo")

    def inside(self, act: Callable[[], T]) -> T:
        return netns.inside(self.fd, act)

    def close(self) -> None:
        os.close(self.fd)


class Conntrack:
    """A machine's connection tracking."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def udp_flows(self) -> list[Flow]:
        return self._machine.inside(KernelConntrack().udp_flows)

    def delete(self, flows: Iterable[Flow]) -> int:
        wanted = list(flows)
        return self._machine.inside(lambda: KernelConntrack().delete(wanted))


class Lab:
    """The LAN, the nodes, and pods as they are first named."""

    def __init__(self, nodes: Iterable[str] = ("node-1", "node-2")) -> None:
        self.machines: dict[str, Machine] = {LAN_MACHINE: Machine()}
        self.nodes: dict[str, Machine] = {}
        self._answerer = Answerer()
        lan = self.machines[LAN_MACHINE]
        with Netlink(lan.fd) as netlink:
            netlink.add_bridge("lan0")
            netlink.set_up("lan0")
            netlink.add_address("lan0", f"{LAN_MACHINE}/24")
        for name in nodes:
            self._add_node(name, lan)
        with Netlink(lan.fd) as netlink:  # as a router outside would have it: Services by way of the first node
            for network in ("10.96.0.0/12", "192.168.4.48/28"):
                netlink.add_route(network, via=str(next(iter(NODE_ADDRESSES.values()))))
        for name, machine in self.nodes.items():
            with Netlink(machine.fd) as netlink:
                for other in self.nodes:
                    if other != name:
                        netlink.add_route(f"10.244.{other[-1]}.0/24", via=str(NODE_ADDRESSES[other]))

    def _add_node(self, name: str, lan: Machine) -> None:
        address = str(NODE_ADDRESSES[name])
        machine = self.machines[address] = self.nodes[name] = Machine()
        with Netlink(lan.fd) as outer, Netlink(machine.fd) as inner:
            outer.add_veth(name, "eth0", machine.fd)
            outer.set_master(name, "lan0")
            outer.set_up(name)
            inner.add_address("eth0", f"{address}/24")
            inner.set_up("eth0")
            inner.add_route(DEFAULT, via=LAN_MACHINE)
        machine.inside(lambda: sysctl.apply(SYSCTLS))

    def machine(self, address: str) -> Machine:
        """The machine that has the address; a pod is made when it is new."""
        return self.machines.get(address) or self._add_pod(address)

    def _add_pod(self, address: str) -> Machine:
        pod = self.machines[address] = Machine()
        node, name = self.nodes[node_of(address)], f"veth{address.rpartition('.')[2]}"
        mac = f"02:00:0a:f4:{int(address.split('.')[2]):02x}:{int(address.split('.')[3]):02x}"
        with Netlink(node.fd) as outer, Netlink(pod.fd) as inner:
            outer.add_veth(name, "eth0", pod.fd, mac="02:00:00:00:00:01", peer_mac=mac)
            outer.set_up(name)
            inner.set_up("eth0")
            inner.add_address("eth0", f"{address}/32")
            inner.add_neighbour("eth0", GATEWAY, "02:00:00:00:00:01")
            inner.add_route(DEFAULT, via=GATEWAY, dev="eth0", onlink=True)
            outer.add_route(f"{address}/32", dev=name)
            outer.add_neighbour(name, address, mac)
        return pod

    def serve(self, address: str, port: int, protocol: str = "tcp") -> None:
        """Answer there, from now on, who was seen; twice is once."""
        self._answerer.add(self.machine(address), address, port, protocol)

    def stop(self, address: str, port: int, protocol: str = "tcp") -> None:
        """Answer no more, as when a pod ends."""
        self._answerer.remove(address, port, protocol)

    def ask(self, source: str, destination: str, *, seconds: float = ANSWER_SECONDS, from_port: int = 0) -> str:
        """What a new connection from there gets: `<endpoint> saw <address>`, refused, or silence."""
        place, _, protocol = destination.partition("/")
        host, _, port = place.partition(":")
        protocol = protocol or "tcp"
        return self.machine(source).inside(lambda: _ask(source, from_port, host, int(port), protocol, seconds))

    def asks(self, source: str, destination: str, times: int) -> set[str]:
        """The different answers to many connections."""
        return {self.ask(source, destination) for _ in range(times)}

    def proxy(self, node: str, plan: Callable[[], Plan]) -> NodeProxy:
        return NodeProxy(self.nodes[node], plan)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: Any) -> None:
        self._answerer.close()
        for machine in self.machines.values():
            machine.close()


class NodeProxy:
    """What a proxy does to a node: rules, then flows. A new one stands for a restart."""

    def __init__(self, machine: Machine, plan: Callable[[], Plan]) -> None:
        self._plan = plan
        self.nft = nft_in(machine.fd)
        self.runner = Runner(Nftables(self.nft), plan, SystemClock())
        self.settler = Settler(Conntrack(machine))

    def sync(self) -> int:
        """All that the plan asks for, due removals included; the number of changes."""

        async def run() -> int:
            total = 0
            while changes := (await self.runner.sync()).changes:
                total += changes
            return total

        total = asyncio.run(run())
        if work := self.settler.prepare(self._plan()):
            work()
        return total


def _ask(source: str, from_port: int, host: str, port: int, protocol: str, seconds: float) -> str:
    with socket.socket(socket.AF_INET, TYPES[protocol]) as sock:
        sock.settimeout(seconds)
        if from_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((source, from_port))
        try:
            sock.connect((host, port))
            with suppress(PermissionError):  # what is refused on its way out is an error of send, and of the next recv
                sock.send(b"?")
            return sock.recv(200).decode() or "silence"
        except ConnectionRefusedError:
            return "refused"
        except (TimeoutError, OSError):
            return "silence"


class Answerer:
    """One thread that serves all sockets of a lab."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[tuple[str, int, str], socket.socket] = {}
        self._lock = threading.Lock()
        self._wake, other = socket.socketpair()
        self._selector.register(other, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, machine: Machine, address: str, port: int, protocol: str) -> None:
        place = (address, port, protocol)
        if place in self._sockets:
            return

        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET, TYPES[protocol])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            if protocol == "tcp":
                sock.listen(128)
            return sock

        with self._lock:
            self._sockets[place] = sock = machine.inside(listen)
            self._selector.register(sock, selectors.EVENT_READ, place)

    def remove(self, address: str, port: int, protocol: str) -> None:
        with self._lock:
            sock = self._sockets.pop((address, port, protocol))
            self._selector.unregister(sock)
            sock.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with self._lock, suppress(OSError, ValueError):
                    if key.data in self._sockets:
                        self._answer(self._sockets[key.data], key.data)

    @staticmethod
    def _answer(sock: socket.socket, place: tuple[str, int, str]) -> None:
        address, port, protocol = place
        if protocol == "udp":
            _, peer = sock.recvfrom(100)
            sock.sendto(f"{address}:{port} saw {peer[0]}".encode(), peer)
            return
        connection, peer = sock.accept()
        with connection:
            connection.sendall(f"{address}:{port} saw {peer[0]}".encode())
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for sock in self._sockets.values():
            sock.close()
        self._selector.close()
        self._wake.close()


def lan(number: int) -> IPv4Address:
    return IPv4Address(f"192.168.4.{number}")
