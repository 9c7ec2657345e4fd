"""Fold informer caches into one frozen picture: service ports with their endpoints, conflicts settled.

Stage: snapshot.  In: changes of Services, EndpointSlices and the Node.  Out: Snapshot.
Rules: no socket, no clock; a Service's view is made again only when one of its own objects changed, or a neighbour gave
up a frontend that both claimed.  What cannot be read is left out with a warning, never a reason to stop.
Truth: a frontend claimed twice belongs to the older Service; endpoints are merged over slices by address and port.
Unlike upstream, whose maps have no order, what comes out never depends on the order of what came in; the scheduler and
the weights of endpoints are ours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import count

from clusterip.api.meta import ObjectKey
from clusterip.proxy.claims import Claim, Claims
from clusterip.proxy.endpoints import ReadSlice, endpoints_of, read_slice, weights_of
from clusterip.proxy.model import (
    NO_WEIGHTS,
    Conflict,
    Family,
    Frontend,
    IPAddress,
    IPNetwork,
    Node,
    PortName,
    ServicePort,
    ServiceView,
    Snapshot,
)
from clusterip.proxy.objects import EndpointSlice, NodeObject, Port, Service
from clusterip.proxy.shards import Shards
from clusterip.proxy.texts import networks, parsed

logger = logging.getLogger(__name__)

DEFAULT_AFFINITY_SECONDS = 10800
_revisions = count(1)


class Collector:
    """Takes changes in, gives snapshots out. Subscribe its methods to informers."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._services: dict[ObjectKey, Service] = {}
        self._slices: dict[ObjectKey, tuple[EndpointSlice | ReadSlice, ...]] = {}
        self._claims = Claims(node.family)
        self._stale: set[ObjectKey] = set()
        self._views: Shards[ObjectKey, ServiceView] = Shards()
        self._latest = Snapshot(node, self._views, revision=next(_revisions))

    def on_service(self, key: tuple[str, str], old: Service | None, new: Service | None) -> None:
        name = ObjectKey(*key)
        before, now = self._services.get(name), new if new and is_ours(new) else None
        if before is None and now is None:
            return
        if now is None:
            del self._services[name]
        else:
            self._services[name] = now
        self._stale.add(name)
        self._stale |= self._claims.replace(name, now)

    def on_slice(self, key: tuple[str, str], old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        own = _service_of(new) if new else None
        for service in {own, _service_of(old) if old else None} - {None}:
            assert service is not None
            slices = [found for found in self._slices.get(service, ()) if _source(found).metadata.name != key[1]]
            if new is not None and service == own:
                slices.append(new)
            if slices:
                self._slices[service] = tuple(sorted(slices, key=_name_of))
            else:
                self._slices.pop(service, None)
            self._stale.add(service)

    def on_node(self, node: Node) -> bool:
        """Take another picture of this node; whether it differs. Which endpoints are local depends on the name only."""
        changed = node != self.node
        if node.name != self.node.name:
            self._slices = {key: tuple(map(_source, slices)) for key, slices in self._slices.items()}
            self._stale |= set(self._services)
        self.node = node
        return changed

    def snapshot(self) -> Snapshot:
        """The picture now; views of Services that did not change are the same objects as before."""
        before = self._latest
        if not self._stale and before.node == self.node:
            return before
        views: dict[ObjectKey, ServiceView] = {}
        lost: dict[ObjectKey, tuple[Conflict, ...]] = {}
        for key in self._stale:
            if service := self._services.get(key):
                conflicts: dict[Frontend, ObjectKey] = {}
                views[key] = self._view(key, service, conflicts)
                if conflicts:
                    lost[key] = tuple([Conflict(*found) for found in conflicts.items()])
        self._views = self._views.changed(views, self._stale)
        changed, self._stale = frozenset(self._stale), set()
        conflicting = _conflicts(before.conflicts, changed, lost)
        self._latest = Snapshot(self.node, self._views, conflicting, changed, next(_revisions), before.revision)
        return self._latest

    def _view(self, key: ObjectKey, service: Service, lost: dict[Frontend, ObjectKey]) -> ServiceView:
        """A Service's ports; what others have of what they ask for is put into `lost`."""
        slices = self._read_slices(key)
        ports = zip(service.spec.ports or (), self._claims.of(key), strict=True)
        return ServiceView(
            key, tuple([self._port(service, port, self._won(key, asked, lost), slices) for port, asked in ports])
        )

    def _read_slices(self, key: ObjectKey) -> tuple[ReadSlice, ...]:
        slices = self._slices.get(key, ())
        read = tuple([found if isinstance(found, ReadSlice) else read_slice(found, self.node) for found in slices])
        if read:
            self._slices[key] = read
        return read

    def _port(
        self, service: Service, port: Port, frontends: tuple[Claim, ...], slices: tuple[ReadSlice, ...]
    ) -> ServicePort:
        spec, metadata, annotations = service.spec, service.metadata, service.metadata.annotations
        name = PortName(metadata.namespace, metadata.name, port.name or "", port.protocol.lower())
        return ServicePort(
            name,
            frontends,
            endpoints_of(name, slices),
            internal_policy_local=spec.internal_traffic_policy == "Local",
            external_policy_local=spec.external_traffic_policy == "Local",
            affinity_seconds=affinity_seconds(service),
            source_ranges=source_ranges(service, self.node.family),
            health_check_node_port=health_check_node_port(service),
            scheduler=annotations.scheduler.strip() if annotations else "",
            weights=weights_of(annotations.weights, name, slices)
            if annotations and annotations.weights
            else NO_WEIGHTS,
        )

    def _won(self, key: ObjectKey, asked: tuple[Claim, ...], lost: dict[Frontend, ObjectKey]) -> tuple[Claim, ...]:
        """Those of the frontends asked for that are its own."""
        others = {
            frontend: owner for _, frontend in asked if (owner := self._claims.owner(frontend)) not in (key, None)
        }
        if not others:
            return asked
        lost.update({frontend: owner for frontend, owner in others.items() if owner})
        return tuple([claim for claim in asked if claim[1] not in others])


def _conflicts(
    before: Mapping[ObjectKey, tuple[Conflict, ...]],
    changed: frozenset[ObjectKey],
    lost: Mapping[ObjectKey, tuple[Conflict, ...]],
) -> Mapping[ObjectKey, tuple[Conflict, ...]]:
    """All conflicts, those of changed Services anew; each is told when it is news."""
    if not lost and not any(key in before for key in changed):
        return before
    for key, found in lost.items():
        _warn(key, set(found) - set(before.get(key, ())))
    return {key: found for key, found in before.items() if key not in changed} | dict(lost)


def _warn(key: ObjectKey, conflicts: Iterable[Conflict]) -> None:
    for frontend, owner in conflicts:
        values = {"service": key, "frontend": frontend, "owner": owner}
        logger.warning("Another Service has this frontend already", extra={"kv": values})


def is_ours(service: Service) -> bool:
    """Whether a proxy has anything to do for a Service."""
    labels = service.metadata.labels
    if labels and (labels.headless is not None or labels.proxy_name is not None):
        return False
    return service.spec.type != "ExternalName" and service.spec.cluster_ip not in ("", "None")


def affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    return (config and config.client_ip and config.client_ip.timeout_seconds) or DEFAULT_AFFINITY_SECONDS


def source_ranges(service: Service, family: Family) -> tuple[IPNetwork, ...]:
    """Who may come in by load balancer IPs; a range of everybody is as good as none."""
    if not service.spec.load_balancer_source_ranges:
        return ()
    key = ObjectKey(service.metadata.namespace, service.metadata.name)
    found = tuple(networks(service.spec.load_balancer_source_ranges, family, key))
    return found if all(network.prefixlen for network in found) else ()


def health_check_node_port(service: Service) -> int:
    """Where a load balancer asks for endpoints here; only policy Local has a need for it."""
    spec = service.spec
    is_local = spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"
    return spec.health_check_node_port if is_local else 0


def zone_of(node: NodeObject) -> str:
    return node.metadata.labels.zone if node.metadata.labels else ""


def addresses_of(node: NodeObject, family: Family = Family.IPV4) -> tuple[IPAddress, ...]:
    """The node's own addresses, internal ones first."""
    found = sorted((node.status.addresses if node.status else None) or (), key=lambda entry: entry.type != "InternalIP")
    texts = [entry.address for entry in found if entry.type.endswith("IP")]
    return tuple(dict.fromkeys(parsed(texts, family)))


def _source(found: EndpointSlice | ReadSlice) -> EndpointSlice:
    return found.source if isinstance(found, ReadSlice) else found


def _name_of(found: EndpointSlice | ReadSlice) -> str:
    return _source(found).metadata.name


def _service_of(found: EndpointSlice) -> ObjectKey | None:
    name = found.metadata.labels.service_name if found.metadata.labels else ""
    return ObjectKey(found.metadata.namespace, name) if name else None
