"""What the proxy knows and decides, as values: service ports, endpoints, the node, frontends, rules, packets, verdicts.

Stage: none; values.  Rules: pure; nothing here names a backend.  One IP family: IPv4.
Truth: core/v1 Service, discovery/v1 EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple, TypeAlias

from clusterip.api.meta import ObjectKey


class Family(IntEnum):
    """An IP family; the number is the version in the header."""

    IPV4 = 4
    IPV6 = 6

    @property
    def table(self) -> str:
        """As nft names it."""
        return "ip" if self is Family.IPV4 else "ip6"


@dataclass(frozen=True, slots=True)
class Traits:
    """Where the modes differ, as upstream's do."""


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

    address: IPv4Address | None
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.address or 'node'}:{self.port}/{self.protocol}"


class Target(NamedTuple):
    """Where a packet may go: an endpoint's address and port, and whether it is on this node."""

    address: IPv4Address
    port: int
    is_local: bool = False

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of one service port."""

    target: Target
    is_ready: bool = True
    is_serving: bool = True
    is_terminating: bool = False
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service, with the frontends that are its own once conflicts are settled."""

    name: PortName
    frontends: tuple[tuple[FrontendKind, Frontend], ...]
    endpoints: tuple[Endpoint, ...] = ()
    internal_policy_local: bool = False
    external_policy_local: bool = False
    affinity_seconds: int = 0  # 0: no affinity
    source_ranges: tuple[IPv4Network, ...] = ()  # of load balancer IPs; none: everybody


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One Service as the proxy sees it."""

    key: ObjectKey
    ports: tuple[ServicePort, ...]


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """How traffic of this cluster's pods is known: by source network, or by the interface that it comes in by."""

    network: IPv4Network | None = None
    interface: str = ""  # may end in *

    def covers(self, packet: Packet) -> bool:
        if self.network is not None:
            return packet.source in self.network
        if self.interface.endswith("*"):
            return packet.interface.startswith(self.interface[:-1]) and bool(packet.interface)
        return bool(self.interface) and packet.interface == self.interface


@dataclass(frozen=True, slots=True)
class Node:
    """This node, and what was configured for it."""

    name: str
    addresses: tuple[IPv4Address, ...] = ()
    zone: str = ""
    pod_traffic: PodTraffic | None = None
    masquerade_all: bool = False
    node_port_addresses: frozenset[IPv4Address] | None = frozenset()  # None: every local address but loopback
    service_networks: tuple[IPv4Network, ...] = ()

    def takes_node_ports(self, address: IPv4Address) -> bool:
        if self.node_port_addresses is None:
            return address in self.addresses
        return address in self.node_port_addresses


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan is made from."""

    node: Node
    services: Mapping[ObjectKey, ServiceView] = field(default_factory=dict)


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
    source_ranges: tuple[IPv4Network, ...] = ()


Flows: TypeAlias = Mapping[Frontend, frozenset[tuple[object, int]]]


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """The rules of one Service. `flows`: where UDP flows to a frontend may go on to, terminating endpoints included."""

    rules: Mapping[Frontend, Rule]
    cluster_ips: frozenset[IPv4Address] = frozenset()
    flows: Flows = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that this node is to do. Services are reused by identity while nothing about them changes."""

    node: Node
    services: Mapping[ObjectKey, ServicePlan] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. One without an interface was made on this node."""

    source: IPv4Address
    destination: IPv4Address
    protocol: str
    port: int
    interface: str = ""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Not for a Service: the packet goes its way."""


class Delivery(NamedTuple):
    """One way that a packet may take, and whether the endpoint sees the node's address instead of the sender's."""

    address: IPv4Address
    port: int
    masqueraded: bool


@dataclass(frozen=True, slots=True)
class Deliver:
    """The packet goes to one of these."""

    ways: frozenset[Delivery]


Verdict: TypeAlias = Ignore | Drop | Reject | Deliver
