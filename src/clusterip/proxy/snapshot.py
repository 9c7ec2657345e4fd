"""Fold informer caches into one frozen picture: service ports with their endpoints, conflicts settled.

Stage: snapshot.  In: changes of Services, EndpointSlices and the Node.  Out: Snapshot.
Rules: no socket, no clock; a Service's view is made again only when one of its own objects changed, or a neighbour gave
up a frontend that both claimed.  What cannot be read is left out with a warning, never a reason to stop.
Truth: a frontend claimed twice belongs to the older Service; endpoints are merged over slices by address and port.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from itertools import count

from clusterip.api.meta import ObjectKey
from clusterip.proxy.model import (
    Conflict,
    Endpoint,
    Family,
    Frontend,
    FrontendKind,
    IPAddress,
    IPNetwork,
    Node,
    PortName,
    ServicePort,
    ServiceView,
    Snapshot,
    Target,
)
from clusterip.proxy.objects import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    SERVICE_NAME_LABEL,
    EndpointSlice,
    NodeObject,
    Port,
    Service,
    SliceEndpoint,
)

logger = logging.getLogger(__name__)

DEFAULT_AFFINITY_SECONDS = 10800
ADDRESS_TYPES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
Claim = tuple[FrontendKind, Frontend]
_revisions = count(1)


class Collector:
    """Takes changes in, gives snapshots out. Subscribe its methods to informers."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._services: dict[ObjectKey, Service] = {}
        self._slices: dict[ObjectKey, dict[str, EndpointSlice]] = {}
        self._claims = _Claims()
        self._stale: set[ObjectKey] = set()
        self._latest = Snapshot(node, revision=next(_revisions))

    def on_service(self, key: tuple[str, str], old: Service | None, new: Service | None) -> None:
        name = ObjectKey(*key)
        if new is None or not is_ours(new):
            self._services.pop(name, None)
            self._stale |= {name} | self._claims.give_up(name)
            return
        self._services[name] = new
        claims = [claim for port in new.spec.ports or () for claim in claims_of(new, port, self.node.family)]
        self._stale |= {name} | self._claims.claim(name, _age(new), [frontend for _, frontend in claims])

    def on_slice(self, key: tuple[str, str], old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for known in {service for found in (old, new) if found and (service := _service_of(found))}:
            slices = self._slices.setdefault(known, {})
            slices.pop(key[1], None)
            if new is not None and _service_of(new) == known:
                slices[key[1]] = new
            if not slices:
                del self._slices[known]
            self._stale.add(known)

    def on_node(self, node: Node) -> bool:
        """Take another picture of this node; whether it differs. Which endpoints are local depends on the name only."""
        changed = node != self.node
        if node.name != self.node.name:
            self._stale |= set(self._services)
        self.node = node
        return changed

    def snapshot(self) -> Snapshot:
        """The picture now; views of Services that did not change are the same objects as before."""
        before = self._latest
        if not self._stale and before.node == self.node:
            return before
        views, conflicts = dict(before.services), dict(before.conflicts)
        for key in self._stale:
            views.pop(key, None)
            conflicts.pop(key, None)
            if service := self._services.get(key):
                views[key] = self._view(key, service)
                if lost := tuple(self._lost(key, service)):
                    conflicts[key] = lost
        changed, self._stale = frozenset(self._stale), set()
        self._latest = Snapshot(self.node, views, conflicts, changed, next(_revisions), before.revision)
        return self._latest

    def _view(self, key: ObjectKey, service: Service) -> ServiceView:
        slices = [found for _, found in sorted(self._slices.get(key, {}).items())]
        ports = (self._port(key, service, port, slices) for port in service.spec.ports or ())
        return ServiceView(key, tuple(ports))

    def _port(self, key: ObjectKey, service: Service, port: Port, slices: list[EndpointSlice]) -> ServicePort:
        spec = service.spec
        name = PortName(key.namespace, key.name, port.name or "", port.protocol.lower())
        return ServicePort(
            name,
            tuple(self._won(key, claims_of(service, port, self.node.family))),
            tuple(endpoints_of(name, slices, self.node)),
            internal_policy_local=spec.internal_traffic_policy == "Local",
            external_policy_local=spec.external_traffic_policy == "Local",
            affinity_seconds=affinity_seconds(service),
            source_ranges=tuple(source_ranges(service, self.node.family)),
            health_check_node_port=health_check_node_port(service),
        )

    def _won(self, key: ObjectKey, claims: Iterable[Claim]) -> Iterator[Claim]:
        return (claim for claim in claims if self._claims.owner(claim[1]) == key)

    def _lost(self, key: ObjectKey, service: Service) -> Iterator[Conflict]:
        for port in service.spec.ports or ():
            for _, frontend in claims_of(service, port, self.node.family):
                owner = self._claims.owner(frontend)
                if owner is not None and owner != key:
                    values = {"service": key, "frontend": frontend, "owner": owner}
                    logger.warning("Another Service has this frontend already", extra={"kv": values})
                    yield Conflict(frontend, owner)


class _Claims:
    """Who wants which frontend; the oldest claimant has it."""

    def __init__(self) -> None:
        self._claimants: dict[Frontend, dict[ObjectKey, str]] = {}
        self._claimed: dict[ObjectKey, tuple[Frontend, ...]] = {}

    def owner(self, frontend: Frontend) -> ObjectKey | None:
        claimants = self._claimants.get(frontend, {})
        return min(claimants, key=lambda key: (claimants[key], key), default=None)

    def claim(self, key: ObjectKey, age: str, frontends: Iterable[Frontend]) -> set[ObjectKey]:
        """Replace the claims of a Service; all others that want or wanted the same."""
        others = self.give_up(key)
        self._claimed[key] = tuple(dict.fromkeys(frontends))
        for frontend in self._claimed[key]:
            claimants = self._claimants.setdefault(frontend, {})
            others |= set(claimants)
            claimants[key] = age
        return others

    def give_up(self, key: ObjectKey) -> set[ObjectKey]:
        others: set[ObjectKey] = set()
        for frontend in self._claimed.pop(key, ()):
            claimants = self._claimants[frontend]
            del claimants[key]
            others |= set(claimants)
            if not claimants:
                del self._claimants[frontend]
        return others


def is_ours(service: Service) -> bool:
    """Whether a proxy has anything to do for a Service."""
    labels = service.metadata.labels or {}
    if HEADLESS_LABEL in labels or PROXY_NAME_LABEL in labels or service.spec.type == "ExternalName":
        return False
    return service.spec.cluster_ip not in ("", "None")


def claims_of(service: Service, port: Port, family: Family) -> Iterator[Claim]:
    """All frontends that one port of a Service asks for, in this family; without a cluster IP of it, none."""
    spec, protocol = service.spec, port.protocol.lower()
    own = tuple(_parsed(spec.cluster_ips or (spec.cluster_ip,), family))
    if not own:
        return
    for address in own:
        yield FrontendKind.CLUSTER_IP, Frontend(address, protocol, port.port)
    for address in _parsed(spec.external_ips or (), family):
        yield FrontendKind.EXTERNAL_IP, Frontend(address, protocol, port.port)
    status = service.status.load_balancer if service.status else None
    ingress = (entry.ip for entry in (status.ingress if status else None) or () if entry.ip_mode in (None, "VIP"))
    for address in _parsed(ingress, family):
        yield FrontendKind.LOAD_BALANCER_IP, Frontend(address, protocol, port.port)
    if port.node_port:
        yield FrontendKind.NODE_PORT, Frontend(None, protocol, port.node_port)


def affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    return (config and config.client_ip and config.client_ip.timeout_seconds) or DEFAULT_AFFINITY_SECONDS


def health_check_node_port(service: Service) -> int:
    """Where a load balancer asks for endpoints here; only policy Local has a need for it."""
    spec = service.spec
    is_local = spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"
    return spec.health_check_node_port if is_local else 0


def source_ranges(service: Service, family: Family) -> Iterator[IPNetwork]:
    """White space and host bits are tolerated, as in old objects; networks of the other family mean nothing here."""
    for text in service.spec.load_balancer_source_ranges or ():
        try:
            network = ip_network(text.strip(), strict=False)
        except ValueError:
            values = {"service": f"{service.metadata.namespace}/{service.metadata.name}", "range": text}
            logger.warning("Ignoring a source range that is not a network", extra={"kv": values})
            continue
        if network.version == family:
            yield network


def endpoints_of(name: PortName, slices: Iterable[EndpointSlice], node: Node) -> list[Endpoint]:
    """The endpoints of one port, over all slices; of two with one address and port the more usable one counts."""
    found: dict[tuple[IPAddress, int], Endpoint] = {}
    for found_slice in slices:
        if found_slice.address_type != ADDRESS_TYPES[node.family]:
            continue
        for port in found_slice.ports or ():
            if (port.name or "") != name.port or (port.protocol or "TCP").lower() != name.protocol or not port.port:
                continue
            for endpoint in found_slice.endpoints or ():
                for new in _endpoint(endpoint, port.port, node):
                    _merge(found, new)
    return list(found.values())


def _merge(found: dict[tuple[IPAddress, int], Endpoint], new: Endpoint) -> None:
    place = (new.target.address, new.target.port)
    old = found.get(place)
    if old is None or (new.is_ready, new.is_serving) > (old.is_ready, old.is_serving):
        is_local = new.target.is_local or bool(old and old.target.is_local)
        found[place] = replace(new, target=new.target._replace(is_local=is_local))


def _endpoint(endpoint: SliceEndpoint, port: int, node: Node) -> Iterator[Endpoint]:
    conditions, hints = endpoint.conditions, endpoint.hints
    for address in _parsed((endpoint.addresses or ())[:1], node.family):
        yield Endpoint(
            Target(address, port, endpoint.node_name == node.name),
            is_ready=conditions is None or conditions.ready is not False,
            is_serving=conditions is None or conditions.serving is not False,
            is_terminating=bool(conditions and conditions.terminating),
            zone_hints=frozenset(hint.name for hint in (hints.for_zones if hints else None) or ()),
            node_hints=frozenset(hint.name for hint in (hints.for_nodes if hints else None) or ()),
        )


def zone_of(node: NodeObject) -> str:
    return (node.metadata.labels or {}).get("topology.kubernetes.io/zone", "")


def addresses_of(node: NodeObject, family: Family = Family.IPV4) -> tuple[IPAddress, ...]:
    """The node's own addresses, internal ones first."""
    found = sorted((node.status.addresses if node.status else None) or (), key=lambda entry: entry.type != "InternalIP")
    return tuple(dict.fromkeys(_parsed((entry.address for entry in found if entry.type.endswith("IP")), family)))


def _parsed(texts: Iterable[str], family: Family) -> Iterator[IPAddress]:
    """The addresses of a family among these texts."""
    for text in texts:
        address = parse_address(text)
        if address is None:
            if text not in ("", "None"):
                logger.warning("Ignoring what is not an address", extra={"kv": {"address": text}})
        elif address.version == family:
            yield address


@lru_cache(maxsize=1 << 17)
def parse_address(text: str) -> IPAddress | None:
    """The same text is the same object: an address of a pod is in many places."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _service_of(found: EndpointSlice) -> ObjectKey | None:
    name = (found.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    return ObjectKey(found.metadata.namespace, name) if name else None


def _age(service: Service) -> str:
    return service.metadata.creation_timestamp or "9999"
