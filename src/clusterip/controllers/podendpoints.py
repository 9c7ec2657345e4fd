"""Pods of a Service -> endpoints, grouped by what a slice's endpoints share.

Stage: plan.  In: one Service, its pods, zones of nodes.  Out: endpoints by group: address family and resolved ports.
Rules: pure; a pod without an address of a family is no endpoint of it; a port by a name that the pod does not have is
left out.
Truth: KEP-1672 (terminating), KEP-3015 and KEP-4444 (traffic distribution).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clusterip.api.meta import Tree
from clusterip.controllers import topology
from clusterip.controllers.model import Meta, Pod, Service, ServicePort

TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
OLD_TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints"

Ports = tuple[tuple[str, str, int, str | None], ...]  # name, protocol, number, application protocol


@dataclass(frozen=True, slots=True)
class Group:
    """What all endpoints of a slice share."""

    family: str
    ports: Ports


def families_of(service: Service) -> tuple[str, ...]:
    """The address families that the Service has slices for."""
    if service.spec.ip_families:
        return service.spec.ip_families
    addresses = [ip for ip in service.spec.cluster_ips or (service.spec.cluster_ip,) if ip and ip != "None"]
    return tuple(dict.fromkeys(map(family_of, addresses))) or ("IPv4",)


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def is_used(service: Service, pod: Pod, zones: Mapping[str, str | None]) -> bool:
    """Whether the pod is an endpoint of the Service that selects it."""
    if pod.is_finished or not (pod.status.pod_ip or pod.status.pod_ips):
        return False
    return pod.spec.node_name in zones or service.spec.publish_not_ready_addresses


def grouped(
    service: Service, pods: Iterable[Pod], zones: Mapping[str, str | None], families: Sequence[str]
) -> dict[Group, list[Tree]]:
    """Every pod as an endpoint of its group, once an address family."""
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


def hint(groups: Mapping[Group, list[Tree]], parts: topology.Shares) -> None:
    """Endpoints that serve get their zones, all of an address family together."""
    for family in {group.family for group in groups}:
        ready = [
            endpoint
            for group, endpoints in sorted(groups.items(), key=lambda entry: str(entry[0].ports))
            for endpoint in sorted(endpoints, key=order_of)
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


def trigger_time(service: Service, pods: Iterable[Pod]) -> str | None:
    """When the last thing happened that the slices tell of."""
    times = [service.metadata.creation_timestamp]
    for pod in pods:
        ready = pod.condition("Ready")
        times += [ready.last_transition_time if ready else None, pod.metadata.deletion_timestamp]
    return max((time for time in times if time), default=None)


def order_of(endpoint: Tree) -> tuple[int, bytes]:
    """Endpoints stand by their addresses."""
    address = ipaddress.ip_address(endpoint["addresses"][0])
    return address.version, address.packed
