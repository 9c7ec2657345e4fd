"""A topology in namespaces of the test's own: who reaches whom; the host sees nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping

import pytest

from clusterip.cluster import network
from clusterip.cluster.config import Config
from clusterip.cluster.topology import Topology, topology
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink

pytestmark = pytest.mark.root

PLAN = topology(Config(nodes=("a", "b")))


@pytest.fixture(scope="module")
def namespaces() -> Iterator[Mapping[str, int]]:
    fds = {machine.name: netns.create() for machine in PLAN.machines}
    network.build(PLAN, fds)
    yield fds
    for fd in fds.values():
        os.close(fd)


def reaches(namespaces: Mapping[str, int], client: str, server: str, address: str, *, seconds: float = 30.0) -> bool:
    listener = netns.inside(namespaces[server], lambda: socket.create_server(("0.0.0.0", 0)))
    with listener:
        try:
            connection = netns.inside(
                namespaces[client],
                lambda: socket.create_connection((address, listener.getsockname()[1]), timeout=seconds),
            )
        except OSError:
            return False
        connection.close()
        return True


def addresses(plan: Topology) -> list[tuple[str, str, str]]:
    return [(one.name, other.name, str(other.ip)) for one in plan.machines for other in plan.machines]


def test_every_machine_reaches_every_machine(namespaces: Mapping[str, int]) -> None:
    for client, server, address in addresses(PLAN):
        assert reaches(namespaces, client, server, address), (client, server)


def test_a_pod_is_reached_from_other_nodes_and_control_but_not_from_the_lan(namespaces: Mapping[str, int]) -> None:
    with Netlink(namespaces["b"]) as links:
        links.add_address("lo", "10.244.2.7/32")
    assert reaches(namespaces, "a", "b", "10.244.2.7")
    assert reaches(namespaces, "control", "b", "10.244.2.7")
    assert not reaches(namespaces, "lan", "b", "10.244.2.7", seconds=3)
    assert not reaches(namespaces, "a", "b", "10.244.2.8", seconds=3)
    assert not reaches(
        namespaces, "a", "b", "203.0.113.1", seconds=3
    )  # the world: refused at once, not after a timeout


def test_twice_changes_nothing_and_the_host_is_left_alone(namespaces: Mapping[str, int]) -> None:
    def state() -> list[object]:
        found: list[object] = []
        for fd in (None, *namespaces.values()):
            with Netlink(fd) as links:
                found += [links.links(), links.addresses(), sorted(map(str, links.routes()))]
        return found

    before = state()
    network.build(PLAN, namespaces)
    assert state() == before


def test_a_lost_link_comes_back(namespaces: Mapping[str, int]) -> None:
    with Netlink(namespaces["a"]) as links:
        links.delete_link("eth0")
    assert not reaches(namespaces, "a", "b", "192.168.4.102", seconds=3)
    network.build(PLAN, namespaces)
    assert reaches(namespaces, "a", "b", "192.168.4.102")
