"""Mode userspace in the kernel: both families, both variants of iptables, a relay that is killed, clean-up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from clusterip.clock import SystemClock
from clusterip.kernel import netns
from clusterip.kernel.iptables import KernelIptables
from clusterip.kernel.link import Netlink
from clusterip.proxy.backends import userspace
from clusterip.proxy.backends.userspace import TRAITS, Userspace
from clusterip.proxy.model import (
    Family,
    Forward,
    Frontend,
    FrontendKind,
    Node,
    Plan,
    PortName,
    Rule,
    ServicePlan,
    Target,
)
from clusterip.proxy.relay.process import ProcessRelay
from clusterip.proxy.runner import Runner

pytestmark = pytest.mark.root

PLACES = {
    Family.IPV4: {"node": "192.0.2.1", "pod": "192.0.2.5", "service": "198.51.100.10"},
    Family.IPV6: {"node": "2001:db8::1", "pod": "2001:db8::5", "service": "2001:db8:1::10"},
}


@pytest.fixture(params=[Family.IPV4, Family.IPV6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> Family:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def inside(family: Family) -> Iterator[int]:
    """A namespace with the node's and the pod's address on its loopback; Services go by a route that is never taken."""
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.set_up("lo")
        for word in ("node", "pod"):
            netlink.add_address("lo", f"{PLACES[family][word]}/{family.bits}")
        netlink.add_route(str(ip_network(PLACES[family]["service"])), dev="lo")
    yield fd
    os.close(fd)


def plan(family: Family, *, tcp: bool = True) -> Plan:
    places = {word: ip_address(text) for word, text in PLACES[family].items()}
    rules = {}
    for protocol, port, target in (("tcp", 80, 8080), ("udp", 53, 5353)):
        name = PortName("default", "web", "http", protocol)
        outcome = Forward((Target(places["pod"], target),), masquerade=True)
        for frontend, kind in (
            (Frontend(places["service"], protocol, port), FrontendKind.CLUSTER_IP),
            (Frontend(None, protocol, 30000 + port), FrontendKind.NODE_PORT),
        ):
            rules[frontend] = Rule(name, kind, outcome, outcome, outcome)
    addresses = (places["node"],)
    node = Node(
        "node-1",
        addresses,
        node_port_addresses=frozenset(addresses),
        family=family,
        traits=TRAITS,
        service_networks=(),
    )
    return Plan(node, {("default", "web"): ServicePlan(rules)} if tcp else {})  # type: ignore[dict-item]


def serve(family: Family) -> list[socket.socket]:
    """A pod that says hello."""
    kind = socket.AF_INET if family == Family.IPV4 else socket.AF_INET6
    listener = socket.socket(kind)
    listener.bind((PLACES[family]["pod"], 8080))
    listener.listen()
    datagrams = socket.socket(kind, socket.SOCK_DGRAM)
    datagrams.bind((PLACES[family]["pod"], 5353))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello")

    def echo() -> None:
        while True:
            try:
                _, peer = datagrams.recvfrom(10)
                datagrams.sendto(b"hello", peer)
            except OSError:
                return

    for act in (answer, echo):
        threading.Thread(target=act, daemon=True).start()
    return [listener, datagrams]


def ask(family: Family, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    with socket.socket(socket.AF_INET if family == Family.IPV4 else socket.AF_INET6, kind) as sock:
        sock.settimeout(30)
        try:
            sock.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"?")
            return sock.recv(10).decode()
        except OSError as error:
            return type(error).__name__


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_real_packets_and_a_relay_that_is_killed(inside: int, family: Family, variant: str) -> None:
    vip = PLACES[family]["service"]

    async def body() -> None:
        relay = ProcessRelay()
        backend = Userspace(family, KernelIptables(family, variant), relay)
        runner = Runner(backend, lambda: plan(family), SystemClock())
        try:
            await runner.sync()
            assert ask(family, vip, 80) == "hello"
            assert ask(family, PLACES[family]["node"], 30080) == "hello"
            assert ask(family, vip, 53, socket.SOCK_DGRAM) == "hello"
            for name, port in relay.ports.items():
                kind = socket.SOCK_DGRAM if "udp" in name else socket.SOCK_STREAM
                assert ask(family, PLACES[family]["node"], port, kind) in (
                    "ConnectionResetError",
                    "PermissionError",  # what is refused at output
                )
            runner.doubt()
            assert (await runner.sync()).changes == 0
            ports = dict(relay.ports)
            assert relay.pid
            os.kill(relay.pid, signal.SIGKILL)
            await relay.ended()
            assert ask(family, vip, 80) == "ConnectionRefusedError"
            runner.doubt()
            assert (await runner.sync()).changes == 2, "the listeners alone"
            assert relay.ports == ports
            assert ask(family, vip, 80) == "hello"
        finally:
            await backend.close()

    pod = netns.inside(inside, lambda: serve(family))
    try:
        netns.inside(inside, lambda: asyncio.run(body()))
    finally:
        for sock in pod:
            sock.shutdown(socket.SHUT_RDWR) if sock.type == socket.SOCK_STREAM else sock.close()
            sock.close()


def test_cleanup_leaves_what_others_made(inside: int, family: Family) -> None:
    async def body() -> None:
        tables = KernelIptables(family, "nft")
        await tables.ask("--table", "nat", "--new-chain", "OTHERS")
        before = await tables.save("nat")
        backend = Userspace(family, tables, ProcessRelay())
        try:
            await Runner(backend, lambda: plan(family), SystemClock()).sync()
            assert "KUBE-PORTALS-HOST" in await tables.save("nat")
        finally:
            await backend.close()
        await userspace.cleanup(family)
        await userspace.cleanup(family)
        assert lines(await tables.save("nat")) == lines(before)
        assert "KUBE" not in await tables.save()

    netns.inside(inside, lambda: asyncio.run(body()))


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]
