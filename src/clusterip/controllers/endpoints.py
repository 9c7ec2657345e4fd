"""Services with a selector -> Endpoints, the older form of EndpointSlices.

Stage: plan.  In: one Service, the pods that its selector matches, its Endpoints.  Out: writes.
Rules: pure; one address family; terminating and finished pods are not in it (the former are, when not-ready ones are
published); ports with the same addresses share a subset.
Truth: core/v1 Endpoints, its controller's recorded answers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clusterip.api.meta import Tree
from clusterip.client.names import ENDPOINTS
from clusterip.controllers.endpointslice import HEADLESS, TRIGGER_TIME
from clusterip.controllers.model import Endpoints, Pod, Service
from clusterip.controllers.podendpoints import addresses_of, family_of, has_name_in, resolved_ports, target_of
from clusterip.controllers.writes import Create, Delete, Patch, Write

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
RESERVED_LABELS = frozenset({MANAGED_BY, HEADLESS})
ADDRESS_LIMIT = 1000

Port = tuple[str, int, str, str | None]  # name, number, protocol, application protocol


@dataclass(frozen=True, slots=True)
class Address:
    ip: str
    ready: bool
    uid: str

    def order(self) -> tuple[bytes, str]:
        return ipaddress.ip_address(self.ip).packed, self.uid


def reconcile(service: Service, pods: Iterable[Pod], known: Endpoints | None) -> tuple[Write, ...]:
    """The writes that make the Service's Endpoints tell of its pods."""
    if not service.spec.selector or service.spec.type == "ExternalName" or service.metadata.is_terminating:
        return ()
    chosen = [pod for pod in pods if _is_used(service, pod)]
    subsets = _subsets(service, chosen)
    subsets, truncated = _within_capacity(subsets)
    trigger = _trigger_time(service, chosen)
    labels = _labels(service)
    if known is None:
        return (_create(service, subsets, labels, _annotations(trigger, truncated)),)
    is_same = (
        _canonical(known.subsets) == _canonical(subsets)
        and known.metadata.labels == labels
        and (OVER_CAPACITY in known.metadata.annotations) == truncated
    )
    return () if is_same else (_update(known, subsets, labels, _annotations(trigger, truncated)),)


def leftover(known: Endpoints) -> tuple[Write, ...]:
    """Endpoints whose Service is gone go too."""
    meta = known.metadata
    return (Delete(ENDPOINTS, meta.namespace, meta.name, uid=meta.uid),)


def is_ours(known: Endpoints) -> bool:
    return known.metadata.labels.get(MANAGED_BY) == CONTROLLER


def _is_used(service: Service, pod: Pod) -> bool:
    if pod.is_finished or not addresses_of(pod, _family(service)):
        return False
    return service.spec.publish_not_ready_addresses or not pod.metadata.is_terminating


def _family(service: Service) -> str:
    if service.spec.ip_families:
        return service.spec.ip_families[0]
    address = service.spec.cluster_ip
    return family_of(address) if address and address != "None" else "IPv4"


def _subsets(service: Service, pods: Iterable[Pod]) -> list[Tree]:
    """Ports with equal sets of addresses share a subset."""
    trees: dict[Address, Tree] = {}
    addresses_of_port: dict[Port | None, set[Address]] = {}
    headless_without_ports = not service.spec.ports and service.spec.cluster_ip == "None"
    for pod in pods:
        address = Address(
            addresses_of(pod, _family(service))[0],
            pod.is_ready or service.spec.publish_not_ready_addresses,
            pod.metadata.uid or pod.metadata.name,
        )
        trees[address] = _address(service, pod, address.ip)
        ports: list[Port | None] = [
            (name, port, protocol, app) for name, protocol, port, app in resolved_ports(service, pod)
        ]
        for entry in [None] if headless_without_ports else ports:
            addresses_of_port.setdefault(entry, set()).add(address)
    shared: dict[frozenset[Address], list[Port | None]] = {}
    for entry, addresses in addresses_of_port.items():
        shared.setdefault(frozenset(addresses), []).append(entry)
    return [_subset(addresses, ports, trees) for addresses, ports in sorted(shared.items(), key=_first_port)]


