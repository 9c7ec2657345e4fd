"""What the policy agent knows: pods, namespaces, policies, the node; and a packet that asks.

Stage: none; frozen values.  Rules: pure; an object that says the same again is an equal value, so that nothing follows.
Truth: networking.k8s.io/v1 NetworkPolicy; what it leaves open is said in docs/network-policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from clusterip.api.meta import ObjectKey
from clusterip.api.selectors import LabelSelector

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
Labels: TypeAlias = tuple[tuple[str, str], ...]

NAME_LABEL = "kubernetes.io/metadata.name"


class Direction(Enum):
    """Seen from the pod that a policy selects."""

    INGRESS = "Ingress"
    EGRESS = "Egress"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class PortName:
    """A port that a container has by name."""

    protocol: str
    name: str


@dataclass(frozen=True, slots=True)
class NamedPort:
    """What a name means for one pod."""

    name: PortName
    number: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has addresses of its own and has not ended."""

    key: ObjectKey
    labels: Labels
    addresses: tuple[IPAddress, ...]
    node: str
    ports: tuple[NamedPort, ...] = ()
    created: str = ""


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by label: of one namespace, or of those whose labels fit."""

    pods: LabelSelector
    namespace: str = ""
    namespaces: LabelSelector | None = None

    def __str__(self) -> str:
        where = self.namespace or f"namespaces ({self.namespaces})"
        return f"pods ({self.pods}) of {where}"


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses of a network without some."""

    network: IPNetwork
    excepts: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port of a protocol, one by name, or those of a range."""

    protocol: str
    name: str = ""
    first: int = 0
    last: int = 65535


@dataclass(frozen=True, slots=True)
class Allowance:
    """One rule: these peers on these ports; None stands for all of them."""

    peers: tuple[PodPeer | Block, ...] | None = None
    ports: tuple[Ports, ...] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Selected pods are isolated in each direction that is named, but for what is allowed."""

    key: ObjectKey
    pods: LabelSelector
    allowed: Mapping[Direction, tuple[Allowance, ...]]
    uid: str = field(default="", compare=False)
    fault: str = ""  # why it could not be read: then nothing is allowed


@dataclass(frozen=True, slots=True)
class Node:
    """This node: its own addresses, and where its pods' addresses come from."""

    name: str
    addresses: frozenset[IPAddress] = frozenset()
    pod_networks: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it at one moment. An address belongs to one pod; namespaces are known by their labels.

    `changed` are the addresses that differ from the picture of revision `since`; None: any may.
    """

    node: Node
    pods: Mapping[IPAddress, Pod] = field(default_factory=dict)
    namespaces: Mapping[str, Labels] = field(default_factory=dict)
    policies: Mapping[ObjectKey, Policy] = field(default_factory=dict)
    changed: frozenset[IPAddress] | None = field(default=None, compare=False)
    revision: int = field(default=0, compare=False)
    since: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it is forwarded: a Service's address has been replaced by a pod's already."""

    source: IPAddress
    destination: IPAddress
    protocol: str
    port: int = 0
    established: bool = False
