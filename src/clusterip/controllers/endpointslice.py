"""Services with a selector -> EndpointSlices.

Stage: plan.  In: one Service, the pods that its selector matches, its slices, zones of nodes.  Out: writes.
Rules: pure; slices of other controllers are never touched; a change rewrites as few slices as it can.
  1. every pod becomes an endpoint of one group: address family and resolved ports
  2. endpoints that a slice of the group holds stay there, changed in place
  3. the others fill slices that change anyway (fullest first), then one unchanged slice with room, then new slices
  4. slices that became superfluous take the content of new ones, or go; without any endpoint one empty slice stays
Truth: KEP-752, KEP-1672 (terminating), KEP-3015 and KEP-4444 (traffic distribution).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.api.meta import Tree
from clusterip.client.names import ENDPOINT_SLICES, SERVICES
from clusterip.controllers import topology
from clusterip.controllers.model import EndpointSlice, Meta, Pod, Service, ServicePort
from clusterip.controllers.writes import Create, Delete, Patch, Write, owned_by, owner_tree, warning

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
RESERVED_LABELS = frozenset({MANAGED_BY, SERVICE_NAME_LABEL, HEADLESS})
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
OLD_TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints"
SLICE_LIMIT = 100

Ports = tuple[tuple[str, str, int, str | None], ...]  # name, protocol, number, application protocol
Identity = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What all endpoints of a slice share."""

    family: str
    ports: Ports


@dataclass(slots=True)
class _Content:
    """What one slice will hold; built up inside one reconcile."""

    slice: EndpointSlice | None
    endpoints: list[Tree]
    changed: bool = False


@dataclass(slots=True)
class _Placed:
    update: list[_Content] = field(default_factory=list)
    same: list[_Content] = field(default_factory=list)
    empty: list[EndpointSlice] = field(default_factory=list)
    new: list[list[Tree]] = field(default_factory=list)


def concerns(service: Service) -> bool:
    """Whether this controller writes slices for the Service."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName" and not service.metadata.is_terminating


def is_ours(slice: EndpointSlice) -> bool:
    return slice.metadata.labels.get(MANAGED_BY) == CONTROLLER


def reconcile(
    service: Service,
    pods: Iterable[Pod],
    slices: Iterable[EndpointSlice],
    zones: Mapping[str, str | None],
    parts: topology.Shares | None = None,
) -> tuple[Write, ...]:
    """The writes that make the Service's slices tell of its pods. zones: existing node -> zone; parts: of zones."""
    if not concerns(service):
        return ()
    ours = [slice for slice in slices if is_ours(slice) and not slice.metadata.is_terminating]
    chosen = [pod for pod in pods if _is_used(service, pod, zones)]
    families = _families(service)
    wanted = _grouped(service, chosen, zones, families)
    if is_automatic(service):
        _hint(wanted, parts or {})
    trigger = _trigger_time(service, chosen)
    placed = _place(wanted, ours)
    return tuple(_writes(service, placed, wanted, families, trigger))


# -- 1. pods to endpoints ---------------------------------------------------------------------------------------------


def _families(service: Service) -> tuple[str, ...]:
    if service.spec.ip_families:
        return service.spec.ip_families
    addresses = [ip for ip in service.spec.cluster_ips or (service.spec.cluster_ip,) if ip and ip != "None"]
    return tuple(dict.fromkeys(map(family_of, addresses))) or ("IPv4",)


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _is_used(service: Service, pod: Pod, zones: Mapping[str, str | None]) -> bool:
    if pod.is_finished or not (pod.status.pod_ip or pod.status.pod_ips):
        return False
    return pod.spec.node_name in zones or service.spec.publish_not_ready_addresses


