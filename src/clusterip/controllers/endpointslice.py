"""Services with a selector -> EndpointSlices.

Stage: plan.  In: one Service, the pods that its selector matches, its slices, zones of nodes.  Out: writes.
Rules: pure; slices of other controllers are never touched; a change rewrites as few slices as it can.
  1. every pod becomes an endpoint of one group: address family and resolved ports (podendpoints.py)
  2. endpoints that a slice of the group holds stay there, changed in place (filling.py)
  3. the others fill slices that change anyway (fullest first), then one unchanged slice with room, then new slices
  4. slices that became superfluous take the content of new ones, or go; without any endpoint one empty slice stays
Truth: KEP-752.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.api.meta import Tree
from clusterip.client.names import ENDPOINT_SLICES, SERVICES
from clusterip.controllers import topology
from clusterip.controllers.filling import Placed, place
from clusterip.controllers.model import EndpointSlice, Pod, Service
from clusterip.controllers.podendpoints import Group, families_of, grouped, hint, is_automatic, is_used, trigger_time
from clusterip.controllers.writes import Create, Delete, Patch, Write, owned_by, owner_tree, warning

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
RESERVED_LABELS = frozenset({MANAGED_BY, SERVICE_NAME_LABEL, HEADLESS})


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
    chosen = [pod for pod in pods if is_used(service, pod, zones)]
    families = families_of(service)
    wanted = grouped(service, chosen, zones, families)
    if is_automatic(service):
        hint(wanted, parts or {})
    trigger = trigger_time(service, chosen)
    placed = place(wanted, ours)
    return tuple(_writes(service, placed, wanted, families, trigger))


def _writes(
    service: Service,
    placed: Mapping[Group, Placed],
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
