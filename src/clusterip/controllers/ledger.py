"""What is asked of each node already, and by whom.

Stage: snapshot.  In: pods as they come and go, and pods just placed.  Out: sums per node.
Rules: amounts are thousandths of a unit, whole numbers; a pod is counted once, where it was last seen or placed.
Truth: KEP-753 (sidecars in requests), kube-scheduler's NodeInfo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from clusterip.api.quantity import milli
from clusterip.controllers.model import Container, Pod, PodSpec

Amounts = Mapping[str, int]  # resource -> thousandths
HostPort = tuple[str, str, int]  # protocol, address, port
ANYWHERE = ("", "0.0.0.0")


@dataclass(slots=True)
class Load:
    """What one node carries."""

    requested: Counter[str] = field(default_factory=Counter)
    pods: int = 0
    owners: Counter[str] = field(default_factory=Counter)
    ports: Counter[HostPort] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Entry:
    node: str
    requests: tuple[tuple[str, int], ...]
    owner: str
    ports: tuple[HostPort, ...]


class Ledger:
    """Loads by node, kept up to date pod by pod."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._loads: dict[str, Load] = {}

    def load(self, node: str) -> Load:
        return self._loads.get(node) or Load()

    def put(self, pod: Pod, node: str) -> None:
        """Count the pod on the node, and nowhere else."""
        self.remove(pod.metadata.uid)
        self._entries[pod.metadata.uid] = entry = _entry(pod, node)
        self._count(entry, 1)

    def remove(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is not None:
            self._count(entry, -1)

    def _count(self, entry: Entry, sign: int) -> None:
        load = self._loads.setdefault(entry.node, Load())
        _add(load, entry, sign)
        if not load.pods:
            del self._loads[entry.node]


def adjusted(load: Load, added: Iterable[Pod] = (), removed: Iterable[Pod] = ()) -> Load:
    """The load as it would be with some pods more, or less."""
    found = Load(Counter(load.requested), load.pods, Counter(load.owners), Counter(load.ports))
    for sign, pods in ((1, added), (-1, removed)):
        for pod in pods:
            _add(found, _entry(pod, pod.spec.node_name), sign)
    return found


def _entry(pod: Pod, node: str) -> Entry:
    return Entry(node, tuple(requests_of(pod.spec).items()), owner_of(pod), tuple(host_ports(pod.spec)))


def _add(load: Load, entry: Entry, sign: int) -> None:
    load.pods += sign
    for name, amount in entry.requests:
        load.requested[name] += sign * amount
    for port in entry.ports:
        load.ports[port] += sign
    if entry.owner:
        load.owners[entry.owner] += sign


def owner_of(pod: Pod) -> str:
    """What pods must share to be spread: their controller."""
    owner = pod.metadata.controller
    return owner.uid if owner else ""


def requests_of(spec: PodSpec) -> dict[str, int]:
    """What the pod asks: its containers and sidecars together, or an init step with the sidecars started before it."""
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in spec.init_containers:
        asked = _asked(container)
        if container.restart_policy == "Always":
            running.update(asked)
            peak |= running
        else:
            peak |= Counter(asked) + running
    for container in spec.containers:
        running.update(_asked(container))
    total = (running | peak) + Counter({name: _milli(value) for name, value in spec.overhead.items()})
    return dict(total)


def _asked(container: Container) -> dict[str, int]:
    """Requests; what is only limited is asked for too, as the API's defaults say."""
    resources = container.resources
    return {name: _milli(value) for name, value in {**resources.limits, **resources.requests}.items()}


def allocatable(amounts: Mapping[str, Any]) -> dict[str, int]:
    return {name: _milli(value) for name, value in amounts.items()}


def _milli(value: Any) -> int:
    return _parsed(str(value))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> int:
    return milli(text)


def host_ports(spec: PodSpec) -> Iterable[HostPort]:
    for container in spec.containers:
        for port in container.ports:
            if port.host_port:
                yield port.protocol, port.host_ip, port.host_port


def collides(wanted: Iterable[HostPort], taken: Mapping[HostPort, int]) -> bool:
    """Whether a port is taken; an unspecified address takes it on all."""
    return any(_same(one, other) for one in wanted for other, count in taken.items() if count > 0)


def _same(one: HostPort, other: HostPort) -> bool:
    overlap = one[1] == other[1] or one[1] in ANYWHERE or other[1] in ANYWHERE
    return one[0] == other[0] and one[2] == other[2] and overlap
