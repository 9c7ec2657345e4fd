"""What is worth watching of Services: whether they answer, their endpoints, who gets the load, how fast DNS is.

Stage: plan.  In: samples (`probing` takes them).  Out: readings; what was counted goes on from one to the next.
Rules: pure, and a sample may lack anything.  A connection is counted once, when it is first seen in a node's connection
tracking under an address of a Service; our own probes are not counted.  One that began and was forgotten between two
samples is not seen (the kernel keeps an ended connection for two minutes, a refused one for ten seconds).
Truth: discovery.k8s.io/v1 on ready endpoints; Service addresses as kube-proxy takes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias

from clusterip.api.addresses import balancers_of, with_port
from clusterip.api.endpointslice import is_ready, service_of
from clusterip.api.meta import ObjectKey, Tree, key_of
from clusterip.kernel.conntrack import Flow


class Spot(NamedTuple):
    """An address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return with_port(self.address, self.port)


class Key(NamedTuple):
    """A port of a Service."""

    namespace: str
    service: str
    port: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}:{self.port}"


@dataclass(frozen=True, slots=True)
class Watched:
    """What a port of a Service should be."""

    key: Key
    virtual: tuple[Spot, ...] = ()  # asked by probes
    fronts: frozenset[Spot] = frozenset()  # every place at which clients ask
    endpoints: Mapping[Spot, bool] = field(default_factory=dict)  # whether it is ready
    names: Mapping[Spot, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """One try to connect from a node; no seconds: it failed."""

    node: str
    at: Spot
    source_port: int
    seconds: float | None
    trouble: str = ""


Try: TypeAlias = tuple[str, int, Spot]
"""A probe as connection tracking shows it: node, source port, where it went."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """One question to cluster DNS from a node."""

    node: str
    seconds: float | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """All that was found at one moment."""

    at: datetime
    ports: tuple[Watched, ...] = ()
    probes: tuple[Probe, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    flows: Mapping[str, tuple[Flow, ...]] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()


@dataclass(slots=True)
class Tries:
    """How often something was tried, how often it went well, and how long it took."""

    tried: int = 0
    answered: int = 0
    total_seconds: float = 0.0
    worst_seconds: float = 0.0

    def add(self, seconds: float | None) -> None:
        self.tried += 1
        if seconds is not None:
            self.answered += 1
            self.total_seconds += seconds
            self.worst_seconds = max(self.worst_seconds, seconds)

    @property
    def share(self) -> float | None:
        return self.answered / self.tried if self.tried else None

    @property
    def mean_seconds(self) -> float | None:
        return self.total_seconds / self.answered if self.answered else None


@dataclass(frozen=True, slots=True)
class Reading:
    """A port of a Service, as it is now and as it was since watching began."""

    watched: Watched
    probes: tuple[Probe, ...]
    tries: Tries
    connections: Mapping[Spot, int]

    @property
    def is_available(self) -> bool | None:
        """Whether every node's probe was answered; None when nobody can ask (no address, no TCP)."""
        return all(probe.seconds is not None for probe in self.probes) if self.probes else None

    @property
    def connect_seconds(self) -> float | None:
        """The slowest node's probe."""
        return max((probe.seconds for probe in self.probes if probe.seconds is not None), default=None)

    @property
    def ready(self) -> int:
        return sum(self.watched.endpoints.values())

    def load(self) -> dict[str, tuple[int, float]]:
        """Connections of each endpoint and their share; those that are gone only while they have some."""
        spots = dict.fromkeys((*sorted(self.watched.endpoints), *sorted(self.connections)), 0) | dict(self.connections)
        total = sum(spots.values())
        return {
            self.watched.names.get(spot, str(spot)): (count, count / total if total else 0.0)
            for spot, count in spots.items()
        }


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything that one look gave."""

    at: datetime
    look: int
    ports: tuple[Reading, ...]
    names: Mapping[str, tuple[Lookup, Tries]]
    troubles: tuple[str, ...]


class Monitor:
    """What was counted since watching began."""

    def __init__(self) -> None:
        self._looks = 0
        self._tries: dict[Key, Tries] = {}
        self._names: dict[str, Tries] = {}
        self._seen: dict[str, set[Flow]] = {}
        self._ours: set[Try] = set()
        self._connections: dict[Key, Counter[Spot]] = {}

    def observe(self, sample: Sample) -> Readings:
        """Take one more sample in."""
        self._looks += 1
        known = {watched.key for watched in sample.ports}
        for counted in (self._tries, self._connections):
            for key in counted.keys() - known:
                del counted[key]
        ours = {(probe.node, probe.source_port, probe.at) for probe in sample.probes}
        self._ours = ours | self._count(sample, ours | self._ours)
        return Readings(
            sample.at,
            self._looks,
            tuple(self._reading(watched, sample.probes) for watched in sample.ports),
            {lookup.node: (lookup, self._looked_up(lookup)) for lookup in sample.lookups},
            sample.troubles,
        )

    def _reading(self, watched: Watched, probes: Iterable[Probe]) -> Reading:
        mine = tuple(probe for probe in probes if probe.at in watched.virtual)
        tries = self._tries.setdefault(watched.key, Tries())
        for probe in mine:
            tries.add(probe.seconds)
        return Reading(watched, mine, tries, dict(self._connections.get(watched.key, Counter())))

    def _looked_up(self, lookup: Lookup) -> Tries:
        tries = self._names.setdefault(lookup.node, Tries())
        tries.add(lookup.seconds)
        return tries

    def _count(self, sample: Sample, ours: set[Try]) -> set[Try]:
        """Count the connections that are new; those of our own tries that are still tracked."""
        by_front = {spot: watched.key for watched in sample.ports for spot in watched.fronts}
        tracked = set[Try]()
        for node, flows in sample.flows.items():
            seen, self._seen[node] = self._seen.get(node, set()), set()
            for flow in flows:
                front = Spot(str(flow.original.destination), flow.original.port)
                key, attempt = by_front.get(front), (node, flow.original.source_port, front)
                if attempt in ours:
                    tracked.add(attempt)
                elif key is not None:
                    self._count_one(node, flow, key, seen)
        return tracked

    def _count_one(self, node: str, flow: Flow, key: Key, seen: set[Flow]) -> None:
        self._seen[node].add(flow)
        front, endpoint = flow.original, Spot(str(flow.reply.source), flow.reply.source_port)
        if flow not in seen and endpoint != (str(front.destination), front.port):
            self._connections.setdefault(key, Counter())[endpoint] += 1


def watched_ports(services: Iterable[Tree], slices: Sequence[Tree], nodes: Sequence[str]) -> tuple[Watched, ...]:
    """The ports of all Services, with what their slices say; `nodes` are the nodes' addresses."""
    by_service: dict[ObjectKey, list[Tree]] = {}
    for each in slices:
        by_service.setdefault(service_of(each), []).append(each)
    found = [
        _watched(service, port, by_service.get(key_of(service), []), nodes)
        for service in services
        for port in service["spec"].get("ports") or ()
    ]
    return tuple(sorted(found, key=lambda watched: watched.key))


def _watched(service: Tree, port: Tree, slices: Iterable[Tree], nodes: Sequence[str]) -> Watched:
    meta, spec, protocol = service["metadata"], service["spec"], port.get("protocol", "TCP")
    key = Key(meta["namespace"], meta["name"], f"{port['port']}/{protocol}")
    places = {spot: (ready, name) for each in slices for spot, ready, name in _endpoints(each, port.get("name") or "")}
    endpoints = {spot: ready for spot, (ready, _) in places.items()}
    names = {spot: name for spot, (_, name) in places.items() if name}
    if spec.get("type") == "ExternalName" or protocol != "TCP":
        return Watched(key, endpoints=endpoints, names=names)
    virtual = tuple(Spot(ip, port["port"]) for ip in spec.get("clusterIPs") or () if ip != "None")
    return Watched(key, virtual, frozenset((*virtual, *_others(service, port, nodes))), endpoints, names)


def _others(service: Tree, port: Tree, nodes: Sequence[str]) -> Iterator[Spot]:
    """The ways in from outside."""
    given = (each["ip"] for each in balancers_of(service) if each.get("ip"))
    for ip in (*(service["spec"].get("externalIPs") or ()), *given):
        yield Spot(ip, port["port"])
    if port.get("nodePort"):
        yield from (Spot(ip, port["nodePort"]) for ip in nodes)


def _endpoints(each: Tree, port_name: str) -> Iterator[tuple[Spot, bool, str]]:
    """The places that a slice has for a port, whether they are ready, and the pods' names."""
    numbers = [port.get("port") for port in each.get("ports") or () if (port.get("name") or "") == port_name]
    for endpoint in each.get("endpoints") or ():
        ready, name = is_ready(endpoint), (endpoint.get("targetRef") or {}).get("name") or ""
        for address in endpoint.get("addresses") or ():
            yield from ((Spot(address, number), ready, name) for number in numbers if number)
