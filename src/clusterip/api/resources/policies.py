"""NetworkPolicy: who may speak with which pods.

Stage: none; a record and its pure functions.  Rules: stored and judged here; what acts on it is another part.
Truth: kube-apiserver's apis/networking defaults, validation and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from clusterip.api import address_warnings, names
from clusterip.api.checks import each, label_selector, reasons, supported_if_set
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.strategy import first_generation, next_generation
from clusterip.api.tables import AGE, NAME, at, fixed, selector_text

PROTOCOLS, TYPES = ("TCP", "UDP", "SCTP"), ("Ingress", "Egress")
DIRECTIONS = (("ingress", "from"), ("egress", "to"))
SELECTORS = ("podSelector", "namespaceSelector")


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    for direction, _ in DIRECTIONS:
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port["protocol"] = port.get("protocol") or "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in DIRECTIONS:
        for path, rule in each(f"spec.{direction}", spec.get(direction)):
            for where, port in each(f"{path}.ports", rule.get("ports")):
                found += _port(where, port)
            for where, peer in each(f"{path}.{peers}", rule.get(peers)):
                found += _peer(where, peer)
    return found + _types(spec.get("policyTypes") or [])


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate(new)


def _port(path: str, port: Tree) -> list[FieldError]:
    number, last = port.get("port"), port.get("endPort")
    found: list[FieldError] = []
    if number is None:
        if last is not None:
            found.append(invalid(f"{path}.endPort", last, "may not be specified when `port` is not specified"))
    elif isinstance(number, str):
        found += reasons(f"{path}.port", number, names.port_name)
        if last is not None:
            found.append(invalid(f"{path}.endPort", last, "may not be specified when `port` is non-numeric"))
    else:
        found += reasons(f"{path}.port", number, names.port_number)
        if last is not None:
            found += _last_port(f"{path}.endPort", number, last)
    return found + supported_if_set(f"{path}.protocol", port.get("protocol"), PROTOCOLS)


def _last_port(path: str, first: int, last: int) -> list[FieldError]:
    if last < first:
        return [invalid(path, first, "must be greater than or equal to `port`")]
    return reasons(path, last, names.port_number)


def _peer(path: str, peer: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    given = [field for field in (*SELECTORS, "ipBlock") if peer.get(field) is not None]
    for field in SELECTORS:
        found += label_selector(f"{path}.{field}", peer.get(field))
    if peer.get("ipBlock") is not None:
        found += _block(f"{path}.ipBlock", peer["ipBlock"])
    if not given:
        found.append(required(path, "must specify a peer"))
    elif "ipBlock" in given and len(given) > 1:
        found.append(forbidden(path, "may not specify both ipBlock and another peer"))
    return found


def _block(path: str, block: Tree) -> list[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [required(f"{path}.cidr")]
    if wrong := reasons(f"{path}.cidr", cidr, names.network):
        return wrong
    outer, found = ip_network(cidr), []
    for where, inner in each(f"{path}.except", block.get("except")):
        wrong = reasons(where, inner, names.network)
        if not wrong and not _is_strictly_inside(ip_network(inner), outer):
            wrong = [invalid(where, inner, "must be a strict subset of `cidr`")]
        found += wrong
    return found


def _is_strictly_inside(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    return inner.version == outer.version and inner != outer and inner.subnet_of(outer)  # type: ignore[arg-type]


def _types(types: list[Any]) -> list[FieldError]:
    if len(types) > len(TYPES):
        return [invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    return [not_supported(path, kind, TYPES) for path, kind in each("spec.policyTypes", types) if kind not in TYPES]


NETWORK_POLICY = Resource(
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    short_names=("netpol",),
    schema="io.k8s.api.networking.v1.NetworkPolicy",
    columns=(
        NAME,
        Column(
            "Pod-Selector",
            fixed(lambda tree: selector_text(at(tree, "spec", "podSelector"))),
            says="@networking.v1.NetworkPolicySpec.podSelector",
        ),
        AGE,
    ),
    default=_default,
    warnings=address_warnings.of_network_policy,
    prepare_create=first_generation,
    prepare_update=next_generation("spec"),
    validate=_validate,
    validate_update=_validate_update,
    name_rule=name_is_subdomain,
)
