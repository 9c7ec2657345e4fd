"""Runs endpointslice and endpoints: which Services a change of a pod, node or slice concerns.

Stage: shell.  In: Services, pods, nodes, slices, Endpoints.  Out: two loops.
Rules: nothing is decided here; a pod that changed in nothing that endpoints tell wakes nobody.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.client.informer import Informer
from clusterip.client.names import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from clusterip.controllers import endpoints, endpointslice, topology
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Endpoints, EndpointSlice, Node, Pod, Service
from clusterip.controllers.podendpoints import is_automatic
from clusterip.controllers.writes import NOTHING, Key, Outcome

Label = tuple[str, str, str]  # namespace, name, value


class Matching:
    """Services to pods and back, through indices by label."""

    def __init__(self, services: Informer[Service], pods: Informer[Pod]) -> None:
        self._services, self._pods = services, pods
        services.index("selector", _rarest_label)
        pods.index("label", _labels)
        pods.index("node", lambda pod: (pod.spec.node_name,))

    def pods(self, service: Service) -> list[Pod]:
        selector = service.spec.selector or {}
        label = next(iter(_rarest_label(service)), None)
        found = self._pods.by_index("label", label) if label else []
        return [pod for pod in found if selector.items() <= pod.metadata.labels.items()]

    def services(self, pod: Pod) -> Iterable[Key]:
        labels = pod.metadata.labels.items()
        for label in _labels(pod):
            for service in self._services.by_index("selector", label):
                if (service.spec.selector or {}).items() <= labels:
                    yield pod.metadata.namespace, service.metadata.name

    def pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> Iterable[Key]:
        if old is not None and new is not None and told(old) == told(new):
            return ()
        return {concerned for pod in (old, new) if pod is not None for concerned in self.services(pod)}

    def node_changed(self, key: Key, old: Node | None, new: Node | None) -> Iterable[Key]:
        if old is not None and new is not None and zone_of(old) == zone_of(new):
            return ()
        return {concerned for pod in self._pods.by_index("node", key[1]) for concerned in self.services(pod)}


def _rarest_label(service: Service) -> Iterable[Label]:
    """One label of the selector, under which its pods are looked up; the last by name tends to be the most telling."""
    selector = service.spec.selector
    if selector:
        name = max(selector, key=lambda name: (len(selector[name]), name))
        yield service.metadata.namespace, name, selector[name]


def _labels(pod: Pod) -> Iterable[Label]:
    return ((pod.metadata.namespace, name, value) for name, value in pod.metadata.labels.items())


def told(pod: Pod) -> tuple[object, ...]:
    """All of a pod that endpoints tell."""
    spec, status = pod.spec, pod.status
    return (
        pod.metadata.labels,
        status.pod_ip,
        status.pod_ips,
        pod.is_ready,
        pod.is_finished,
        pod.metadata.is_terminating,
        spec.node_name,
        spec.hostname,
        spec.subdomain,
    )


def zone_of(node: Node) -> str | None:
    return node.metadata.labels.get(topology.ZONE)


def start_slices(world: World) -> list[Loop]:
    services, pods = world.follow(SERVICES, Service), world.follow(PODS, Pod)
    nodes, slices = world.follow(NODES, Node), world.follow(ENDPOINT_SLICES, EndpointSlice)
    matching = Matching(services, pods)
    slices.index("service", _service_of)
    services.index("automatic", lambda service: (True,) if is_automatic(service) else ())
    zones: dict[str, str | None] = {}

    def node_changed(key: Key, old: Node | None, new: Node | None) -> Iterable[Key]:
        if new is None:
            zones.pop(key[1], None)
        else:
            zones[key[1]] = zone_of(new)
        concerned = set(matching.node_changed(key, old, new))
        former, present = (topology.node_facts(node) if node is not None else None for node in (old, new))
        if former != present:
            concerned |= {(one.metadata.namespace, one.metadata.name) for one in services.by_index("automatic", True)}
        return concerned

    def look(key: Key) -> Outcome:
        service = services.get(*key)
        if service is None:
            return NOTHING  # its slices go with it
        found = slices.by_index("service", key)
        parts = topology.shares(nodes.items().values()) if is_automatic(service) else {}
        return Outcome(endpointslice.reconcile(service, matching.pods(service), found, zones, parts))

    loop = Loop("endpointslice", world, look)
    loop.follow(services)
    loop.follow(pods, matching.pod_changed)
    loop.follow(nodes, node_changed)
    loop.follow(slices, _slice_changed)
    return [loop]


def _slice_changed(key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> Iterable[Key]:
    ours = [slice for slice in (old, new) if slice is not None and endpointslice.is_ours(slice)]
    return {service for slice in ours for service in _service_of(slice)}


def _service_of(slice: EndpointSlice) -> Iterable[Key]:
    name = slice.metadata.labels.get(SERVICE_NAME_LABEL)
    return ((slice.metadata.namespace, name),) if name else ()


def start_endpoints(world: World) -> list[Loop]:
    services, pods = world.follow(SERVICES, Service), world.follow(PODS, Pod)
    known = world.follow(ENDPOINTS, Endpoints)
    matching = Matching(services, pods)
    deleted: set[Key] = set()  # Services that went while this part ran: what bears their name goes too

    def look(key: Key) -> Outcome:
        service, found = services.get(*key), known.get(*key)
        if service is not None:
            deleted.discard(key)
            return Outcome(endpoints.reconcile(service, matching.pods(service), found))
        if found is not None and (key in deleted or endpoints.is_ours(found)):
            return Outcome(endpoints.leftover(found))
        return NOTHING

    def service_changed(key: Key, old: Service | None, new: Service | None) -> Iterable[Key]:
        if new is None:
            deleted.add(key)
        return (key,)

    def endpoints_changed(key: Key, old: Endpoints | None, new: Endpoints | None) -> Iterable[Key]:
        if new is None:
            deleted.discard(key)
        return (key,)

    loop = Loop("endpoints", world, look)
    loop.follow(services, service_changed)
    loop.follow(pods, matching.pod_changed)
    loop.follow(known, endpoints_changed)
    return [loop]
