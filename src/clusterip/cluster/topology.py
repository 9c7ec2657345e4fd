"""The cluster's network as a value: machines, their links, addresses, routes and sysctls.

Stage: plan.  In: `Config`.  Out: `Topology`; network.py carries it out.
Rules: pure.  Nothing belongs to the host's namespace: every link lies between two namespaces of the cluster.
Truth: docs/architecture.md; kernel Documentation/networking/ip-sysctl.rst, nf_conntrack-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

from clusterip.cluster.config import NAMESPACE, Config

LAN, CONTROL = "lan", "control"
BRIDGE = "lan0"
LAN_NETWORK = IPv4Network("192.168.4.0/24")
LAN_ADDRESS = IPv4Interface("192.168.4.1/24")
CONTROL_ADDRESS = IPv4Interface("192.168.4.100/24")
API_PORT = 6443
INSIDE_URL = f"https://{CONTROL_ADDRESS.ip}:{API_PORT}"  # the API, for all that live on the LAN
EVERYWHERE = IPv4Network("0.0.0.0/0")
POD_PREFIX = 24

# The second family of a cluster with two: each address repeats the last number of the first family's.
LAN_NETWORK_6 = IPv6Network("fd00:192:168:4::/64")
EVERYWHERE_6 = IPv6Network("::/0")
POD_PREFIX_6 = 64

# rp_filter off: a reply may leave by another link than its request came (hairpin, masquerade).  route_localnet off: the
# nftables proxy offers no node ports on loopback.  The conntrack values are kube-proxy's own defaults, but syn_sent:
# while the kernel remembers a connection that nobody answered, a new one from the same port goes to the same place,
# which may be a pod that ended (docs/kernel-notes.md).
ROUTER = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.icmp_ratelimit": "0",
}
NODE = ROUTER | {
    "net.ipv4.conf.all.route_localnet": "0",
    "net.ipv4.conf.all.arp_ignore": "0",
    "net.ipv4.conf.all.arp_announce": "0",
    "net.ipv4.conf.all.proxy_arp": "0",
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.core.somaxconn": "4096",
    "net.netfilter.nf_conntrack_tcp_be_liberal": "0",
    "net.netfilter.nf_conntrack_tcp_loose": "1",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_sent": "10",
}
# Addresses are usable at once, nobody else decides about them or about routes.
MEMBER_6 = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.dad_transmits": "0",
    "net.ipv6.conf.default.accept_ra": "0",
}
ROUTER_6 = {"net.ipv6.conf.all.forwarding": "1", "net.ipv6.conf.default.forwarding": "1"} | MEMBER_6


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """A route of a machine; without a gateway it says that the network is not reachable."""

    destination: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None


@dataclass(frozen=True, slots=True)
class Machine:
    """One network namespace of the cluster, as it shall be."""

    name: str
    role: Literal["lan", "control", "node"]
    address: IPv4Interface
    routes: tuple[PlannedRoute, ...]
    sysctls: Mapping[str, str] = field(hash=False)
    mac: str = ""
    port: str = ""  # the far end of eth0, a port of the bridge; the LAN machine has the bridge itself
    pod_cidr: IPv4Network | None = None
    kind: str = NAMESPACE  # of a node: what its network is
    address_6: IPv6Interface | None = None
    pod_cidr_6: IPv6Network | None = None

    @property
    def ip(self) -> IPv4Address:
        return self.address.ip

    @property
    def ips(self) -> str:
        """Its addresses, the first family's first."""
        return f"{self.ip},{self.address_6.ip}" if self.address_6 is not None else str(self.ip)

    @property
    def pod_cidrs(self) -> str:
        return f"{self.pod_cidr},{self.pod_cidr_6}" if self.pod_cidr_6 is not None else str(self.pod_cidr)


@dataclass(frozen=True)
class Topology:
    """All machines: the LAN first, then control, then the nodes."""

    machines: tuple[Machine, ...]

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    @property
    def lan(self) -> Machine:
        return self.machine(LAN)

    @property
    def control(self) -> Machine:
        return self.machine(CONTROL)

    @property
    def nodes(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.role == "node")

    def hosts(self) -> str:
        """/etc/hosts of every machine."""
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        return "\n".join([*lines, *(f"{machine.ip}\t{machine.name}" for machine in self.machines), ""])


