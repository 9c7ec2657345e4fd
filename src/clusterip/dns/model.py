"""What DNS reads of Services and EndpointSlices.

Stage: snapshot.  In: the API's trees.  Out: frozen values; a tree that makes no sense raises: the informer skips it.
Rules: pure; only fields that a name or an answer depends on.
Truth: core/v1 Service, discovery.k8s.io/v1 EndpointSlice; the Kubernetes DNS specification 1.1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from clusterip.api import endpointslice
from clusterip.api.meta import Tree

Address = IPv4Address | IPv6Address


class Port(NamedTuple):
    name: bytes
    protocol: bytes  # lower case, as in names
    number: int


class Endpoint(NamedTuple):
    addresses: tuple[Address, ...]
    hostname: bytes  # as in names; never empty
    ports: tuple[Port, ...]


NO_PORTS = (Port(b"", b"", -1),)  # what has no port still has addresses


@dataclass(frozen=True, slots=True)
class Service:
    """A Service as names see it. Headless when it has neither addresses nor an external name."""

    namespace: str
    name: str
    addresses: tuple[Address, ...]
    ports: tuple[Port, ...]
    external: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """The ready endpoints of one EndpointSlice."""

    namespace: str
    service: str  # empty: belongs to none
    endpoints: tuple[Endpoint, ...]


def service_of(tree: Tree) -> Service:
    """A Service's values."""
    metadata, spec = tree["metadata"], tree.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return Service(metadata["namespace"], metadata["name"], (), (), str(spec.get("externalName") or "").rstrip("."))
    texts = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    addresses = tuple(ip_address(text) for text in texts if text and text != "None")
    return Service(metadata["namespace"], metadata["name"], addresses, _ports(spec.get("ports")))


def slice_of(tree: Tree, *, pod_names: bool = False) -> Slice:
    """An EndpointSlice's ready endpoints; an absent condition means ready.

    An endpoint without a hostname is called by its address, or by its pod when `pod_names` says so.
    """
    ports = _ports(tree.get("ports"))
    endpoints = []
    for endpoint in tree.get("endpoints") or ():
        if not endpointslice.is_ready(endpoint) or tree.get("addressType") == "FQDN":
            continue
        addresses = tuple(ip_address(text) for text in endpoint["addresses"][:1])
        pod = str((endpoint.get("targetRef") or {}).get("name") or "") if pod_names else ""
        hostname = str(endpoint.get("hostname") or pod or dashed(addresses[0]))
        endpoints.append(Endpoint(addresses, hostname.lower().encode(), ports))
    return Slice(*endpointslice.service_of(tree), tuple(endpoints))


def namespace_of(tree: Tree) -> str:
    return str(tree["metadata"]["name"])


def dashed(ip: Address) -> str:
    """An address as a label. A label must not end in a dash, so :: at the end gets a zero."""
    label = str(ip).replace(".", "-").replace(":", "-")
    label = f"0{label}" if label.startswith("-") else label
    return f"{label}0" if label.endswith("-") else label


def undashed(label: bytes) -> Address | None:
    """The address that a pod's label means: four numbers, or more parts with a gap."""
    text = label.decode("ascii", "replace")
    try:
        if text.count("-") == 3 and "--" not in text:
            return IPv4Address(text.replace("-", "."))
        return IPv6Address(text.replace("-", ":"))
    except ValueError:
        return None


def _ports(trees: list[Tree] | None) -> tuple[Port, ...]:
    ports = tuple(
        Port(
            (p.get("name") or "").lower().encode(),
            (p.get("protocol") or "TCP").lower().encode(),
            int(p.get("port") or -1),
        )
        for p in trees or ()
    )
    return ports or NO_PORTS
