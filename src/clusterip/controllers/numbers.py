"""What controllers count: their work queues, by the names that dashboards of Kubernetes know.

Stage: status.  In: what happens to keys.  Out: numbers of a registry.
Truth: component-base's metrics/prometheus/workqueue, client-go's util/workqueue/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Final

from clusterip.transport.exposition import Kind, Labels, Metric, Registry

SECONDS: Final = tuple(10.0**power for power in range(-8, 2))
NAME: Final = ("name",)
BETA: Final = "BETA"

METRICS: Final = (
    Metric("workqueue_adds_total", Kind.COUNTER, "Keys that were to be worked on.", NAME, stability=BETA),
    Metric("workqueue_depth", Kind.GAUGE, "Keys that wait.", NAME, stability=BETA),
    Metric(
        "workqueue_queue_duration_seconds", Kind.HISTOGRAM, "Seconds that a key waited.", NAME, SECONDS, stability=BETA
    ),
    Metric(
        "workqueue_work_duration_seconds", Kind.HISTOGRAM, "Seconds of work on a key.", NAME, SECONDS, stability=BETA
    ),
    Metric("workqueue_retries_total", Kind.COUNTER, "Keys that come again after a failure.", NAME, stability=BETA),
    Metric(
        "workqueue_unfinished_work_seconds",
        Kind.GAUGE,
        "Seconds of work that goes on, of all keys together.",
        NAME,
        stability=BETA,
    ),
    Metric(
        "workqueue_longest_running_processor_seconds",
        Kind.GAUGE,
        "Seconds of the longest work that goes on.",
        NAME,
        stability=BETA,
    ),
)


class QueueNumbers:
    """The numbers of one queue; it is told what happens to keys."""

    def __init__(self, name: str, registry: Registry, now: Callable[[], float]) -> None:
        self.name, self._now = name, now
        self.adds = self.retries = 0
        self._waiting: dict[Hashable, float] = {}
        self._working: dict[Hashable, float] = {}
        self._latency = registry.histogram("workqueue_queue_duration_seconds", name)
        self._duration = registry.histogram("workqueue_work_duration_seconds", name)

    def added(self, key: Hashable) -> None:
        self.adds += 1
        self._waiting.setdefault(key, self._now())

    def taken(self, key: Hashable) -> None:
        now = self._now()
        self._latency.observe(now - self._waiting.pop(key, now))
        self._working[key] = now

    def done(self, key: Hashable) -> None:
        now = self._now()
        self._duration.observe(now - self._working.pop(key, now))

    def retried(self) -> None:
        self.retries += 1

    @property
    def depth(self) -> int:
        return len(self._waiting)

    def unfinished(self) -> list[float]:
        """Seconds of each work that goes on."""
        now = self._now()
        return [now - began for began in self._working.values()]


class Queues:
    """The queues of a process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.registry = Registry(METRICS)
        self._now = now
        self._queues: dict[str, QueueNumbers] = {}
        for metric, read in READ.items():
            self.registry.follow(metric, partial(self._read, read))

    def of(self, name: str) -> QueueNumbers:
        """The numbers of a queue; one that comes again goes on counting in new ones."""
        found = self._queues[name] = QueueNumbers(name, self.registry, self._now)
        return found

    def _read(self, read: Callable[[QueueNumbers], float]) -> Mapping[Labels, float]:
        return {(name,): read(each) for name, each in self._queues.items()}


READ: Final[dict[str, Callable[[QueueNumbers], float]]] = {
    "workqueue_adds_total": lambda queue: queue.adds,
    "workqueue_depth": lambda queue: queue.depth,
    "workqueue_retries_total": lambda queue: queue.retries,
    "workqueue_unfinished_work_seconds": lambda queue: sum(queue.unfinished()),
    "workqueue_longest_running_processor_seconds": lambda queue: max(queue.unfinished(), default=0.0),
}
