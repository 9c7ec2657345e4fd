"""Services and their Endpoints.

Stage: none; records.  Truth: kube-apiserver's strategies, validation and printers, recorded answers of 1.36.
"""

from __future__ import annotations

from clusterip.api import address_warnings, names, service, service_validation
from clusterip.api.address_warnings import address_warning
from clusterip.api.addresses import with_port
from clusterip.api.checks import each, reasons, supported
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.meta import Tree, spec_of
from clusterip.api.names import name_is_label, name_is_subdomain
from clusterip.api.resource import Column, Subresource
from clusterip.api.resources.core import core
from clusterip.api.service import cluster_ips_of, ports_of, type_of
from clusterip.api.strategy import only_status
from clusterip.api.tables import AGE, NAME, NONE, UNKNOWN, at, fixed, labels_text, text, with_more

MANAGED_BY = "endpoints.kubernetes.io/managed-by"


def _cluster_ip(tree: Tree) -> str:
    return (cluster_ips_of(tree) or [NONE])[0]


def _external_ip(tree: Tree) -> str:
    spec = spec_of(tree)
    given = spec.get("externalIPs") or []
    kind = type_of(tree)
    if kind == "ExternalName":
        return spec.get("externalName") or ""
    if kind == "LoadBalancer":
        ingress = at(tree, "status", "loadBalancer", "ingress") or []
        shown = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
        return ",".join([*shown, *given]) or "<pending>"
    return (",".join(given) or NONE) if kind in ("ClusterIP", "NodePort") else UNKNOWN


def _ports(tree: Tree) -> str:
    shown = []
    for port in ports_of(tree):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port', 0)}{node_port}/{port.get('protocol', '')}")
    return ",".join(shown) or NONE


SERVICE = core(
    "Service",
    "services",
    "svc",
    categories=("all",),
    columns=(
        NAME,
        Column("Type", text("spec", "type"), says="@core.v1.ServiceSpec.type"),
        Column("Cluster-IP", fixed(_cluster_ip), says="@core.v1.ServiceSpec.clusterIP"),
        Column("External-IP", fixed(_external_ip), says="@core.v1.ServiceSpec.externalIPs"),
        Column("Port(s)", fixed(_ports), says="@core.v1.ServiceSpec.ports"),
        AGE,
        Column(
            "Selector",
            fixed(lambda tree: labels_text(spec_of(tree).get("selector"))),
            says="@core.v1.ServiceSpec.selector",
            priority=1,
        ),
    ),
    subresources={
        "proxy": Subresource(kind="ServiceProxyOptions", verbs=("create", "delete", "get", "patch", "update")),
        "status": Subresource(kind="Service"),
    },
    default=service.default,
    prepare_create=service.prepare_create,
    prepare_update=service.prepare_update,
    prepare_status=only_status(),
    validate=service_validation.validate,
    validate_update=service_validation.validate_update,
    validate_status=service_validation.validate_status,
    whole_update=True,
    warnings=service.warnings,
    status_warnings=address_warnings.of_load_balancer,
    name_rule=name_is_label,
    fields={"spec.clusterIP": service.field("clusterIP"), "spec.type": service.field("type")},
    create_on_update=True,
    to_storage=service.kept,
)


# --- Endpoints -------------------------------------------------------------------------------------------------------


def _default_endpoints(tree: Tree) -> None:
    for subset in tree.get("subsets") or ():
        for port in subset.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"


def _validate_endpoints(tree: Tree) -> list[FieldError]:
    return [error for path, subset in each("subsets", tree.get("subsets")) for error in _subset(path, subset)]


def _validate_endpoints_update(new: Tree, old: Tree) -> list[FieldError]:
    """What is stored already was judged when it came."""
    return [] if new.get("subsets") == old.get("subsets") else _validate_endpoints(new)


def _endpoints_warnings(new: Tree, old: Tree | None) -> list[str]:
    """The controller writes addresses as they should be."""
    if (new["metadata"].get("labels") or {}).get(MANAGED_BY) == "endpoint-controller":
        return []
    addresses = [
        address
        for path, subset in each("subsets", new.get("subsets"))
        for field in ("addresses", "notReadyAddresses")
        for address in each(f"{path}.{field}", subset.get(field))
    ]
    return [text for path, address in addresses for text in address_warning(f"{path}.ip", address.get("ip") or "")]


def _subset(path: str, subset: Tree) -> list[FieldError]:
    found = []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        found.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for field in ("addresses", "notReadyAddresses"):
        for where, address in each(f"{path}.{field}", subset.get(field)):
            found += _endpoint_address(where, address)
    ports = subset.get("ports") or []
    for where, port in each(f"{path}.ports", ports):
        found += endpoint_port(where, port, len(ports) > 1)
    return found


def _endpoint_address(path: str, address: Tree) -> list[FieldError]:
    ip = address.get("ip") or ""
    found = reasons(f"{path}.ip", ip, names.address)
    if address.get("hostname"):
        found += reasons(f"{path}.hostname", address["hostname"], names.label)
    if address.get("nodeName") is not None:
        found += reasons(f"{path}.nodeName", address["nodeName"], names.subdomain)
    if names.parse_address(ip) is None:
        return [*found, invalid(f"{path}.ip", ip, "must be a valid IP address")]
    return found + reasons(f"{path}.ip", ip, names.not_for_endpoints)


def endpoint_port(path: str, port: Tree, needs_name: bool) -> list[FieldError]:
    found = []
    if port.get("name"):
        found += reasons(f"{path}.name", port["name"], names.label)
    elif needs_name:
        found.append(required(f"{path}.name"))
    found += reasons(f"{path}.port", port.get("port", 0), names.port_number)
    found += supported(f"{path}.protocol", port.get("protocol"), service_validation.PROTOCOLS)
    if port.get("appProtocol") is not None:
        found += reasons(f"{path}.appProtocol", port["appProtocol"], names.qualified_name)
    return found


def _endpoints(tree: Tree) -> str:
    if not tree.get("subsets"):
        return NONE
    return with_more(
        _joined(address.get("ip", ""), port)
        for subset in tree["subsets"]
        for port in subset.get("ports") or [None]
        for address in subset.get("addresses") or ()
    )


def _joined(ip: str, port: Tree | None) -> str:
    return ip if port is None else with_port(ip, port.get("port", 0))


ENDPOINTS_DEPRECATED = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

ENDPOINTS = core(
    "Endpoints",
    "endpoints",
    "ep",
    singular="endpoints",
    columns=(NAME, Column("Endpoints", fixed(_endpoints), says="@core.v1.Endpoints.subsets"), AGE),
    default=_default_endpoints,
    validate=_validate_endpoints,
    validate_update=_validate_endpoints_update,
    warnings=_endpoints_warnings,
    deprecation=ENDPOINTS_DEPRECATED,
    name_rule=name_is_subdomain,
    create_on_update=True,
)
