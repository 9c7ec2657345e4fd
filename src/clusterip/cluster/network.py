"""Carry out a topology: links, addresses, routes and sysctls in the machines' namespaces.

Stage: commit.  In: `Topology` and a descriptor of each machine's network namespace.  Out: a working network.
Rules: running it twice changes nothing; the host's namespace is never opened for writing.
Truth: topology.py says what, this file says how.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from clusterip.cluster import umlnet
from clusterip.cluster.config import UML
from clusterip.cluster.topology import BRIDGE, Machine, Topology
from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import Netlink

ETH0 = "eth0"


def build(topology: Topology, namespaces: Mapping[str, int]) -> None:
    """Make the network, or whatever of it is missing."""
    lan_fd = namespaces[topology.lan.name]
    _set_sysctls(topology.lan, lan_fd)
    with Netlink(lan_fd) as lan:
        _make_bridge(lan, topology.lan)
        for machine in topology.machines:
            if machine is not topology.lan:
                _join(lan, machine, namespaces[machine.name])


def _make_bridge(lan: Netlink, machine: Machine) -> None:
    with contextlib.suppress(FileExistsError):
        lan.add_bridge(BRIDGE, machine.mac)
    configure(lan, machine, BRIDGE)


def _join(lan: Netlink, machine: Machine, fd: int) -> None:
    """Give the machine its eth0, the other end on the bridge."""
    if machine.kind == UML:
        umlnet.attach(lan, machine, fd)
        return
    _set_sysctls(machine, fd)
    with Netlink(fd) as own:
        if own.link(ETH0) is None:
            lan.delete_link(machine.port)
            lan.add_veth(machine.port, ETH0, fd, peer_mac=machine.mac)
            lan.set_master(machine.port, BRIDGE)
        lan.set_up(machine.port)
        configure(own, machine, ETH0)


def configure(links: Netlink, machine: Machine, name: str) -> None:
    """Addresses and routes of the machine, its link to the LAN up."""
    links.set_up("lo")
    links.add_address(name, machine.address)
    if machine.address_6 is not None:
        links.add_address(name, machine.address_6)
    links.set_up(name)
    for route in machine.routes:
        links.add_route(route.destination, via=route.via, kind="unicast" if route.via else "unreachable")


def _set_sysctls(machine: Machine, fd: int) -> dict[str, str]:
    """Before any link is up; what this kernel does not have per namespace is left as it is."""
    return netns.inside(fd, lambda: sysctl.apply(machine.sysctls))
