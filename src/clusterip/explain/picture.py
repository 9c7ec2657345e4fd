"""One moment of a cluster: the objects that a Service's traffic depends on, and what was seen beside the API.

Stage: snapshot.  In: trees of the API, Evidence.  Out: Picture, with indexes that are made when they are asked for.
Rules: pure.  What could not be looked at is in `unseen`, so that its absence is never taken for a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

from clusterip.api.endpointslice import service_of
from clusterip.api.meta import ObjectKey, Tree, key_of, labels_of, name_of, namespace_of, spec_of, status_of, uid_of
from clusterip.explain.sockets import Socket

K = TypeVar("K", bound=Hashable)

SYSTEM = "kube-system"
NODE_PORTS = (30000, 32767)


@dataclass(frozen=True, slots=True)
class Tracked:
    """The connections that a kernel tracks, those included that ended a while ago, and how many it can."""

    count: int
    most: int


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """What was seen on a node itself."""

    tables: frozenset[str] | None = None  # nftables that there are, "ip kube-proxy"; None: not known
    sockets: tuple[Socket, ...] = ()
    tracked: Tracked | None = None  # None: not known


@dataclass(frozen=True, slots=True)
class Question:
    """A name that was asked for, and what came back. `trouble` is empty when the answer was right."""

    server: str
    name: str
    node: str
    trouble: str = ""
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tried:
    """A connection from a node to a Service's cluster IP. `trouble` is empty when it was accepted."""

    node: str
    service: ObjectKey
    frontend: str
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known beside the API: of a cluster on this machine alone."""

    is_own: bool = False
    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)
    pods: Mapping[str, tuple[Socket, ...]] = field(default_factory=dict)  # by uid: what its processes listen on
    questions: tuple[Question, ...] = ()
    tried: tuple[Tried, ...] = ()
    node_ports: tuple[int, int] | None = None
    proxy_mode: str = ""
    logs: Mapping[ObjectKey, str] = field(default_factory=dict)  # the last lines of pods that end by themselves


@dataclass(frozen=True)
class Picture:
    """All of it. A field is named as the resource is in the API."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    services: tuple[Tree, ...] = ()
    endpointslices: tuple[Tree, ...] = ()
    pods: tuple[Tree, ...] = ()
    nodes: tuple[Tree, ...] = ()
    namespaces: tuple[Tree, ...] = ()
    events: tuple[Tree, ...] = ()
    deployments: tuple[Tree, ...] = ()
    daemonsets: tuple[Tree, ...] = ()
    networkpolicies: tuple[Tree, ...] = ()
    ingresses: tuple[Tree, ...] = ()
    ingressclasses: tuple[Tree, ...] = ()
    secrets: tuple[Tree, ...] = ()  # names and types of those for TLS; never what is in them
    ipaddresspools: tuple[Tree, ...] = ()
    l2advertisements: tuple[Tree, ...] = ()
    bgpadvertisements: tuple[Tree, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)  # resource -> why
    domain: str = "cluster.local"
    evidence: Evidence = Evidence()

    @cached_property
    def services_by_key(self) -> Mapping[ObjectKey, Tree]:
        return {key_of(tree): tree for tree in self.services}

    @cached_property
    def pods_by_namespace(self) -> Mapping[str, tuple[Tree, ...]]:
        return _grouped(self.pods, namespace_of)

    @cached_property
    def pods_by_key(self) -> Mapping[ObjectKey, Tree]:
        return {key_of(tree): tree for tree in self.pods}

    @cached_property
    def pods_by_label(self) -> Mapping[tuple[str, str, str], tuple[Tree, ...]]:
        """By namespace, label and value."""
        return _gathered(
            ((namespace_of(pod), name, value), pod) for pod in self.pods for name, value in labels_of(pod).items()
        )

    @cached_property
    def slices_by_service(self) -> Mapping[ObjectKey, tuple[Tree, ...]]:
        return _grouped(self.endpointslices, service_of)

    @cached_property
    def policies_by_namespace(self) -> Mapping[str, tuple[Tree, ...]]:
        return _grouped(self.networkpolicies, namespace_of)

    @cached_property
    def nodes_by_name(self) -> Mapping[str, Tree]:
        return {name_of(tree): tree for tree in self.nodes}

    @cached_property
    def events_by_object(self) -> Mapping[tuple[str, str, str], tuple[Tree, ...]]:
        """By kind, namespace and name; the newest first."""
        found = _grouped(self.events, _involved)
        return {key: tuple(sorted(each, key=_moment, reverse=True)) for key, each in found.items()}

    @cached_property
    def node_port_users(self) -> Mapping[tuple[int, str], tuple[Tree, ...]]:
        """Services by node port and protocol."""
        return _gathered(
            ((port["nodePort"], protocol_of(port)), tree)
            for tree in self.services
            for port in spec_of(tree).get("ports") or ()
            if port.get("nodePort")
        )

    @cached_property
    def external_ip_users(self) -> Mapping[tuple[str, int, str], tuple[Tree, ...]]:
        """Services by external IP, port and protocol."""
        return _gathered(
            ((address, port.get("port"), protocol_of(port)), tree)
            for tree in self.services
            for address, port in product(spec_of(tree).get("externalIPs") or (), spec_of(tree).get("ports") or ())
        )

    @cached_property
    def host_port_users(self) -> Mapping[tuple[int, str], tuple[Tree, ...]]:
        """Pods by host port and protocol; those in the host's network have none that anybody translates."""
        return _gathered(
            ((port["hostPort"], protocol_of(port)), pod)
            for pod in self.pods
            if not (spec_of(pod).get("hostNetwork") or status_of(pod).get("phase") in ("Succeeded", "Failed"))
            for container in spec_of(pod).get("containers") or ()
            for port in container.get("ports") or ()
            if port.get("hostPort")
        )

    def selected(self, namespace: str, selector: Mapping[str, str]) -> tuple[Tree, ...]:
        """The pods of a namespace that have all of the labels."""
        pairs = list(selector.items())
        groups = [self.pods_by_label.get((namespace, *pair), ()) for pair in pairs]
        smallest = min(groups, key=len, default=())
        return tuple(pod for pod in smallest if all(labels_of(pod).get(name) == value for name, value in pairs))

    def pods_of(self, service: Tree) -> tuple[Tree, ...]:
        """The pods that a Service's selector means."""
        selector = spec_of(service).get("selector")
        return self.selected(namespace_of(service), selector) if selector else ()

    def slices_of(self, service: Tree) -> tuple[Tree, ...]:
        return self.slices_by_service.get(key_of(service), ())

    def warnings(self, kind: str, tree: Tree) -> tuple[Tree, ...]:
        """What was complained of an object, the newest first; an earlier object of that name does not count."""
        found = self.events_by_object.get((kind, namespace_of(tree), name_of(tree)), ())
        return tuple(each for each in found if (each["involvedObject"].get("uid") or uid_of(tree)) == uid_of(tree))

    def age_seconds(self, tree: Tree) -> float:
        return (self.now - parsed(tree["metadata"].get("creationTimestamp"), self.now)).total_seconds()


def parsed(text: str | None, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text) if text else otherwise
    except ValueError:
        return otherwise


def protocol_of(port: Mapping[str, Any]) -> str:
    return port.get("protocol") or "TCP"


def _grouped(trees: Iterable[Tree], key: Callable[[Tree], K]) -> dict[K, tuple[Tree, ...]]:
    return _gathered((key(tree), tree) for tree in trees)


def _gathered(pairs: Iterable[tuple[K, Tree]]) -> dict[K, tuple[Tree, ...]]:
    """All trees of each key, in their order."""
    found: dict[K, list[Tree]] = {}
    for key, tree in pairs:
        found.setdefault(key, []).append(tree)
    return {key: tuple(trees) for key, trees in found.items()}


def _involved(event: Tree) -> tuple[str, str, str]:
    about = event.get("involvedObject") or {}
    return about.get("kind") or "", about.get("namespace") or "", about.get("name") or ""


def _moment(event: Tree) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""
