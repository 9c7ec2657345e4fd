"""Where cluster IPs come from, as objects: ServiceCIDR and IPAddress.

Stage: none; records and their pure functions.  Rules: the server writes an IPAddress with every address it gives.
Truth: kube-apiserver's apis/networking, recorded answers of 1.36.
"""

from __future__ import annotations

from ipaddress import ip_address

from clusterip.api import names
from clusterip.api.checks import each, reasons
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import drop_status, keep_status, only_status
from clusterip.api.tables import AGE, NAME, UNNAMED_AGE, at, fixed

FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_LABEL = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
DEFAULT_RANGE = "kubernetes"
CIDRS = "spec.cidrs"
ONE_OF_A_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
RANGE_IS_READY = "Kubernetes Service CIDR is ready"


def address_object(address: str, namespace: str, service: str) -> Tree:
    """The IPAddress of a Service's cluster IP."""
    family = f"IPv{ip_address(address).version}"
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": address, "labels": {FAMILY_LABEL: family, MANAGED_LABEL: ALLOCATOR}},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}},
    }


def range_object(cidrs: list[str]) -> Tree:
    """The ServiceCIDR that the server makes of its own range."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": DEFAULT_RANGE},
        "spec": {"cidrs": cidrs},
    }


def is_open_range(tree: Tree) -> bool:
    """Whether addresses are given from a ServiceCIDR: it is not being deleted, and nobody said that it is not ready."""
    if tree["metadata"].get("deletionTimestamp"):
        return False
    conditions = at(tree, "status", "conditions") or ()
    return all(found.get("status") == "True" for found in conditions if found.get("type") == "Ready")


def _name_is_address(name: str, prefix: bool) -> list[str]:
    return names.canonical_address(name)


def _validate_address(tree: Tree) -> list[FieldError]:
    parent = at(tree, "spec", "parentRef")
    if parent is None:
        return [required("spec.parentRef")]
    found = []
    if parent.get("group"):
        found += reasons("spec.parentRef.group", parent["group"], names.subdomain)
    for field in ("resource", "name"):
        if not parent.get(field):
            found.append(required(f"spec.parentRef.{field}"))
        else:
            found += reasons(f"spec.parentRef.{field}", parent[field], names.path_segment)
    if parent.get("namespace"):
        found += reasons("spec.parentRef.namespace", parent["namespace"], names.path_segment)
    return found


def _validate_address_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_address(new)
    if at(new, "spec", "parentRef") == at(old, "spec", "parentRef"):
        return found
    return [*found, invalid("spec.parentRef", _shown_parent(at(new, "spec", "parentRef")), names.IMMUTABLE)]


def _shown_parent(parent: Tree | None) -> Tree | None:
    """A parent as upstream's message shows it."""
    if parent is None:
        return None
    return {name: parent.get(name.lower()) or "" for name in ("Group", "Resource", "Namespace", "Name")}


def _parent(tree: Tree) -> str:
    parent = at(tree, "spec", "parentRef") or {}
    resource = ".".join(filter(None, (parent.get("resource"), parent.get("group"))))
    return "/".join(filter(None, (resource, parent.get("namespace"), parent.get("name"))))


def _validate_range(tree: Tree) -> list[FieldError]:
    cidrs = at(tree, "spec", "cidrs") or []
    if not cidrs:
        return [required(CIDRS, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid(CIDRS, {"CIDRs": cidrs}, "may only hold up to 2 values")]
    found = [error for path, cidr in each(CIDRS, cidrs) for error in reasons(path, cidr, names.canonical_network)]
    if len(cidrs) == 2 and len(set(map(_family, cidrs))) == 1 and _family(cidrs[0]):
        found.append(invalid(CIDRS, cidrs, ONE_OF_A_FAMILY))
    return found


def _family(cidr: str) -> int:
    """The version of what sloppy readers take for a network; 0 for nothing."""
    if set(names.network(cidr)) & {names.NO_NETWORK}:
        return 0
    address = names.parse_address(cidr.partition("/")[0])
    return address.version if address is not None else 0


def _validate_range_update(new: Tree, old: Tree) -> list[FieldError]:
    """A range may become dual stack; what it has stays."""
    cidrs, before = at(new, "spec", "cidrs") or [], at(old, "spec", "cidrs") or []
    if len(cidrs) == len(before):
        paired = zip(each(CIDRS, cidrs), before, strict=True)
        return [invalid(path, cidr, names.IMMUTABLE) for (path, cidr), kept in paired if cidr != kept]
    if len(before) != 1 or len(cidrs) != 2:
        return [invalid(CIDRS, cidrs, names.IMMUTABLE)]
    found = [] if cidrs[0] == before[0] else [invalid(f"{CIDRS}[0]", cidrs[0], names.IMMUTABLE)]
    return found + _validate_range(new)


IP_ADDRESS = Resource(
    group="networking.k8s.io",
    version="v1",
    kind="IPAddress",
    plural="ipaddresses",
    singular="ipaddress",
    namespaced=False,
    short_names=("ip",),
    schema="io.k8s.api.networking.v1.IPAddress",
    columns=(NAME, Column("ParentRef", fixed(_parent), says="@networking.v1.IPAddressSpec.parentRef"), UNNAMED_AGE),
    validate=_validate_address,
    validate_update=_validate_address_update,
    name_rule=_name_is_address,
)
SERVICE_CIDR = Resource(
    group="networking.k8s.io",
    version="v1",
    kind="ServiceCIDR",
    plural="servicecidrs",
    singular="servicecidr",
    namespaced=False,
    schema="io.k8s.api.networking.v1.ServiceCIDR",
    columns=(
        NAME,
        Column(
            "CIDRs",
            fixed(lambda tree: ",".join(at(tree, "spec", "cidrs") or ())),
            says="@networking.v1.ServiceCIDRSpec.cidrs",
        ),
        AGE,
    ),
    subresources={"status": Subresource(kind="ServiceCIDR")},
    prepare_create=drop_status,
    prepare_update=keep_status,
    prepare_status=only_status(),
    validate=_validate_range,
    validate_update=_validate_range_update,
    name_rule=name_is_subdomain,
)
