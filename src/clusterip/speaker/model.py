"""What a speaker reads of Services, EndpointSlices and Nodes.

Stage: snapshot.  In: the API's trees.  Out: frozen values.
Rules: pure; only fields that an announcement depends on, and what an event about the Service needs.
Truth: core/v1 Service and Node, discovery.k8s.io/v1 EndpointSlice; MetalLB 0.16: who is ready or serving takes traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clusterip.api.addresses import balancers_of
from clusterip.api.endpointslice import is_ready, service_of
from clusterip.api.meta import Tree, annotations_of, labels_of
from clusterip.api.metallb import ALLOW_SHARED, EXCLUDED_NODE_LABEL, Address, has_annotation
from clusterip.api.names import parse_address

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Service:
    """A Service as it may be announced."""

    key: Key
    uid: str = ""
    is_balancer: bool = True
    balancer_class: str = ""
    addresses: tuple[Address, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    is_local: bool = False  # externalTrafficPolicy
    shares: bool = False  # its address with others

    @property
    def name(self) -> str:
        return "/".join(self.key)


@dataclass(frozen=True, slots=True)
class Slice:
    """The nodes of one EndpointSlice's endpoints that can take traffic; "" for one that is on no node."""

    service: Key
    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    name: str
    addresses: tuple[Address, ...] = ()  # the internal ones
    labels: Mapping[str, str] = field(default_factory=dict)
    is_cut_off: bool = False  # NetworkUnavailable

    @property
    def is_excluded(self) -> bool:
        """Whether it asks not to be sent traffic from outside."""
        return EXCLUDED_NODE_LABEL in self.labels


def read_service(tree: Tree) -> Service:
    meta, spec = tree["metadata"], tree.get("spec") or {}
    key, uid = (meta["namespace"], meta["name"]), meta.get("uid", "")
    if spec.get("type") != "LoadBalancer":
        return Service(key, uid, False)
    notes = annotations_of(tree)
    return Service(
        key,
        uid,
        True,
        spec.get("loadBalancerClass") or "",
        _ingress(tree),
        labels_of(tree),
        spec.get("externalTrafficPolicy") == "Local",
        has_annotation(notes, ALLOW_SHARED),
    )


def _ingress(tree: Tree) -> tuple[Address, ...]:
    """The addresses shown; one that is none makes all of them unusable."""
    found = [parse_address(each.get("ip") or "") for each in balancers_of(tree)]
    known = tuple(address for address in found if address is not None)
    return known if len(known) == len(found) else ()


def read_slice(tree: Tree) -> Slice:
    serving = [each.get("nodeName") or "" for each in tree.get("endpoints") or () if _serves(each)]
    return Slice(service_of(tree), frozenset(serving))


def _serves(endpoint: Tree) -> bool:
    return is_ready(endpoint) or bool((endpoint.get("conditions") or {}).get("serving"))


def read_node(tree: Tree) -> Node:
    status = tree.get("status") or {}
    internal = [each["address"] for each in status.get("addresses") or () if each.get("type") == "InternalIP"]
    unavailable = [each for each in status.get("conditions") or () if each.get("type") == "NetworkUnavailable"]
    return Node(
        tree["metadata"]["name"],
        tuple(address for address in map(parse_address, internal) if address is not None),
        labels_of(tree),
        any(each.get("status") == "True" for each in unavailable),
    )
