"""What the proxy knows and decides, as values: service ports, endpoints, the node, frontends, rules.

Stage: none; values.  Rules: pure; nothing here names a backend.  Every picture and plan is of one IP family: a
dual-stack node has two of each.
Truth: core/v1 Service, discovery/v1 EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from clusterip.api.meta import ObjectKey

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


class Family(IntEnum):
    """An IP family; the number is the version in the header."""

    IPV4 = 4
    IPV6 = 6

    @classmethod
    def of(cls, what: IPAddress | IPNetwork) -> Family:
        return cls(what.version)

    @property
    def table(self) -> str:
        """As nft names it."""
        return "ip" if self is Family.IPV4 else "ip6"

    @property
    def bits(self) -> int:
        return 32 if self is Family.IPV4 else 128

    @property
    def any(self) -> IPNetwork:
        """All addresses."""
        return _ANY[self]

    @property
    def loopback(self) -> IPNetwork:
        return _LOOPBACK[self]


_ANY: Mapping[Family, IPNetwork] = {Family.IPV4: IPv4Network("0.0.0.0/0"), Family.IPV6: IPv6Network("::/0")}
_LOOPBACK: Mapping[Family, IPNetwork] = {Family.IPV4: IPv4Network("127.0.0.0/8"), Family.IPV6: IPv6Network("::1/128")}


@dataclass(frozen=True, slots=True)
class Traits:
    """Where the modes differ, as upstream's do, so that `decide` can say what becomes of a packet in each.

    The default is nftables, which looks at every hook at what was not translated; iptables has older rules spread over
    the hooks, ipvs puts the addresses on the node, userspace answers first and asks later.
    """

    guards_cluster_ips: bool = True  # another port of a cluster IP is refused, addresses nobody has are dropped
    binds_addresses: bool = False  # ipvs: the node itself has the addresses of Services, and refuses their other ports
    drops_without_local: bool = True  # else policy Local without an endpoint here refuses
    short_circuits: bool = True  # policy Local does not bind pods and the node; else it binds all, if one is here
    hides_sender: bool = False  # endpoints see the node, whoever sends
    ranges_come_first: bool = True  # source ranges hold without endpoints too; else a sender outside is refused then
    refuses_from_node: bool = True  # the node's own packets to external addresses are refused; else they leave it
    refuses_on_all_addresses: bool = False  # node ports without endpoints are refused at addresses that take none, too
    hides_remote_hairpins: bool = False  # an endpoint elsewhere that reaches itself through this node sees the node
    balancers_admit_each_other: bool = True  # a node within the source ranges may come as any of the balancers' IPs


class PortName(NamedTuple):
    """Which port of which Service; ports are told apart by name and protocol, never by number."""

    namespace: str
    service: str
    port: str
    protocol: str  # as nft and /etc/protocols write it: tcp, udp, sctp

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}:{self.port}" if self.port else f"{self.namespace}/{self.service}"


class FrontendKind(Enum):
    CLUSTER_IP = "cluster IP"
    EXTERNAL_IP = "external IP"
    LOAD_BALANCER_IP = "load balancer IP"
    NODE_PORT = "node port"


class Frontend(NamedTuple):
    """What a packet is sent to. No address means every address that takes node ports."""

    address: IPAddress | None
    protocol: str
    port: int

    def __str__(self) -> str:
        host = "node" if self.address is None else _host(self.address)
        return f"{host}:{self.port}/{self.protocol}"


class Target(NamedTuple):
    """Where a packet may go: an endpoint's address and port, and whether it is on this node."""

    address: IPAddress
    port: int
    is_local: bool = False

    def __str__(self) -> str:
        return f"{_host(self.address)}:{self.port}"


def _host(address: IPAddress) -> str:
    """As it is written before a port."""
    return f"[{address}]" if address.version == 6 else str(address)


NO_WEIGHTS: Mapping[Target, int] = MappingProxyType({})


NO_HINTS: frozenset[str] = frozenset()


class Endpoint(NamedTuple):
    """One endpoint of one service port."""

    target: Target
    is_ready: bool = True
    is_serving: bool = True
    is_terminating: bool = False
    zone_hints: frozenset[str] = NO_HINTS
    node_hints: frozenset[str] = NO_HINTS


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service, with the frontends that are its own once conflicts are settled."""

    name: PortName
    frontends: tuple[tuple[FrontendKind, Frontend], ...]
    endpoints: tuple[Endpoint, ...] = ()
    internal_policy_local: bool = False
    external_policy_local: bool = False
    affinity_seconds: int = 0  # 0: no affinity
    source_ranges: tuple[IPNetwork, ...] = ()  # of load balancer IPs; none: everybody
    health_check_node_port: int = 0  # 0: none; all ports of a Service have the same
    scheduler: str = ""  # ipvs: how to choose; none: as configured
    weights: Mapping[Target, int] = field(default_factory=lambda: NO_WEIGHTS)  # ipvs; 1 where none is said


class Conflict(NamedTuple):
    """A frontend that a Service asked for and another has."""

    frontend: Frontend
    owner: ObjectKey


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One Service as the proxy sees it."""

    key: ObjectKey
    ports: tuple[ServicePort, ...]


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """How traffic of this cluster's pods is known: by source network, or by the interface that it comes in by."""

    network: IPNetwork | None = None
    interface: str = ""  # may end in *

    def covers(self, source: IPAddress, interface: str) -> bool:
        """Whether a packet is of a pod: its sender, and where it came in ("": it was made on this node)."""
        if self.network is not None:
            return source in self.network
        if self.interface.endswith("*"):
            return interface.startswith(self.interface[:-1]) and bool(interface)
        return bool(self.interface) and interface == self.interface


