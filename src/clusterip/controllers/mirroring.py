"""Endpoints made by hand -> EndpointSlices, for those who read only these.

Stage: plan.  In: one Endpoints object, its Service, the slices that mirror it.  Out: writes.
Rules: pure; only for a Service without a selector; slices of other controllers are never touched; one slice for each
address family and set of ports, with a thousand addresses of a subset at most.
Truth: KEP-752 and KEP-1713, kube-controller-manager's endpointslicemirroring controller, its recorded answers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import orjson

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.client.names import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from clusterip.controllers.endpointslice import MANAGED_BY, TRIGGER_TIME
from clusterip.controllers.filling import group_of
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Endpoints, EndpointSlice, Service
from clusterip.controllers.podendpoints import Group
from clusterip.controllers.writes import NOTHING, Create, Delete, Draft, Key, Outcome, Patch, Say, owned_by, warning

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = frozenset({TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"})
SUBSET_LIMIT = 1000

Port = tuple[str, str, int, str | None]  # name, protocol, number, application protocol


@dataclass(slots=True)
class _Mirrored:
    """What the subsets come to; built up inside one reconcile."""

    groups: dict[Group, dict[str, Tree]] = field(default_factory=dict)
    ports: dict[Group, list[Tree]] = field(default_factory=dict)
    invalid: int = 0
    skipped: int = 0


def reconcile(endpoints: Endpoints, slices: Iterable[EndpointSlice]) -> Outcome:
    """The writes that make the slices tell what the Endpoints tell."""
    draft = Draft()
    wanted = _mirrored(endpoints)
    draft.extend(_words(endpoints, wanted))
    known: dict[Group, list[EndpointSlice]] = {}
    for slice in sorted(filter(is_ours, slices), key=lambda slice: slice.metadata.name):
        known.setdefault(group_of(slice), []).append(slice)
    fresh, free = _kept(endpoints, wanted, known, draft)
    for group in fresh:
        same_family = next((slice for slice in free if slice.address_type == group.family), None)
        if same_family is not None:
            free.remove(same_family)
            draft.add(_update(endpoints, same_family, group, wanted))
        elif not endpoints.metadata.is_terminating:
            draft.add(_create(endpoints, group, wanted))
    draft.extend(leftover(free).writes)
    return draft.outcome()


def leftover(slices: Iterable[EndpointSlice]) -> Outcome:
    """Slices of ours that mirror nothing go."""
    ours = [slice.metadata for slice in slices if is_ours(slice)]
    return Outcome(tuple(Delete(ENDPOINT_SLICES, meta.namespace, meta.name, uid=meta.uid) for meta in ours))


def is_ours(slice: EndpointSlice) -> bool:
    return slice.metadata.labels.get(MANAGED_BY) == CONTROLLER


def concerns(endpoints: Endpoints | None, service: Service | None) -> bool:
    """Whether this controller mirrors the Endpoints."""
    if endpoints is None or service is None or service.spec.selector is not None:
        return False
    meta = endpoints.metadata
    return meta.labels.get(SKIP) != "true" and LEADER not in meta.annotations


# -- subsets to endpoints ---------------------------------------------------------------------------------------------


def _mirrored(endpoints: Endpoints) -> _Mirrored:
    found = _Mirrored()
    for ports, addresses in _repacked(endpoints.subsets or ()):
        added = 0
        for address, ready in addresses:
            if added >= SUBSET_LIMIT:
                found.skipped += 1
            elif _add(found, ports, address, ready):
                added += 1
            else:
                found.invalid += 1
    return found


def _repacked(subsets: Iterable[Tree]) -> Iterable[tuple[tuple[Port, ...], list[tuple[Tree, bool]]]]:
    """Addresses by port over all subsets; ports with the same addresses stay together. Ready ones come first."""
    by_port: dict[Port | None, dict[bytes, tuple[Tree, bool]]] = {}
    for subset in subsets:
        stated = [(address, True) for address in subset.get("addresses") or ()]
        stated += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        ports: list[Port | None] = [_port(port) for port in subset.get("ports") or ()]
        for port in ports or [None]:
            for address, ready in stated:
                by_port.setdefault(port, {}).setdefault(_text([address, ready]), (address, ready))
    shared: dict[frozenset[bytes], list[Port | None]] = {}
    for port, addresses in by_port.items():
        shared.setdefault(frozenset(addresses), []).append(port)
    for together in shared.values():
        found = sorted(by_port[together[0]].values(), key=lambda entry: not entry[1])
        yield tuple(port for port in together if port), found


def _port(port: Tree) -> Port:
    return port.get("name") or "", port.get("protocol") or "TCP", port["port"], port.get("appProtocol")


def _text(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _add(found: _Mirrored, ports: tuple[Port, ...], address: Tree, ready: bool) -> bool:
    """Put an address into its group; whether it is one."""
    try:
        ip = ipaddress.ip_address(address["ip"])
    except ValueError:
        return False
    group = Group(f"IPv{ip.version}", tuple(sorted(ports, key=lambda port: port[:3])))
    endpoint: Tree = {"addresses": [str(ip)], "conditions": {"ready": ready}}
    endpoint |= {name: address[name] for name in ("targetRef", "nodeName", "hostname") if address.get(name)}
    found.groups.setdefault(group, {})[_identity(endpoint)] = endpoint
    found.ports[group] = [
        {"name": name, "protocol": protocol, "port": number} | ({"appProtocol": app} if app else {})
        for name, protocol, number, app in ports
    ]
    return True


def _identity(endpoint: Tree) -> str:
    """What makes an endpoint the same one, whatever its conditions."""
    target = endpoint.get("targetRef") or {}
    return repr((endpoint["addresses"], endpoint.get("hostname"), target.get("namespace"), target.get("name")))


def _words(endpoints: Endpoints, wanted: _Mirrored) -> Iterable[Say]:
    meta = endpoints.metadata
    if wanted.invalid:
        words = f"Skipped {wanted.invalid} invalid IP addresses when mirroring to EndpointSlices"
        yield Say(warning(ENDPOINTS, meta, "InvalidIPAddress", words))
    if wanted.skipped:
        words = (
            f"A max of {SUBSET_LIMIT} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{wanted.skipped + wanted.invalid} addresses were skipped"
        )
        yield Say(warning(ENDPOINTS, meta, "TooManyAddressesToMirror", words))


# -- endpoints to slices ----------------------------------------------------------------------------------------------


def _kept(
    endpoints: Endpoints, wanted: _Mirrored, known: Mapping[Group, list[EndpointSlice]], draft: Draft
) -> tuple[list[Group], list[EndpointSlice]]:
    """Bring the slices of wanted groups up to date; the groups that have none, and the slices that are free."""
    fresh = [group for group in wanted.groups if group not in known]
    free: list[EndpointSlice] = []
    for group, slices in known.items():
        if group not in wanted.groups:
            free += slices
            continue
        free += slices[1:]
        if not _is_same(endpoints, slices[0], group, wanted):
            draft.add(_update(endpoints, slices[0], group, wanted))
    return fresh, free


def _is_same(endpoints: Endpoints, slice: EndpointSlice, group: Group, wanted: _Mirrored) -> bool:
    meta, there = slice.metadata, list(slice.endpoints or ())
    content = _content(group, wanted)
    return (
        sorted(map(_text, there)) == sorted(map(_text, content))
        and meta.labels == _labels(endpoints)
        and meta.annotations == _annotations(endpoints)
        and any(owner.uid == endpoints.metadata.uid for owner in meta.owner_references)
    )


def _content(group: Group, wanted: _Mirrored) -> list[Tree]:
    return list(islice(wanted.groups[group].values(), SUBSET_LIMIT))


def _labels(endpoints: Endpoints) -> dict[str, str]:
    meta = endpoints.metadata
    return {**meta.labels, SERVICE_NAME_LABEL: meta.name, MANAGED_BY: CONTROLLER}


def _annotations(endpoints: Endpoints) -> dict[str, str]:
    return {name: text for name, text in endpoints.metadata.annotations.items() if name not in NOT_COPIED}


def _create(endpoints: Endpoints, group: Group, wanted: _Mirrored) -> Create:
    meta = endpoints.metadata
    prefix = f"{meta.name}-"
    tree: Tree = {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": meta.name if name_is_subdomain(prefix, True) else prefix,
            "namespace": meta.namespace,
            "labels": _labels(endpoints),
            "annotations": _annotations(endpoints),
            "ownerReferences": [owned_by(ENDPOINTS, meta)],
        },
        "addressType": group.family,
        "endpoints": _content(group, wanted),
        "ports": wanted.ports[group],
    }
    return Create(ENDPOINT_SLICES, tree)


def _update(endpoints: Endpoints, slice: EndpointSlice, group: Group, wanted: _Mirrored) -> Patch:
    meta, labels, annotations = slice.metadata, _labels(endpoints), _annotations(endpoints)
    metadata: Tree = {
        "resourceVersion": meta.resource_version,
        "labels": {**{name: None for name in meta.labels if name not in labels}, **labels},
        "annotations": {**{name: None for name in meta.annotations if name not in annotations}, **annotations},
        "ownerReferences": [owned_by(ENDPOINTS, endpoints.metadata)],
    }
    patch: Tree = {"metadata": metadata, "endpoints": _content(group, wanted), "ports": wanted.ports[group]}
    return Patch(ENDPOINT_SLICES, meta.namespace, meta.name, patch)


# -- shell ------------------------------------------------------------------------------------------------------------


def start(world: World) -> list[Loop]:
    services, known = world.follow(SERVICES, Service), world.follow(ENDPOINTS, Endpoints)
    slices = world.follow(ENDPOINT_SLICES, EndpointSlice)
    slices.index("mirrored", _mirrored_for)

    def look(key: Key) -> Outcome:
        endpoints, its = known.get(*key), slices.by_index("mirrored", key)
        if endpoints is not None and concerns(endpoints, services.get(*key)):
            return reconcile(endpoints, its)
        return leftover(its) if its else NOTHING

    def slice_changed(key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> Iterable[Key]:
        return {found for slice in (old, new) if slice is not None for found in _mirrored_for(slice)}

    loop = Loop("endpointslicemirroring", world, look)
    loop.follow(known)
    loop.follow(services, _selecting)
    loop.follow(slices, slice_changed)
    return [loop]


def _selecting(key: Key, old: Service | None, new: Service | None) -> Iterable[Key]:
    """A Service matters when it comes, goes, or gets or loses its selector."""
    before, after = (service is not None and service.spec.selector is None for service in (old, new))
    return (key,) if before != after else ()


def _mirrored_for(slice: EndpointSlice) -> Iterable[Key]:
    name = slice.metadata.labels.get(SERVICE_NAME_LABEL)
    return ((slice.metadata.namespace, name),) if name and is_ours(slice) else ()
