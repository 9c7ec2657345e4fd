"""The wires of a node whose network is a User Mode Linux guest.

Stage: plan (`wiring`) and commit (`attach` on the host's side, `configure` in the guest).  In: a `Machine`.
Out: the node's namespace as a patch panel: LAN frames go to the guest untouched, what pods send goes to the guest, and
what the guest sends for a pod goes to it; nothing passes from pod to pod, or to the LAN, without the guest.
Rules: the namespace has one address of its own, the first of the node's pod range: from there the agent speaks to its
pods, and through the guest to the world.  The node's address is the guest's; only its port 10250 is the agent's.

    LAN bridge -- uplink ))) eth0 [ guest ] pods0 ((( wire -- guest0 [ rules, the pods' routes ] veth... -- pods
    )))  raw frames; everything between uplink and the pods' links is in the node's namespace

Truth: docs/architecture.md, "Nodes with a kernel of their own"; ip-rule(8).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from clusterip.cluster.topology import BRIDGE, EVERYWHERE, Machine, PlannedRoute
from clusterip.kernel import netns, sysctl
from clusterip.kernel import rtnetlink as rt
from clusterip.kernel.link import Netlink
from clusterip.kernel.rules import LOCAL, MAIN, PolicyNetlink, Rule

UPLINK, WIRE, PANEL = "uplink", "wire", "guest0"
ETH0, PODS0 = "eth0", "pods0"
GUEST_HOP = IPv4Address("169.254.1.2")
AGENT_PORT = 10250
FROM_GUEST, TO_AGENT, TO_GUEST, NOWHERE = 100, 101, 102, 103  # tables
PANEL_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.ip_nonlocal_bind": "1",  # the agent listens on the node's address, whose other ports are the guest's
    "net.ipv4.ip_early_demux": "0",  # a pod's answer to the agent passes here twice; known by its socket, it is dropped
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv6.conf.default.disable_ipv6": "1",
}


@dataclass(frozen=True)
class Wiring:
    """The node's wires, as both sides need them."""

    node: IPv4Address
    prefix: int
    pods: IPv4Network
    routes: tuple[PlannedRoute, ...]

    @property
    def agent(self) -> IPv4Address:
        """The node's namespace's own address."""
        return self.pods.network_address + 1

    def mac(self, wire: int) -> str:
        """Addresses that repeat the node's: 0 is eth0, as every node has it; the others differ in the second byte."""
        return f"02:{wire:02x}:" + self.node.packed.hex(":")

    @property
    def eth0_mac(self) -> str:
        return self.mac(0)

    @property
    def pods0_mac(self) -> str:
        return self.mac(4)

    @property
    def panel_mac(self) -> str:
        return self.mac(3)


def wiring(machine: Machine) -> Wiring:
    """The wires of a node."""
    assert machine.pod_cidr is not None
    others = tuple(route for route in machine.routes if route.destination != machine.pod_cidr)
    return Wiring(machine.ip, machine.address.network.prefixlen, machine.pod_cidr, others)


# -- the host's side --------------------------------------------------------------------------------------------------


def attach(lan: Netlink, machine: Machine, fd: int) -> None:
    """Make the links and rules of the node's namespace, or whatever of them is missing."""
    plan = wiring(machine)
    netns.inside(fd, lambda: sysctl.apply(PANEL_SYSCTLS))
    with PolicyNetlink(fd) as own:
        if own.link(UPLINK) is None:
            lan.delete_link(machine.port)
            lan.add_veth(machine.port, UPLINK, fd, peer_mac=plan.mac(1))
            lan.set_master(machine.port, BRIDGE)
        if own.link(PANEL) is None:
            own.add_veth(PANEL, WIRE, mac=plan.panel_mac, peer_mac=plan.mac(2))
        for name in (UPLINK, WIRE, PANEL):
            own.without_arp(name)
            own.set_up(name)
        lan.set_up(machine.port)
        own.set_up("lo")
        netns.inside(fd, lambda: sysctl.apply({f"net.ipv4.conf.{PANEL}.accept_local": "1"}))
        _panel(own, plan)


def _panel(own: PolicyNetlink, plan: Wiring) -> None:
    """The guest's packets go to pods and to the agent; everybody else's, the agent's own too, go to the guest."""
    own.add_neighbour(PANEL, GUEST_HOP, plan.pods0_mac)
    own.add_route(plan.pods, kind="unreachable")
    for device, address in ((PANEL, plan.agent), ("lo", plan.node)):  # the agent answers from both
        own.own_without_route(device, address)
        own.route_in(TO_AGENT, IPv4Network(address), dev=device, kind=rt.RTN_LOCAL)
    own.route_in(NOWHERE, EVERYWHERE, kind=rt.RTN_UNREACHABLE)
    own.route_in(TO_GUEST, EVERYWHERE, dev=PANEL, via=GUEST_HOP)
    for rule in (
        Rule(100, TO_AGENT, iif=PANEL),
        Rule(101, MAIN, iif=PANEL),
        Rule(102, NOWHERE, iif=PANEL),
        Rule(120, TO_GUEST),
    ):
        own.add_rule(rule)


# -- the guest's side -------------------------------------------------------------------------------------------------


def configure(plan: Wiring) -> None:
    """In the guest: its two devices, its routes, and the one port of its address that is not its own."""
    with PolicyNetlink() as own:
        own.set_up("lo")
        for device, name in (("vec0", ETH0), ("vec1", PODS0)):
            if own.link(device) is not None:
                own.rename(device, name)
        own.add_address(ETH0, f"{plan.node}/{plan.prefix}")
        own.without_arp(PODS0)
        for name in (ETH0, PODS0):
            own.set_up(name)
        sysctl.apply({f"net.ipv4.conf.{PODS0}.accept_local": "1"})
        own.add_neighbour(PODS0, plan.agent, plan.panel_mac)
        own.add_route(plan.pods, via=plan.agent, dev=PODS0, onlink=True, src=plan.node)
        for route in plan.routes:
            own.add_route(route.destination, via=route.via, kind="unicast" if route.via else "unreachable")
        own.route_in(TO_AGENT, EVERYWHERE, dev=PODS0, via=plan.agent)
        own.add_rule(Rule(10, LOCAL))
        own.add_rule(Rule(5, TO_AGENT, to=plan.node, tcp_port=AGENT_PORT))
        own.delete_rule(Rule(0, LOCAL))
