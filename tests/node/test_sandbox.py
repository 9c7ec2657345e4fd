"""Sandboxes in a node of the test's own: packets between pods and the node, and nothing left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from clusterip.kernel import mount, netns, sysctl
from clusterip.kernel.link import Netlink
from clusterip.node import sandbox
from clusterip.node.record import PodFolder
from clusterip.node.sandbox import Sandbox

pytestmark = pytest.mark.root

NODE_IP = "192.168.4.101"
T = TypeVar("T")


@pytest.fixture
def node() -> Iterator[int]:
    """A network namespace with an address, that forwards."""
    fd = netns.create()

    def set_up() -> None:
        with Netlink() as links:
            links.set_up("lo")
            links.add_address("lo", f"{NODE_IP}/32")
        sysctl.apply({"net.ipv4.ip_forward": 1})

    netns.inside(fd, set_up)
    yield fd
    os.close(fd)


def made(node: int, root: Path, uid: str, ip: str) -> Sandbox:
    folder = PodFolder(root, uid, root / "logs")
    wanted = Sandbox(folder=folder, hostname=f"pod-{uid}", ip=ip, node_ip=NODE_IP, link=sandbox.link_name(uid))
    netns.inside(node, lambda: sandbox.make(wanted))
    return wanted


def inside(one: Sandbox, act: Callable[[], T]) -> T:
    fd = netns.open_pinned(one.folder.namespace("net"))
    try:
        return netns.inside(fd, act)
    finally:
        os.close(fd)


def listen(ip: str, port: int) -> socket.socket:
    server = socket.create_server((ip, port))
    server.settimeout(30)
    return server


def peer_of_connection(server: socket.socket, connect: Callable[[], socket.socket]) -> str:
    """Who the server sees."""
    with connect(), server.accept()[0] as accepted:
        return str(accepted.getpeername()[0])


def test_packets_and_names(node: int, tmp_path: Path) -> None:
    a, b = made(node, tmp_path, "a", "10.244.1.2"), made(node, tmp_path, "b", "10.244.1.3")
    try:
        with inside(a, lambda: listen("10.244.1.2", 80)) as server:
            to_a = lambda: socket.create_connection(("10.244.1.2", 80), timeout=30)  # noqa: E731
            assert peer_of_connection(server, lambda: inside(b, to_a)) == "10.244.1.3"
            assert peer_of_connection(server, lambda: netns.inside(node, to_a)) == NODE_IP
            assert peer_of_connection(server, lambda: inside(a, to_a)) == "10.244.1.2"
        with netns.inside(node, lambda: listen(NODE_IP, 81)) as server:
            to_node = lambda: socket.create_connection((NODE_IP, 81), timeout=30)  # noqa: E731
            assert peer_of_connection(server, lambda: inside(b, to_node)) == "10.244.1.3"
        assert inside(a, lambda: sysctl.read("net.ipv4.ip_unprivileged_port_start")) == "0"
        assert sandbox.exists(a.folder)
    finally:
        for one in (a, b):
            netns.inside(node, lambda one=one: sandbox.remove(one.folder, one.link))  # type: ignore[misc]
    assert not sandbox.exists(a.folder)
    assert [link.name for link in netns.inside(node, lambda: Netlink()).links()] == ["lo"]
    assert not [m for m in mount.mounts() if m.target.startswith(str(tmp_path))]


def test_packets_in_a_second_family(node: int, tmp_path: Path) -> None:
    """A pod and its node, and a packet that comes back to its own pod, without a neighbour ever being asked for."""
    here, there = "fd00:192:168:4::101", "fd00:10:244:1::5"

    def set_up() -> None:
        sysctl.apply({"net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.default.accept_dad": 0})
        with Netlink() as links:
            links.add_address("lo", f"{here}/128")

    netns.inside(node, set_up)
    folder = PodFolder(tmp_path, "s", tmp_path / "logs")
    names = {"hostname": "s", "ip": "10.244.1.5", "node_ip": NODE_IP, "link": sandbox.link_name("s")}
    one = Sandbox(folder=folder, ip_6=there, node_ip_6=here, **names)
    netns.inside(node, lambda: sandbox.make(one))
    try:
        server = inside(one, lambda: socket.create_server((there, 80), family=socket.AF_INET6))
        server.settimeout(30)
        with server:
            to_pod = lambda: socket.create_connection((there, 80), timeout=30)  # noqa: E731
            assert peer_of_connection(server, lambda: netns.inside(node, to_pod)) == here
            assert peer_of_connection(server, lambda: inside(one, to_pod)) == there
        with netns.inside(node, lambda: socket.create_server((here, 81), family=socket.AF_INET6)) as server:
            server.settimeout(30)
            to_node = lambda: socket.create_connection((here, 81), timeout=30)  # noqa: E731
            assert peer_of_connection(server, lambda: inside(one, to_node)) == there
    finally:
        netns.inside(node, lambda: sandbox.remove(folder, one.link))


def test_removing_twice_and_making_again(node: int, tmp_path: Path) -> None:
    one = made(node, tmp_path, "c", "10.244.1.4")
    netns.inside(node, lambda: sandbox.remove(one.folder, one.link))
    netns.inside(node, lambda: sandbox.remove(one.folder, one.link))
    again = made(node, tmp_path, "c", "10.244.1.4")
    netns.inside(node, lambda: sandbox.remove(again.folder, again.link))


def test_a_host_network_pod_has_only_ipc_of_its_own(node: int, tmp_path: Path) -> None:
    folder = PodFolder(tmp_path, "h", tmp_path / "logs")
    sandbox.make(Sandbox(folder=folder, hostname="h"))
    try:
        assert [p.name for p in (folder.path / "ns").iterdir()] == ["ipc"]
    finally:
        sandbox.remove(folder, "")
