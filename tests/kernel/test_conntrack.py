"""UDP flows in a namespace of the test's own: listed and forgotten."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from clusterip.kernel import netns
from clusterip.kernel.conntrack import FakeConntrack, Flow, KernelConntrack, Tuple
from clusterip.kernel.link import Netlink

pytestmark = pytest.mark.root

TRACKING = (
    "add table ip t; add chain ip t c { type nat hook output priority -100; }; add rule ip t c ct state new accept"
)
LOOPBACK = IPv4Address("127.0.0.1")


@pytest.fixture
def place() -> Iterator[int]:
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.set_up("lo")
    command = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "nft", TRACKING]
    subprocess.run(command, check=True)
    yield fd
    os.close(fd)


def send(number: int) -> int:
    """Datagrams to a port where somebody listens, from that many sockets."""
    with contextlib.ExitStack() as stack:
        server, *clients = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(number + 1)
        )
        server.bind(("127.0.0.1", 0))
        for client in clients:
            client.sendto(b"?", server.getsockname())
        port: int = server.getsockname()[1]
        return port


def test_connections_are_listed(place: int) -> None:
    def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            found = KernelConntrack().tcp_flows()
            source, target = client.getsockname()[1], server.getsockname()[1]
            assert [(flow.original.source_port, flow.original.port, flow.reply.source_port) for flow in found] == [
                (source, target, target)
            ]
            assert KernelConntrack().udp_flows() == []

    netns.inside(place, play)


def test_flows_are_listed_and_forgotten(place: int) -> None:
    def play() -> None:
        conntrack = KernelConntrack()
        assert conntrack.udp_flows() == []
        wanted, kept = send(450), send(3)
        flows = conntrack.udp_flows()
        mine = [flow for flow in flows if flow.original.port == wanted]
        assert len(mine) == 450
        assert {flow.original.destination for flow in mine} == {LOOPBACK}
        assert all(flow.reply.source_port == wanted and flow.reply.port == flow.original.source_port for flow in mine)
        assert conntrack.udp_flows(4, wanted) == mine
        assert conntrack.udp_flows(6) == []
        assert conntrack.delete(mine[:20]) == 20
        assert conntrack.delete(mine[:20]) == 0
        assert conntrack.delete(mine[20:]) == 430
        assert {flow.original.port for flow in conntrack.udp_flows()} == {kept}

    netns.inside(place, play)


def test_only_udp_is_listed(place: int) -> None:
    def play() -> list[Flow]:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            return KernelConntrack().udp_flows()

    assert netns.inside(place, play) == []


def test_the_fake_does_the_same() -> None:
    flow = Flow(*[Tuple(LOOPBACK, 1, LOOPBACK, 2)] * 2)
    fake = FakeConntrack([flow])
    assert fake.udp_flows() == [flow]
    assert (fake.delete([flow]), fake.delete([flow])) == (1, 0)


def until_usable(address: str) -> None:
    """The kernel takes a moment until a new IPv6 address is more than tentative, and then until its route is there."""
    ends = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
            sock.settimeout(0.1)
            sock.sendto(b"?", sock.getsockname())
            sock.recv(1)
            return
        assert time.monotonic() < ends, f"{address} is not reached"
        time.sleep(0.01)


@pytest.mark.parametrize(("one", "two"), [("127.0.0.1", "127.0.0.2"), ("fd00::1", "fd00::2")])
def test_many_alike_go_and_nothing_else_of_their_port(one: str, two: str) -> None:
    """Two servers on one port: the flows of one are forgotten, by one message where that is safe."""
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.set_up("lo")
        if ":" in one:
            for address in (one, two):
                netlink.add_address("lo", f"{address}/128")
            netns.inside(fd, lambda: [until_usable(address) for address in (one, two)])
    command = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "nft", TRACKING.replace(" ip ", " inet ")]
    subprocess.run(command, check=True)
    family = socket.AF_INET6 if ":" in one else socket.AF_INET

    def play() -> None:
        for number in range(200):
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.bind(("", 20000 + number))
                client.sendto(b"?", ((one, two)[number % 2], 53))
        conntrack = KernelConntrack()
        flows = conntrack.udp_flows(6 if ":" in one else 4)
        gone = [flow for flow in flows if str(flow.original.destination) == one]
        assert (len(flows), len(gone)) == (200, 100)
        assert conntrack.delete(gone) == 100
        left = conntrack.udp_flows(6 if ":" in one else 4)
        assert {str(flow.original.destination) for flow in left} == {two}
        assert len(left) == 100

    netns.inside(fd, play)
    os.close(fd)