def _grouped(
    service: Service, pods: Iterable[Pod], zones: Mapping[str, str | None], families: Sequence[str]
) -> dict[Group, list[Tree]]:
    groups: dict[Group, list[Tree]] = {}
    for pod in pods:
        ports = resolved_ports(service, pod)
        for family in families:
            if addresses := addresses_of(pod, family):
                endpoint = _endpoint(service, pod, addresses, zones.get(pod.spec.node_name))
                groups.setdefault(Group(family, ports), []).append(endpoint)
    return groups


def addresses_of(pod: Pod, family: str) -> list[str]:
    """The pod's addresses of a family, in canonical form; what is no address is left out."""
    found = [entry.ip for entry in pod.status.pod_ips] or [pod.status.pod_ip]
    return [canonical for ip in found if ip and family_of(ip) == family and (canonical := _canonical(ip))]


def _canonical(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


def resolved_ports(service: Service, pod: Pod) -> Ports:
    """The Service's ports on this pod; a name that the pod does not have is left out."""
    found = []
    for port in service.spec.ports:
        number = target_port(port, pod)
        if number is not None:
            found.append((port.name, port.protocol, number, port.app_protocol))
    return tuple(sorted(found, key=lambda entry: entry[:3]))


def target_port(port: ServicePort, pod: Pod) -> int | None:
    if isinstance(port.target_port, int):
        return port.target_port or port.port
    sidecars = [container for container in pod.spec.init_containers if container.restart_policy == "Always"]
    for container in (*pod.spec.containers, *sidecars):
        for offered in container.ports:
            if offered.name == port.target_port and offered.protocol == port.protocol:
                return offered.container_port
    return None


def _endpoint(service: Service, pod: Pod, addresses: list[str], zone: str | None) -> Tree:
    serving, terminating = pod.is_ready, pod.metadata.is_terminating
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    endpoint: Tree = {
        "addresses": addresses,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target_of(pod.metadata),
    }
    if pod.spec.node_name:
        endpoint["nodeName"] = pod.spec.node_name
    if zone:
        endpoint["zone"] = zone
    if has_name_in(pod, service):
        endpoint["hostname"] = pod.spec.hostname
    if ready and (hints := _hints(_distribution(service), zone, pod.spec.node_name)):
        endpoint["hints"] = hints
    return endpoint


def target_of(meta: Meta) -> Tree:
    target = {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
    return {name: value for name, value in target.items() if value}


def has_name_in(pod: Pod, service: Service) -> bool:
    """Whether the pod has a DNS name of its own under the Service."""
    return bool(pod.spec.hostname) and pod.spec.subdomain == service.metadata.name


def _distribution(service: Service) -> str | None:
    """The older annotation wins over the field."""
    return None if is_automatic(service) else service.spec.traffic_distribution


def is_automatic(service: Service) -> bool:
    """Whether its endpoints are for zones by the zones' sizes."""
    annotations = service.metadata.annotations
    return (annotations.get(OLD_TOPOLOGY_MODE) or annotations.get(TOPOLOGY_MODE)) in ("Auto", "auto")


def _hint(groups: Mapping[Group, list[Tree]], parts: topology.Shares) -> None:
    """Endpoints that serve get their zones, all of an address family together."""
    for family in {group.family for group in groups}:
        ready = [
            endpoint
            for group, endpoints in sorted(groups.items(), key=lambda entry: str(entry[0].ports))
            for endpoint in sorted(endpoints, key=_order)
            if group.family == family and endpoint["conditions"]["ready"]
        ]
        for endpoint, zone in zip(ready, topology.allot([one.get("zone") for one in ready], parts), strict=False):
            endpoint["hints"] = {"forZones": [{"name": zone}]}


def _hints(distribution: str | None, zone: str | None, node: str) -> Tree:
    if distribution not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return {}
    hints: Tree = {"forZones": [{"name": zone}]} if zone else {}
    if distribution == "PreferSameNode" and node:
        hints["forNodes"] = [{"name": node}]
    return hints


def _trigger_time(service: Service, pods: Iterable[Pod]) -> str | None:
    """When the last thing happened that the slices tell of."""
    times = [service.metadata.creation_timestamp]
    for pod in pods:
        ready = pod.condition("Ready")
        times += [ready.last_transition_time if ready else None, pod.metadata.deletion_timestamp]
    return max((time for time in times if time), default=None)


# -- 2. and 3. endpoints to slices ------------------------------------------------------------------------------------


def _place(wanted: Mapping[Group, list[Tree]], ours: Iterable[EndpointSlice]) -> dict[Group, _Placed]:
    by_group: dict[Group, list[EndpointSlice]] = {}
    for slice in sorted(ours, key=lambda slice: slice.metadata.name):
        by_group.setdefault(group_of(slice), []).append(slice)
    groups = dict.fromkeys([*wanted, *by_group])
    return {group: _place_group(wanted.get(group, []), by_group.get(group, [])) for group in groups}


def group_of(slice: EndpointSlice) -> Group:
    """What the endpoints of a slice share."""
    ports = tuple(
        (port.get("name") or "", port.get("protocol") or "TCP", port.get("port") or 0, port.get("appProtocol"))
        for port in slice.ports or ()
    )
    return Group(slice.address_type, tuple(sorted(ports, key=lambda entry: entry[:3])))


def identity(endpoint: Tree) -> Identity:
    """What makes an endpoint the same one, whatever its conditions."""
    target = endpoint.get("targetRef") or {}
    return (target.get("uid") or target.get("name"), endpoint.get("nodeName"), tuple(endpoint["addresses"]))


def _place_group(wanted: list[Tree], slices: list[EndpointSlice]) -> _Placed:
    pending = {identity(endpoint): endpoint for endpoint in sorted(wanted, key=_order)}
    placed = _Placed()
    for slice in slices:
        _keep(slice, pending, placed)
    rest = list(pending.values())
    for content in sorted(placed.update, key=lambda content: -len(content.endpoints)):
        room = SLICE_LIMIT - len(content.endpoints)
        content.endpoints += rest[:room]
        rest = rest[room:]
    if rest and (roomy := _with_room(placed.same, len(rest))):
        roomy.endpoints += rest
        placed.same.remove(roomy)
        placed.update.append(roomy)
        rest = []
    placed.new = [rest[start : start + SLICE_LIMIT] for start in range(0, len(rest), SLICE_LIMIT)]
    return placed


def _order(endpoint: Tree) -> tuple[int, bytes]:
    address = ipaddress.ip_address(endpoint["addresses"][0])
    return address.version, address.packed


def _keep(slice: EndpointSlice, pending: dict[Identity, Tree], placed: _Placed) -> None:
    """Leave in the slice what it may keep, and say in which state that leaves it."""
    before = list(slice.endpoints or ())
    kept = [endpoint for old in before if (endpoint := pending.pop(identity(old), None)) is not None]
    if not kept:
        placed.empty.append(slice)
    elif kept == before:
        placed.same.append(_Content(slice, kept))
    else:
        placed.update.append(_Content(slice, kept, changed=True))


def _with_room(contents: Iterable[_Content], count: int) -> _Content | None:
    """The fullest slice that takes them all."""
    fitting = [content for content in contents if len(content.endpoints) + count <= SLICE_LIMIT]
    return max(fitting, key=lambda content: len(content.endpoints), default=None)


# -- 4. slices to writes ----------------------------------------------------------------------------------------------


def _writes(
    service: Service,
    placed: Mapping[Group, _Placed],
    wanted: Mapping[Group, list[Tree]],
    families: Sequence[str],
    trigger: str | None,
) -> Iterable[Write]:
    labels = labels_for(service)
    superfluous: list[tuple[Group, EndpointSlice]] = []
    fresh: list[tuple[Group, list[Tree]]] = []
    for group, content in placed.items():
        for kept in content.update:
            yield _update(service, kept.slice, group, kept.endpoints, labels, trigger)
        for kept in content.same:
            if kept.slice is not None and not _is_labelled(service, kept.slice, labels):
                yield _update(service, kept.slice, group, kept.endpoints, labels, trigger)
        superfluous += [(group, slice) for slice in content.empty]
        fresh += [(group, endpoints) for endpoints in content.new]
    for family in families:
        if not any(group.family == family for group in wanted):
            fresh.append((Group(family, ()), []))
    yield from _exchange(service, superfluous, fresh, labels, trigger)


def _exchange(
    service: Service,
    superfluous: list[tuple[Group, EndpointSlice]],
    fresh: list[tuple[Group, list[Tree]]],
    labels: Mapping[str, str],
    trigger: str | None,
) -> Iterable[Write]:
    """New content goes into superfluous slices of its family; what is left over is made or deleted."""
    for group, endpoints in fresh:
        found = next((entry for entry in superfluous if entry[0].family == group.family), None)
        if found is None:
            yield _create(service, group, endpoints, labels, trigger)
            continue
        superfluous.remove(found)
        slice = found[1]
        if endpoints or slice.endpoints or slice.ports or not _is_labelled(service, slice, labels):
            yield _update(service, slice, group, endpoints, labels, trigger)
    for _, slice in superfluous:
        meta = slice.metadata
        yield Delete(ENDPOINT_SLICES, meta.namespace, meta.name, uid=meta.uid)


def labels_for(service: Service) -> dict[str, str]:
    labels = {name: value for name, value in service.metadata.labels.items() if name not in RESERVED_LABELS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels | {SERVICE_NAME_LABEL: service.metadata.name, MANAGED_BY: CONTROLLER}


def _is_labelled(service: Service, slice: EndpointSlice, labels: Mapping[str, str]) -> bool:
    owner = slice.metadata.controller
    return slice.metadata.labels == labels and owner is not None and owner.uid == service.metadata.uid


def _ports(service: Service, group: Group) -> list[Tree]:
    """The group's ports in the order of the Service."""
    order = {port.name: number for number, port in enumerate(service.spec.ports)}
    ports = sorted(group.ports, key=lambda port: order.get(port[0], len(order)))
    return [
        {"name": name, "protocol": protocol, "port": number} | ({"appProtocol": application} if application else {})
        for name, protocol, number, application in ports
    ]


def _create(
    service: Service, group: Group, endpoints: list[Tree], labels: Mapping[str, str], trigger: str | None
) -> Create:
    meta = service.metadata
    tree: Tree = {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name}-",
            "namespace": meta.namespace,
            "labels": dict(labels),
            "ownerReferences": [owned_by(SERVICES, meta)],
        },
        "addressType": group.family,
        "endpoints": endpoints,
        "ports": _ports(service, group),
    }
    if trigger:
        tree["metadata"]["annotations"] = {TRIGGER_TIME: trigger}
    trouble = f"Error creating Endpoint Slices for Service {meta.namespace}/{meta.name}: {{error}}"
    return Create(ENDPOINT_SLICES, tree, failed=warning(SERVICES, meta, "FailedToCreateEndpointSlices", trouble))


def _update(
    service: Service,
    slice: EndpointSlice | None,
    group: Group,
    endpoints: list[Tree],
    labels: Mapping[str, str],
    trigger: str | None,
) -> Patch:
    assert slice is not None
    meta = slice.metadata
    removed = {name: None for name in meta.labels if name not in labels}
    owner = owned_by(SERVICES, service.metadata)
    others = [owner_tree(other) for other in meta.owner_references if not other.controller]
    metadata: Tree = {
        "resourceVersion": meta.resource_version,
        "labels": {**labels, **removed},
        "annotations": {TRIGGER_TIME: trigger},
        "ownerReferences": [owner, *others],
    }
    patch: Tree = {"metadata": metadata, "endpoints": endpoints, "ports": _ports(service, group)}
    return Patch(ENDPOINT_SLICES, meta.namespace, meta.name, patch)
