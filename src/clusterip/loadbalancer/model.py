"""What the address controller reads of a Service.

Stage: snapshot.  In: a Service's tree.  Out: a frozen Service.
Rules: pure; of a Service of another type only what may have to be cleared is kept.
Truth: core/v1 Service; MetalLB 0.16's annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from clusterip.api.addresses import balancers_of
from clusterip.api.meta import Tree, annotations_of, labels_of
from clusterip.api.metallb import ALLOCATED_FROM, ALLOW_SHARED, Address, annotation
from clusterip.api.names import parse_address

LOAD_BALANCER = "LoadBalancer"
SINGLE, PREFER_DUAL, REQUIRE_DUAL = "SingleStack", "PreferDualStack", "RequireDualStack"
Key = tuple[str, str]


class Port(NamedTuple):
    protocol: str
    number: int

    def __str__(self) -> str:
        return f"{self.protocol}/{self.number}"


class Claim(NamedTuple):
    """With whom a Service would share an address: equal claims may, when their ports differ."""

    sharing: str = ""
    backend: str = ""


ALONE = Claim()


@dataclass(frozen=True, slots=True)
class Service:
    """A Service as the address controller sees it."""

    key: Key
    type: str
    balancer_class: str | None = None
    ingress: tuple[str, ...] = ()  # the texts of status.loadBalancer.ingress[].ip
    allocated_from: str | None = None
    cluster_ips: tuple[Address, ...] = ()
    family_policy: str = SINGLE
    first_family: int = 4
    ports: tuple[Port, ...] = ()
    claim: Claim = ALONE
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    wanted_address: str = ""  # spec.loadBalancerIP
    tree: Tree = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return "/".join(self.key)

    @property
    def is_balancer(self) -> bool:
        return self.type == LOAD_BALANCER

    @property
    def is_marked(self) -> bool:
        """Whether there is anything of ours to clear."""
        return bool(self.ingress) or self.allocated_from is not None

    @property
    def family(self) -> int:
        """4, 6, or 0 for both."""
        versions = {address.version for address in self.cluster_ips}
        return 0 if len(versions) > 1 else next(iter(versions), 4)


def read_service(tree: Tree) -> Service:
    meta, spec = tree["metadata"], tree.get("spec") or {}
    notes = annotations_of(tree)
    head = Service(
        (meta["namespace"], meta["name"]),
        spec.get("type") or "",
        ingress=_ingress(tree),
        allocated_from=notes.get(ALLOCATED_FROM),
    )
    if not head.is_balancer:
        return head if not head.is_marked else _marked(head, tree)
    families = spec.get("ipFamilies") or ()
    return Service(
        head.key,
        head.type,
        spec.get("loadBalancerClass"),
        head.ingress,
        head.allocated_from,
        _cluster_ips(spec),
        spec.get("ipFamilyPolicy") or SINGLE,
        6 if families and families[0] == "IPv6" else 4,
        tuple(Port(port.get("protocol") or "TCP", int(port["port"])) for port in spec.get("ports") or ()),
        Claim(annotation(notes, ALLOW_SHARED), _backend(spec)),
        labels_of(tree),
        notes,
        spec.get("loadBalancerIP") or "",
        tree,
    )


def _marked(head: Service, tree: Tree) -> Service:
    return Service(head.key, head.type, None, head.ingress, head.allocated_from, tree=tree)


def _ingress(tree: Tree) -> tuple[str, ...]:
    return tuple(each["ip"] for each in balancers_of(tree) if each.get("ip"))


def _cluster_ips(spec: Tree) -> tuple[Address, ...]:
    texts = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return tuple(address for address in map(parse_address, texts) if address is not None)


def _backend(spec: Tree) -> str:
    """Who takes the packets of a Service that keeps the client's address: another's pods must not be asked."""
    if spec.get("externalTrafficPolicy") != "Local":
        return ""
    return ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
