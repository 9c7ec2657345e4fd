"""What the objects of metallb.io mean once they are read: pools, advertisements, peers, profiles; and refusals.

Stage: none; frozen values.  In: nothing; `metallb_pools`, `metallb_advertisements` and `metallb_peers` make them of
trees, `metallb_config` puts them together.  Out: what the address controller and the speakers decide with.
Rules: pure; selectors of nodes are resolved to names here, selectors of Services are kept.
Truth: MetalLB 0.16's API (metallb.io/v1beta1, BGPPeer v1beta2) and what its controller and speaker make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from clusterip.api.meta import Tree
from clusterip.api.selectors import LabelSelector

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GROUP = "metallb.io"
PREFIX = "metallb.io/"
DEPRECATED_PREFIX = "metallb.universe.tf/"
ADDRESS_POOL = "address-pool"
ADDRESSES = "loadBalancerIPs"
ALLOW_SHARED = "allow-shared-ip"
ALLOCATED_FROM = PREFIX + "ip-allocated-from-pool"
NODE_LABEL = PREFIX + "node"
SERVICE_LABEL = PREFIX + "service-name"
SERVICE_NAMESPACE_LABEL = PREFIX + "service-namespace"
EXCLUDED_NODE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"

LAYER2, BGP = "layer2", "bgp"


class ConfigError(ValueError):
    """Why a configuration is refused: what, where and why, in one line."""


class WaitsForOther(ConfigError):
    """Refused for what is not there yet (a profile, a Secret, an alias): the order of writes must not matter."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """To which Services a pool gives addresses by itself. Namespaces and selectors must both agree."""

    priority: int = 0  # lower first; 0 comes last
    namespaces: frozenset[str] = frozenset()
    services: tuple[LabelSelector, ...] = ()

    def allows(self, namespace: str, labels: Mapping[str, str]) -> bool:
        if self.namespaces and namespace not in self.namespaces:
            return False
        return not self.services or any(each.matches(labels) for each in self.services)


@dataclass(frozen=True, slots=True)
class L2Advertisement:
    """Who may answer for a pool's addresses on the LAN."""

    name: str
    nodes: frozenset[str]
    interfaces: frozenset[str] = frozenset()  # none: all of them
    services: tuple[LabelSelector, ...] = ()  # none: all of them
    preferred: Mapping[str, int] = field(default_factory=dict)  # node -> weight

    def selects(self, labels: Mapping[str, str]) -> bool:
        return not self.services or any(each.matches(labels) for each in self.services)


@dataclass(frozen=True, slots=True, order=True)
class Community:
    """A BGP community: standard (two halves) or large (three numbers)."""

    numbers: tuple[int, ...]

    @property
    def is_large(self) -> bool:
        return len(self.numbers) == 3

    def __str__(self) -> str:
        return ":".join(map(str, self.numbers))


@dataclass(frozen=True, slots=True)
class BgpAdvertisement:
    """How a pool's addresses are told to routers."""

    name: str
    nodes: frozenset[str]
    length4: int = 32
    length6: int = 128
    local_preference: int = 0
    communities: frozenset[Community] = frozenset()
    peers: frozenset[str] = frozenset()  # none: all of them
    services: tuple[LabelSelector, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        return not self.services or any(each.matches(labels) for each in self.services)


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses that may be given away, and how they are made known."""

    name: str
    networks: tuple[Network, ...]
    auto_assign: bool = True
    avoid_buggy: bool = False
    allocation: Allocation | None = None
    l2: tuple[L2Advertisement, ...] = ()
    bgp: tuple[BgpAdvertisement, ...] = ()
    entries: tuple[tuple[Network, ...], ...] = ()  # the networks of each entry of spec.addresses

    def __contains__(self, address: Address) -> bool:
        """Whether the address is in its ranges at all."""
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class BfdProfile:
    """Times in milliseconds; None is the default of who speaks (300 ms, multiplier 3)."""

    name: str
    receive_interval: int | None = None
    transmit_interval: int | None = None
    detect_multiplier: int | None = None
    echo_mode: bool = False
    passive_mode: bool = False
    minimum_ttl: int | None = None


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """One session that matching nodes keep with one router. Times in seconds; None: not asked for."""

    name: str
    my_asn: int
    peer_asn: int = 0  # 0: dynamic_asn says what is expected
    dynamic_asn: str = ""  # internal | external
    local_asn: int = 0
    address: Address | None = None
    interface: str = ""
    source: Address | None = None
    port: int = 179
    hold_seconds: float | None = None
    keepalive_seconds: float | None = None
    connect_seconds: float | None = None
    router_id: Address | None = None
    nodes: tuple[LabelSelector, ...] = (LabelSelector(),)
    password: str = field(default="", repr=False)  # the field's or the Secret's
    bfd_profile: str = ""
    graceful_restart: bool = False
    multi_hop: bool = False
    vrf: str = ""
    dual_stack: bool = False

    def selects(self, node_labels: Mapping[str, str]) -> bool:
        return any(each.matches(node_labels) for each in self.nodes)

    @property
    def identifier(self) -> str:
        """What tells sessions of one node apart."""
        place = str(self.address) if self.address is not None else self.interface
        return f"{place}-{self.vrf}" if self.vrf else place


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that was declared, valid together."""

    pools: Mapping[str, Pool] = field(default_factory=dict)
    peers: Mapping[str, BgpPeer] = field(default_factory=dict)
    profiles: Mapping[str, BfdProfile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resources:
    """The trees that a configuration is made of; Nodes and Namespaces for their labels, Secrets for passwords."""

    pools: tuple[Tree, ...] = ()
    l2: tuple[Tree, ...] = ()
    bgp: tuple[Tree, ...] = ()
    peers: tuple[Tree, ...] = ()
    profiles: tuple[Tree, ...] = ()
    communities: tuple[Tree, ...] = ()
    nodes: tuple[Tree, ...] = ()
    namespaces: tuple[Tree, ...] = ()
    secrets: tuple[Tree, ...] = ()


def annotation(annotations: Mapping[str, str], name: str) -> str:
    """An annotation of a Service: by its name of today, else by the deprecated one."""
    return annotations.get(PREFIX + name, annotations.get(DEPRECATED_PREFIX + name, ""))


def has_annotation(annotations: Mapping[str, str], name: str) -> bool:
    return PREFIX + name in annotations or DEPRECATED_PREFIX + name in annotations


def pool_of(pools: Mapping[str, Pool], addresses: tuple[Address, ...]) -> Pool | None:
    """The pool that may give all these addresses away."""
    for pool in pools.values():
        if all(each in pool and not (pool.avoid_buggy and is_buggy(each)) for each in addresses):
            return pool
    return None


def is_buggy(address: Address) -> bool:
    """An IPv4 address that ends in .0 or .255: some old devices take it for a network or a broadcast address."""
    return address.version == 4 and address.packed[3] in (0, 255)
