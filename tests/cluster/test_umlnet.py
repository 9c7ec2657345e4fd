"""The wires of a node of kind uml, with a network namespace in the place of the guest: it gets the same frames."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusterip.cluster import network, umlnet
from clusterip.cluster.config import Config
from clusterip.cluster.topology import CONTROL, LAN, NODE, topology
from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import Netlink
from clusterip.node import sandbox
from clusterip.node.record import PodFolder

pytestmark = pytest.mark.root
PLAN = topology(Config(nodes=("node-1",), node_kind="uml"))
WIRES = umlnet.wiring(PLAN.machine("node-1"))
PODS = ("10.244.1.2", "10.244.1.3")


@dataclass
class Lab:
    """Descriptors of the namespaces."""

    lan: int
    control: int
    node: int
    guest: int
    pods: dict[str, int]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with ExitStack() as stack:

        def space() -> int:
            fd = netns.create()
            stack.callback(os.close, fd)
            return fd

        made = Lab(space(), space(), space(), space(), {})
        network.build(PLAN, {LAN: made.lan, CONTROL: made.control, "node-1": made.node})
        network.build(PLAN, {LAN: made.lan, CONTROL: made.control, "node-1": made.node})
        _join_guest(made)
        for ip in PODS:
            made.pods[ip] = _pod(made.node, tmp_path / ip, ip)
            stack.callback(os.close, made.pods[ip])
            stack.callback(sandbox.remove, PodFolder(tmp_path / ip, "uid", tmp_path), "")
        yield made


def _join_guest(lab: Lab) -> None:
    """Bridges do what the guest's raw sockets do: they hand every frame of a wire to its device."""
    with Netlink(lab.node) as node:
        for wire, device, mac in (
            (umlnet.UPLINK, "vec0", WIRES.eth0_mac),
            (umlnet.WIRE, "vec1", WIRES.pods0_mac),
        ):
            node.add_bridge(f"b{device}")
            node.add_veth(f"p{device}", device, lab.guest, peer_mac=mac)
            for port in (wire, f"p{device}"):
                node.set_master(port, f"b{device}")
            for name in (f"b{device}", f"p{device}"):
                node.set_up(name)
    netns.inside(lab.guest, lambda: sysctl.apply(NODE))
    netns.inside(lab.guest, lambda: umlnet.configure(WIRES))


def _pod(node: int, folder: Path, ip: str) -> int:
    """A pod as the agent of such a node makes it."""
    place = PodFolder(folder, "uid", folder)
    wanted = sandbox.Sandbox(folder=place, hostname="pod", ip=ip, link=sandbox.link_name(ip))
    netns.inside(node, lambda: sandbox.make(wanted))
    return netns.open_pinned(place.namespace("net"))


@contextmanager
def listening(fd: int, address: str, port: int) -> Iterator[socket.socket]:
    with netns.inside(fd, lambda: socket.create_server((address, port))) as server:
        server.settimeout(30)
        yield server


def peer_seen(server: socket.socket, fd: int, address: str, port: int) -> str:
    """Connect from a namespace; from where the server sees it come, after a word in each direction."""

    def connect() -> socket.socket:
        return socket.create_connection((address, port), timeout=30)

    with netns.inside(fd, connect) as asking:
        answering, peer = server.accept()
        with answering:
            asking.sendall(b"question")
            assert answering.recv(100) == b"question"
            answering.sendall(b"answer")
            assert asking.recv(100) == b"answer"
    return str(peer[0])


def forwarded(fd: int) -> int:
    """How many packets the namespace has passed on."""

    def read() -> int:
        names, values = Path("/proc/thread-self/net/snmp").read_text().splitlines()[:2]
        return int(dict(zip(names.split(), values.split(), strict=True))["ForwDatagrams"])

    return netns.inside(fd, read)


def passes_the_guest(lab: Lab, act: Callable[[], None]) -> bool:
    before = forwarded(lab.guest)
    act()
    return forwarded(lab.guest) > before


def test_pods_of_one_node_meet_only_through_the_guest(lab: Lab) -> None:
    with listening(lab.pods[PODS[1]], PODS[1], 80) as server:
        assert passes_the_guest(lab, lambda: _assert(peer_seen(server, lab.pods[PODS[0]], PODS[1], 80) == PODS[0]))


def _assert(holds: bool) -> None:
    assert holds


def test_the_agent_reaches_its_pods_and_the_world_through_the_guest(lab: Lab) -> None:
    with listening(lab.pods[PODS[0]], PODS[0], 80) as server:
        assert passes_the_guest(lab, lambda: _assert(peer_seen(server, lab.node, PODS[0], 80) == str(WIRES.agent)))
    control = str(PLAN.control.ip)
    with listening(lab.control, control, 6443) as server:
        assert peer_seen(server, lab.node, control, 6443) == str(WIRES.agent)


def test_of_the_nodes_address_one_port_is_the_agents(lab: Lab) -> None:
    node = str(WIRES.node)
    with listening(lab.node, node, umlnet.AGENT_PORT) as agent:
        for who in (lab.control, lab.guest, lab.pods[PODS[0]]):
            assert peer_seen(agent, who, node, umlnet.AGENT_PORT)
    with listening(lab.guest, node, 10256) as proxy:
        for who in (lab.control, lab.node, lab.pods[PODS[0]]):
            assert peer_seen(proxy, who, node, 10256)


def test_the_guest_reaches_pods_from_the_nodes_address(lab: Lab) -> None:
    with listening(lab.pods[PODS[0]], PODS[0], 80) as server:
        assert peer_seen(server, lab.guest, PODS[0], 80) == str(WIRES.node)


def test_an_absent_pod_is_said_to_be_absent(lab: Lab) -> None:
    for who in (lab.guest, lab.control, lab.pods[PODS[0]]):
        with pytest.raises(OSError, match="No route to host"):
            netns.inside(who, lambda: socket.create_connection(("10.244.1.99", 80), timeout=30))
