"""EndpointSlices.

Stage: none; a record and its pure functions.
Truth: kube-apiserver's apis/discovery defaults, validation, strategy and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from clusterip.api import names
from clusterip.api.address_warnings import address_warning
from clusterip.api.checks import each, immutable, reasons, supported
from clusterip.api.errors import FieldError, duplicate, invalid, not_supported, required, too_many
from clusterip.api.meta import Tree, copied, labels_of, metadata_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.strategy import set_generation
from clusterip.api.tables import AGE, NAME, UNSET, fixed, text, with_more

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
MAX_ENDPOINTS, MAX_ADDRESSES, MAX_PORTS, MAX_TOPOLOGY, MAX_HINTS = 1000, 100, 20000, 16, 8


def _default(tree: Tree) -> None:
    for port in tree.get("ports") or ():
        for field, usual in (("name", ""), ("protocol", "TCP")):
            if port.get(field) is None:
                port[field] = usual


def _prepare_create(tree: Tree) -> None:
    tree["metadata"]["generation"] = 1
    _drop_topology(tree)


def _drop_topology(tree: Tree) -> None:
    """Nobody writes it in this version; it is read where an older one left it."""
    for endpoint in tree.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def _prepare_update(new: Tree, old: Tree) -> None:
    """A new generation when endpoints, ports or labels are new."""
    if new.get("endpoints") != old.get("endpoints"):
        new["endpoints"] = copied(new.get("endpoints") or [])
        _drop_topology(new)
    before = metadata_of(old).get("generation") or 0
    changed = labels_of(new) != labels_of(old) or any(
        new.get(field) != old.get(field) for field in ("endpoints", "ports", "addressType")
    )
    set_generation(new, before + changed)


def _validate(tree: Tree) -> list[FieldError]:
    return _validate_slice(tree, None)


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_slice(new, old)
    return found + immutable("addressType", new.get("addressType"), old.get("addressType"))


def _validate_slice(tree: Tree, old: Tree | None) -> list[FieldError]:
    """Endpoints that are stored already were judged when they came."""
    kind, endpoints = tree.get("addressType") or "", tree.get("endpoints") or []
    found = supported("addressType", kind, ADDRESS_TYPES) + _ports(tree.get("ports") or [])
    if old is not None and endpoints == (old.get("endpoints") or []):
        return found
    if len(endpoints) > MAX_ENDPOINTS:
        return [*found, too_many("endpoints", len(endpoints), MAX_ENDPOINTS)]
    return found + [
        error for path, endpoint in each("endpoints", endpoints) for error in _endpoint(path, endpoint, kind)
    ]


def _endpoint(path: str, endpoint: Tree, kind: str) -> list[FieldError]:
    addresses = endpoint.get("addresses") or []
    found = []
    if not addresses:
        found.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        found.append(too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES))
    for where, address in each(f"{path}.addresses", addresses):
        found += _address(path, where, address, kind)
    if endpoint.get("nodeName") is not None:
        found += reasons(f"{path}.nodeName", endpoint["nodeName"], names.subdomain)
    if endpoint.get("deprecatedTopology"):
        found += _topology(f"{path}.deprecatedTopology", endpoint["deprecatedTopology"])
    if endpoint.get("hostname") is not None:
        found += reasons(f"{path}.hostname", endpoint["hostname"], names.label)
    return found + _hints(f"{path}.hints", endpoint["hints"]) if endpoint.get("hints") else found


def _address(endpoint: str, path: str, address: str, kind: str) -> list[FieldError]:
    if kind == "FQDN":
        return _fully_qualified(path, address)
    if kind not in ADDRESS_TYPES:
        return []
    if found := reasons(path, address, names.canonical_address if kind == "IPv6" else names.address):
        return found
    parsed = names.parse_address(address)
    if parsed is not None and f"IPv{parsed.version}" != kind:
        found = [invalid(f"{endpoint}.addresses", address, f"must be an {kind} address")]
    return found + reasons(path, address, names.not_for_endpoints)


def _fully_qualified(path: str, name: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    bare = name.removesuffix(".")
    if why := names.subdomain(bare):
        return [invalid(path, bare, ",".join(why))]
    if "." not in bare:
        return [invalid(path, bare, "should be a domain with at least two segments separated by dots")]
    return [invalid(path, part, ",".join(why)) for part in bare.split(".") if (why := names.label(part))]


def _topology(path: str, topology: Tree) -> list[FieldError]:
    found = []
    if len(topology) > MAX_TOPOLOGY:
        found.append(too_many(path, len(topology), MAX_TOPOLOGY))
    for key, value in topology.items():
        found += reasons(path, key, names.qualified_name) + reasons(path, value, names.label_value)
    if "kubernetes.io/hostname" in topology:
        found.append(
            invalid(f"{path}[kubernetes.io/hostname]", topology["kubernetes.io/hostname"], "hostname is not allowed")
        )
    return found


def _hints(path: str, hints: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    for field in ("forZones", "forNodes"):
        seen: set[str] = set()
        given = hints.get(field) or []
        if len(given) > MAX_HINTS:
            return [*found, too_many(f"{path}.{field}", len(given), MAX_HINTS)]
        for where, hint in each(f"{path}.{field}", given):
            name = hint.get("name") or ""
            if name in seen:
                found.append(duplicate(f"{where}.name", name))
            seen.add(name)
            found += reasons(f"{where}.name", name, names.label_value if field == "forZones" else names.subdomain)
    return found


def _ports(ports: list[Tree]) -> list[FieldError]:
    found: list[FieldError] = []
    if len(ports) > MAX_PORTS:
        return [too_many("ports", len(ports), MAX_PORTS)]
    seen: set[str] = set()
    for path, port in each("ports", ports):
        name = port.get("name") or ""
        if name:
            found += reasons(f"{path}.name", name, names.label)
        if name in seen:
            found.append(duplicate(f"{path}.name", name))
        seen.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            found.append(required(f"{path}.protocol"))
        elif protocol not in PROTOCOLS:
            found.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
        if port.get("appProtocol") is not None:
            found += reasons(f"{path}.appProtocol", port["appProtocol"], names.qualified_name)
    return found


def _warnings(new: Tree, old: Tree | None) -> list[str]:
    found = ["spec.addressType: FQDN endpoints are deprecated"] if new.get("addressType") == "FQDN" else []
    if labels_of(new).get(MANAGED_BY) in CONTROLLERS:
        return found  # they write addresses as they should be
    for path, endpoint in each("endpoints", new.get("endpoints")):
        for where, address in each(f"{path}.addresses", endpoint.get("addresses")):
            found += address_warning(where, address)
    return found


def _port_text(port: Tree) -> str:
    if port.get("port") is not None:
        return str(port["port"])
    return "*" if port.get("name") is None else str(port["name"])


def _shown_ports(tree: Tree) -> str:
    return with_more(map(_port_text, tree.get("ports") or ())) or UNSET


def _shown_endpoints(tree: Tree) -> str:
    addresses = (a for endpoint in tree.get("endpoints") or () for a in endpoint.get("addresses") or ())
    return with_more(addresses) or UNSET


ENDPOINT_SLICE = Resource(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    singular="endpointslice",
    schema="io.k8s.api.discovery.v1.EndpointSlice",
    columns=(
        NAME,
        Column("AddressType", text("addressType"), says="@discovery.v1.EndpointSlice.addressType"),
        Column("Ports", fixed(_shown_ports), says="@discovery.v1.EndpointSlice.ports"),
        Column("Endpoints", fixed(_shown_endpoints), says="@discovery.v1.EndpointSlice.endpoints"),
        AGE,
    ),
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    warnings=_warnings,
    name_rule=name_is_subdomain,
)
