"""What is read of a server when its numbers are asked for: objects, watchers, turns, and the most at once.

Stage: status.  In: the parts that know.  Out: sources of a metrics registry.
Rules: nothing here is called but by who asks for /metrics; a Peak is the one thing that requests move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clusterip.apiserver.flow import Gate, Lane, Level
from clusterip.apiserver.registry import Registry
from clusterip.store.contract import Store
from clusterip.transport import exposition
from clusterip.transport.exposition import Labels

Numbers = Mapping[Labels, float]


@dataclass(slots=True)
class Peak:
    """The most at once in the last second."""

    now: int = 0
    most: int = 0
    second: int = 0
    before: int = 0

    def moved(self, by: int, moment: float) -> None:
        if moment >= self.second + 1:
            self.before = self.most if moment < self.second + 2 else self.now
            self.second, self.most = int(moment), self.now
        self.now += by
        if self.now > self.most:
            self.most = self.now


@dataclass(frozen=True, slots=True)
class Known:
    """Who knows the numbers."""

    registry: Registry
    store: Store
    gate: Gate
    lanes: Callable[[], Sequence[Lane]]
    peaks: tuple[Peak, Peak]
    """Requests at work: of writing, of reading."""
    queued: tuple[Peak, Peak]
    now: Callable[[], float]
    lost: Callable[[], int]
    """Audit events that could not be kept."""
    failed: Callable[[], int]
    """TLS handshakes that came to nothing."""


def show(metrics: exposition.Registry, known: Known) -> None:
    """Have the numbers read whenever they are asked for."""
    objects = partial(_objects, known.registry)
    metrics.follow("apiserver_resource_objects", objects)
    metrics.follow("apiserver_storage_objects", lambda: {(_qualified(*key),): n for key, n in objects().items()})
    metrics.follow("apiserver_registered_watchers", partial(_watchers, known.registry))
    metrics.follow("apiserver_current_inflight_requests", partial(_most, known.peaks, known.now))
    metrics.follow("apiserver_current_inqueue_requests", partial(_most, known.queued, known.now))
    metrics.follow("apiserver_audit_error_total", lambda: {("log",): float(known.lost())})
    metrics.follow("apiserver_tls_handshake_errors_total", lambda: {(): float(known.failed())})
    metrics.follow("apiserver_storage_size_bytes", partial(_size, known.store))
    for name, read in PER_LANE.items():
        metrics.follow(f"apiserver_flowcontrol_{name}", partial(_by_flow, known.lanes, read))
    for name, limit in PER_LEVEL.items():
        metrics.follow(f"apiserver_flowcontrol_{name}", partial(_by_level, known.gate, limit))


def _most(peaks: tuple[Peak, Peak], now: Callable[[], float]) -> Numbers:
    for peak in peaks:
        peak.moved(0, now())
    return {("mutating",): max(peaks[0].before, peaks[0].most), ("readOnly",): max(peaks[1].before, peaks[1].most)}


def _size(store: Store) -> Numbers:
    """Of a store that is a file, the file with its log; nothing of others."""
    path: Path | None = getattr(store, "path", None)
    if path is None:
        return {}
    files = (path, path.with_name(f"{path.name}-wal"))
    return {(path.name,): float(sum(each.stat().st_size for each in files if each.exists()))}


def _objects(registry: Registry) -> dict[Labels, float]:
    return {tuple(key.partition("/")[::2]): float(len(each.entries)) for key, each in registry.collections.items()}


def _qualified(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def _watchers(registry: Registry) -> Numbers:
    found: dict[Labels, float] = {}
    for served in registry.served.values():
        resource, watchers = served.resource, served.collection.watchers
        if not resource.storage and (number := sum(key > 0 for key in watchers)):
            found[resource.group, resource.version, resource.kind] = float(number)
    return found


def _by_flow(lanes: Callable[[], Sequence[Lane]], read: Callable[[Lane], float]) -> Numbers:
    found: dict[Labels, float] = {}
    for lane in lanes():
        key = (lane.level.name, lane.schema)
        found[key] = found.get(key, 0.0) + read(lane)
    return found


def _by_level(gate: Gate, read: Callable[[Gate, Level], float]) -> Numbers:
    return {(level.name,): float(read(gate, level)) for level in gate.levels}


PER_LANE: dict[str, Callable[[Lane], float]] = {
    "dispatched_requests_total": lambda lane: lane.dispatched,
    "current_executing_requests": lambda lane: lane.requests,
    "current_executing_seats": lambda lane: lane.seats,
    "current_inqueue_requests": lambda lane: lane.waiting,
    "current_inqueue_seats": lambda lane: lane.waiting_seats,
}
PER_LEVEL: dict[str, Callable[[Gate, Level], float]] = {
    "nominal_limit_seats": lambda gate, level: level.nominal,
    "lower_limit_seats": lambda gate, level: level.nominal - level.lendable,
    "upper_limit_seats": lambda gate, level: level.nominal + (level.borrowable or 0),
    "current_limit_seats": lambda gate, level: gate.limit(level),
}