@dataclass(frozen=True, slots=True)
class Node:
    """This node, and what was configured for it."""

    name: str
    addresses: tuple[IPAddress, ...] = ()  # the first is the node's own, as its object says
    zone: str = ""
    pod_traffic: PodTraffic | None = None
    masquerade_all: bool = False
    node_port_addresses: frozenset[IPAddress] | None = frozenset()  # None: every local address but loopback
    service_networks: tuple[IPNetwork, ...] = ()
    family: Family = Family.IPV4
    traits: Traits = Traits()
    localhost_node_ports: bool = False  # on the loopback network too, whatever those are

    def takes_node_ports(self, address: IPAddress) -> bool:
        if address in self.family.loopback:
            return self.localhost_node_ports
        if self.node_port_addresses is None:
            return address in self.addresses
        return address in self.node_port_addresses


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan is made from."""

    node: Node
    services: Mapping[ObjectKey, ServiceView] = field(default_factory=dict)
    conflicts: Mapping[ObjectKey, tuple[Conflict, ...]] = field(default_factory=dict)  # by the Service that lost
    # keys whose view is another than in the collector's snapshot before, those that are gone included; None: any may be
    changed: frozenset[ObjectKey] | None = field(default=None, compare=False)
    revision: int = field(default=0, compare=False)
    since: int = field(default=0, compare=False)  # the revision that `changed` compares with

    def changed_since(self, revision: int) -> frozenset[ObjectKey] | None:
        """Keys that differ from the snapshot of that revision, as far as it is known; None: any may."""
        return _changed_since(self, revision)


class Scope(Enum):
    """Which of a service port's endpoints are meant: all that are usable, or those on this node."""

    CLUSTER = "cluster"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Forward:
    """Send to one of the targets."""

    targets: tuple[Target, ...]
    masquerade: bool
    scope: Scope = Scope.CLUSTER


@dataclass(frozen=True, slots=True)
class Drop:
    """No answer: there are endpoints, but none here."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Connection refused: there are no endpoints."""


Outcome: TypeAlias = Forward | Drop | Reject


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens at a frontend, by where the packet comes from."""

    name: PortName
    kind: FrontendKind
    from_pods: Outcome
    from_node: Outcome
    from_others: Outcome
    affinity_seconds: int = 0
    source_ranges: tuple[IPNetwork, ...] = ()
    scheduler: str = ""
    weights: Mapping[Target, int] = field(default_factory=lambda: NO_WEIGHTS)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What a load balancer asks of a Service with external policy Local: where, and how many endpoints are here."""

    node_port: int
    local_endpoints: int  # ready ones


Flows: TypeAlias = Mapping[Frontend, frozenset[tuple[object, int]]]


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """The rules of one Service. `flows`: where UDP flows to a frontend may go on to, terminating endpoints included."""

    rules: Mapping[Frontend, Rule]
    cluster_ips: frozenset[IPAddress] = frozenset()
    flows: Flows = field(default_factory=dict)
    health: HealthCheck | None = None
    endpoints: int = 0  # of all ports, usable or not


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that this node is to do. Services are reused by identity while nothing about them changes."""

    node: Node
    services: Mapping[ObjectKey, ServicePlan] = field(default_factory=dict)
    # keys whose plan is another than in the planner's plan before, those that are gone included; None: any may be
    changed: frozenset[ObjectKey] | None = field(default=None, compare=False)
    revision: int = field(default=0, compare=False)
    since: int = field(default=0, compare=False)  # the revision that `changed` compares with
    _index: list[Index] = field(default_factory=list, init=False, repr=False, compare=False)

    def changed_since(self, revision: int) -> frozenset[ObjectKey] | None:
        """Keys that differ from the plan of that revision, as far as it is known; None: any may.

        A reader that keeps the revision of the plan that it took last, 0 at first, cannot miss a change.
        """
        return _changed_since(self, revision)

    @property
    def index(self) -> Index:
        """All frontends in one place, made when it is first asked for."""
        if not self._index:
            self._index.append(Index.of(self.services.values()))
        return self._index[0]


@dataclass(frozen=True, slots=True)
class Index:
    """What is at an address, over all Services."""

    rules: Mapping[Frontend, Rule]
    cluster_ips: frozenset[IPAddress]
    addresses: frozenset[IPAddress]  # cluster IPs, external IPs and load balancer IPs

    @classmethod
    def of(cls, services: Iterable[ServicePlan]) -> Index:
        found = tuple(services)
        rules = {frontend: rule for service in found for frontend, rule in service.rules.items()}
        cluster_ips = frozenset(address for service in found for address in service.cluster_ips)
        return cls(rules, cluster_ips, frozenset(frontend.address for frontend in rules if frontend.address))


def _changed_since(found: Snapshot | Plan, revision: int) -> frozenset[ObjectKey] | None:
    if revision and revision == found.revision:
        return frozenset()
    return found.changed if revision and revision == found.since else None