def _mac(address: IPv4Address) -> str:
    """A local address that repeats the IPv4 address: stable, unique on the LAN, readable in a capture."""
    return "02:00:" + address.packed.hex(":")


def node_address(number: int) -> IPv4Interface:
    """192.168.4.101 for the first node."""
    return IPv4Interface((int(CONTROL_ADDRESS.ip) + number, LAN_NETWORK.prefixlen))


def pod_network(config: Config, number: int) -> IPv4Network:
    """10.244.1.0/24 for the first node."""
    whole = IPv4Network(config.pod_cidr)
    return IPv4Network((int(whole.network_address) + (number << (32 - POD_PREFIX)), POD_PREFIX))


def topology(config: Config) -> Topology:
    """The network of a cluster."""
    numbered = list(enumerate(config.nodes, 1))
    to_pods = {name: PlannedRoute(pod_network(config, n), node_address(n).ip) for n, name in numbered}
    out = PlannedRoute(EVERYWHERE, LAN_ADDRESS.ip)
    # The LAN machine is the nodes' gateway and the end of the world: what it does not know is answered at once.
    lan = Machine(LAN, "lan", LAN_ADDRESS, (PlannedRoute(EVERYWHERE, None),), ROUTER, _mac(LAN_ADDRESS.ip))
    control = Machine(
        CONTROL, "control", CONTROL_ADDRESS, (*to_pods.values(), out), {}, _mac(CONTROL_ADDRESS.ip), "port0"
    )
    nodes = [_node(config, number, name, to_pods, out) for number, name in numbered]
    machines = (lan, control, *nodes)
    return Topology(_with_second_family(config, machines) if config.dual_stack else machines)


def _with_second_family(config: Config, machines: tuple[Machine, ...]) -> tuple[Machine, ...]:
    """The same network once more, in IPv6."""
    places = {name: number for number, name in enumerate(config.nodes, 1)}
    to_pods = {
        name: PlannedRoute(pod_network_6(number), _lan_address_6(node_address(number)).ip)
        for name, number in places.items()
    }
    out = PlannedRoute(EVERYWHERE_6, _lan_address_6(LAN_ADDRESS).ip)
    return tuple(_in_both(machine, to_pods, out, places.get(machine.name)) for machine in machines)


def _in_both(machine: Machine, to_pods: Mapping[str, PlannedRoute], out: PlannedRoute, place: int | None) -> Machine:
    own = None if place is None else pod_network_6(place)
    others = tuple(route for name, route in to_pods.items() if name != machine.name)
    if machine.role == "lan":
        routes: tuple[PlannedRoute, ...] = (PlannedRoute(EVERYWHERE_6, None),)
    else:
        routes = (*others, *((PlannedRoute(own, None),) if own is not None else ()), out)
    return replace(
        machine,
        address_6=_lan_address_6(machine.address),
        routes=machine.routes + routes,
        sysctls={**machine.sysctls, **(MEMBER_6 if machine.role == "control" else ROUTER_6)},
        pod_cidr_6=own,
    )


def _lan_address_6(address: IPv4Interface) -> IPv6Interface:
    """fd00:192:168:4::101 for 192.168.4.101."""
    last = str(address.ip).rpartition(".")[2]
    return IPv6Interface(f"{LAN_NETWORK_6.network_address}{last}/{LAN_NETWORK_6.prefixlen}")


def pod_network_6(number: int) -> IPv6Network:
    """fd00:10:244:1::/64 for the first node."""
    return IPv6Network(f"fd00:10:244:{number}::/{POD_PREFIX_6}")


def _node(config: Config, number: int, name: str, to_pods: Mapping[str, PlannedRoute], out: PlannedRoute) -> Machine:
    """A node: pods of others by their nodes, own pods by routes of the agent, own absent pods not at all."""
    own = pod_network(config, number)
    others = tuple(route for node, route in to_pods.items() if node != name)
    address = node_address(number)
    routes = (*others, PlannedRoute(own, None), out)
    return Machine(name, "node", address, routes, NODE, _mac(address.ip), f"port{number}", own, config.node_kind)