def _first_port(entry: tuple[frozenset[Address], list[Port | None]]) -> list[tuple[str, int, str]]:
    return sorted(port[:3] for port in entry[1] if port)


def _subset(addresses: Iterable[Address], ports: Iterable[Port | None], trees: Mapping[Address, Tree]) -> Tree:
    ordered = sorted(addresses, key=Address.order)
    ready = [trees[address] for address in ordered if address.ready]
    not_ready = [trees[address] for address in ordered if not address.ready]
    found = [_port(port) for port in sorted(filter(None, ports), key=lambda port: port[:3])]
    subset = {"addresses": ready, "notReadyAddresses": not_ready, "ports": found}
    return {name: value for name, value in subset.items() if value}


def _port(port: Port) -> Tree:
    name, number, protocol, application = port
    tree: Tree = {"name": name} if name else {}
    tree |= {"port": number, "protocol": protocol}
    return tree | ({"appProtocol": application} if application else {})


def _address(service: Service, pod: Pod, ip: str) -> Tree:
    tree: Tree = {"ip": ip, "targetRef": target_of(pod.metadata)}
    if pod.spec.node_name:
        tree["nodeName"] = pod.spec.node_name
    if has_name_in(pod, service):
        tree["hostname"] = pod.spec.hostname
    return tree


def _within_capacity(subsets: list[Tree]) -> tuple[list[Tree], bool]:
    """At most a thousand addresses, ready ones first, each subset cut in proportion; whether anything was cut."""
    ready = sum(len(subset.get("addresses", ())) for subset in subsets)
    rest = sum(len(subset.get("notReadyAddresses", ())) for subset in subsets)
    if ready + rest <= ADDRESS_LIMIT:
        return subsets, False
    keep_ready = min(ready, ADDRESS_LIMIT)
    keep_rest = ADDRESS_LIMIT - keep_ready
    return [_cut(subset, keep_ready / max(ready, 1), keep_rest / max(rest, 1)) for subset in subsets], True


def _cut(subset: Tree, ready_share: float, rest_share: float) -> Tree:
    cut = dict(subset)
    for name, share in (("addresses", ready_share), ("notReadyAddresses", rest_share)):
        if name in cut:
            cut[name] = cut[name][: int(len(cut[name]) * share)]
            if not cut[name]:
                del cut[name]
    return cut


def _trigger_time(service: Service, pods: Iterable[Pod]) -> str | None:
    times = [service.metadata.creation_timestamp]
    for pod in pods:
        ready = pod.condition("Ready")
        times.append(ready.last_transition_time if ready else None)
    return max((time for time in times if time), default=None)


def _labels(service: Service) -> dict[str, str]:
    labels = {name: value for name, value in service.metadata.labels.items() if name not in RESERVED_LABELS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels | {MANAGED_BY: CONTROLLER}


def _annotations(trigger: str | None, truncated: bool) -> dict[str, str | None]:
    return {TRIGGER_TIME: trigger, OVER_CAPACITY: "truncated" if truncated else None}


def _canonical(subsets: Iterable[Tree] | None) -> list[str]:
    """Subsets whatever their order."""
    return sorted(repr(_sorted(subset)) for subset in subsets or ())


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return sorted((name, _sorted(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    return value


def _create(
    service: Service, subsets: list[Tree], labels: Mapping[str, str], annotations: Mapping[str, str | None]
) -> Create:
    metadata = {
        "name": service.metadata.name,
        "namespace": service.metadata.namespace,
        "labels": dict(labels),
        "annotations": {name: value for name, value in annotations.items() if value},
    }
    tree: Tree = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    return Create(ENDPOINTS, tree | ({"subsets": subsets} if subsets else {}))


def _update(
    known: Endpoints, subsets: list[Tree], labels: Mapping[str, str], annotations: Mapping[str, str | None]
) -> Patch:
    meta = known.metadata
    removed = {name: None for name in meta.labels if name not in labels}
    metadata = {
        "resourceVersion": meta.resource_version,
        "labels": {**labels, **removed},
        "annotations": dict(annotations),
    }
    return Patch(ENDPOINTS, meta.namespace, meta.name, {"metadata": metadata, "subsets": subsets or None})
