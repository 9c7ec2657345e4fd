"""Which pods stand behind a backend.

Stage: decide.  In: a backend, its Service and EndpointSlices.  Out: addresses and ports, in a fixed order.
Rules: pure; ready endpoints, or those that still serve while they end when none is ready.
Truth: discovery.k8s.io/v1 EndpointSlice conditions; a Service's port has the name of its slices' ports.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from clusterip.ingress.model import Port, Service, Slice, Target

Address = tuple[str, int]


def endpoints(target: Target, service: Service | None, slices: Iterable[Slice], upstream: bool) -> tuple[Address, ...]:
    """Where requests for the target go; `upstream`: to the Service's own address."""
    port = service_port(target, service)
    if service is None or port is None or service.type == "ExternalName":
        return ()
    if upstream and service.cluster_ip not in ("", "None"):
        return ((service.cluster_ip, port.number),)
    ready: set[Address] = set()
    ending: set[Address] = set()
    for each in slices:
        number = next((p.number for p in each.ports if p.name == port.name), None)
        for endpoint in each.endpoints if number else ():
            address = (str(ip_address(endpoint.address)), number or 0)
            if endpoint.ready and not endpoint.terminating:
                ready.add(address)
            elif endpoint.serving and endpoint.terminating:
                ending.add(address)
    return tuple(sorted(ready or ending))


def service_port(target: Target, service: Service | None) -> Port | None:
    """The Service's port that the target means."""
    ports = service.ports if service else ()
    return next((port for port in ports if target.port in (port.number, port.name) and target.port != ""), None)


def fault(target: Target, service: Service | None) -> str:
    """What is wrong with a target; empty when nothing is."""
    if service is None:
        return f"Service {target.service} is not there"
    if service.type == "ExternalName":
        return f"Service {target.service} is an ExternalName, which has no pods"
    if service_port(target, service) is None:
        return f"Service {target.service} has no TCP port {target.port}"
    return ""
