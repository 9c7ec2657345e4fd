"""Readings for people, for programs, and for Prometheus.

Stage: plan.  In: readings.  Out: a table, lines, a tree for JSON, exposition text.
Rules: pure; series of Services that are gone are gone.
Truth: Prometheus text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clusterip.clock import rfc3339
from clusterip.cluster.monitoring import Reading, Readings
from clusterip.cluster.report import table
from clusterip.transport.exposition import Kind, Metric, Registry, doubling

NONE = "-"
MOST = 5  # endpoints in one line
SERVICE = ("namespace", "service", "port")
AVAILABLE = Metric(
    "clusterip_service_available",
    Kind.GAUGE,
    "Share of nodes from which a connection to the cluster IP succeeded at the last look.",
    SERVICE,
)
PROBES = Metric(
    "clusterip_service_probes_total",
    Kind.COUNTER,
    "Connections tried to cluster IPs from nodes, by what became of them.",
    (*SERVICE, "result"),
)
CONNECT = Metric(
    "clusterip_service_connect_seconds",
    Kind.GAUGE,
    "Time to connect to the cluster IP at the last look, from the slowest node.",
    SERVICE,
)
ENDPOINTS = Metric(
    "clusterip_service_endpoints", Kind.GAUGE, "Endpoints of a Service's port, by state.", (*SERVICE, "state")
)
CONNECTIONS = Metric(
    "clusterip_service_connections_total",
    Kind.COUNTER,
    "Connections through a Service's addresses that the nodes' connection tracking showed, by endpoint.",
    (*SERVICE, "endpoint"),
)
DNS = Metric(
    "clusterip_dns_lookup_seconds",
    Kind.HISTOGRAM,
    "Time until cluster DNS answered a node.",
    ("node",),
    doubling(0.0001, 14),
)
LOOKUPS = Metric(
    "clusterip_dns_lookups_total",
    Kind.COUNTER,
    "Questions to cluster DNS from nodes, by what became of them.",
    ("node", "result"),
)
LOOKS = Metric("clusterip_monitor_looks_total", Kind.COUNTER, "How often the cluster was looked at.")


def milliseconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds * 1000:.1f} ms"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share * 100:.1f}%".replace(".0%", "%")


def view(name: str, readings: Readings) -> str:
    """One screen."""
    head = f"cluster {name}, {rfc3339(readings.at)}, look {readings.look}"
    services = [("SERVICE", "AVAILABLE", "SO FAR", "CONNECT", "ENDPOINTS", "LOAD"), *map(_row, readings.ports)]
    lookups = [
        (
            node,
            milliseconds(lookup.seconds) if lookup.seconds is not None else lookup.trouble,
            milliseconds(tries.mean_seconds),
            milliseconds(tries.worst_seconds if tries.answered else None),
            percent(tries.share),
        )
        for node, (lookup, tries) in readings.names.items()
    ]
    names = ["", *table([("DNS FROM", "LATEST", "MEAN", "WORST", "ANSWERED"), *lookups])] if lookups else []
    return "\n".join([head, "", *table(services), *names, *("  " + trouble for trouble in readings.troubles)])


def lines(readings: Readings) -> Iterator[str]:
    """A line for each port of a Service and each node's DNS, for logs and pipes."""
    at = rfc3339(readings.at)
    for reading in readings.ports:
        _, available, so_far, connect, endpoints, load = _row(reading)
        yield (
            f"{at} service={reading.watched.key} available={_word(available).replace(' ', '-')} so-far={so_far} "
            f"connect={_word(connect)} endpoints={endpoints} load={_word(load).replace(' ', ':')}"
        )
    for node, (lookup, tries) in readings.names.items():
        yield (
            f"{at} dns={node} latest={_word(milliseconds(lookup.seconds))} "
            f"mean={_word(milliseconds(tries.mean_seconds))} answered={percent(tries.share)}"
        )
    yield from (f"{at} trouble={trouble!r}" for trouble in readings.troubles)


def _word(text: str) -> str:
    return text.replace(", ", ",").replace(": ", ":").replace(" ms", "ms")


def _row(reading: Reading) -> tuple[str, ...]:
    shares = [f"{name} {percent(share)}" for name, (count, share) in reading.load().items() if count]
    more = [f"{len(shares) - MOST} more"] if len(shares) > MOST else []
    return (
        str(reading.watched.key),
        _available(reading),
        percent(reading.tries.share),
        milliseconds(reading.connect_seconds),
        f"{reading.ready}/{len(reading.watched.endpoints)}",
        ", ".join(shares[:MOST] + more) or NONE,
    )


def _available(reading: Reading) -> str:
    """Yes, or what the first node that failed heard."""
    if reading.is_available is None:
        return NONE
    failed = [probe for probe in reading.probes if probe.seconds is None]
    return f"{failed[0].node}: {failed[0].trouble}" if failed else "yes"


def tree(readings: Readings) -> dict[str, Any]:
    """For programs."""
    return {
        "at": rfc3339(readings.at),
        "look": readings.look,
        "services": [_tree_of(reading) for reading in readings.ports],
        "dns": [
            {"node": node, "seconds": lookup.seconds, "meanSeconds": tries.mean_seconds, "answered": tries.share}
            | ({"trouble": lookup.trouble} if lookup.trouble else {})
            for node, (lookup, tries) in readings.names.items()
        ],
        "troubles": list(readings.troubles),
    }


def _tree_of(reading: Reading) -> dict[str, Any]:
    key = reading.watched.key
    return {
        "namespace": key.namespace,
        "service": key.service,
        "port": key.port,
        "available": reading.is_available,
        "availableSoFar": reading.tries.share,
        "connectSeconds": reading.connect_seconds,
        "endpoints": {"ready": reading.ready, "all": len(reading.watched.endpoints)},
        "load": {name: {"connections": count, "share": share} for name, (count, share) in reading.load().items()},
        "failures": {probe.node: probe.trouble for probe in reading.probes if probe.seconds is None},
    }


class Numbers:
    """The readings as metrics."""

    def __init__(self) -> None:
        self.registry = Registry((LOOKS, AVAILABLE, PROBES, CONNECT, ENDPOINTS, CONNECTIONS, DNS, LOOKUPS))
        self._latest: Readings | None = None
        for metric, of in (
            (AVAILABLE, _shares),
            (PROBES, _probes),
            (CONNECT, _connects),
            (ENDPOINTS, _counts),
            (CONNECTIONS, _connections),
        ):
            self.registry.follow(metric.name, lambda of=of: dict(self._of_services(of)))  # type: ignore[misc]

    def take(self, readings: Readings) -> None:
        """The latest look."""
        self._latest = readings
        self.registry.count(LOOKS.name)
        for node, (lookup, _) in readings.names.items():
            self.registry.count(LOOKUPS.name, node=node, result="failed" if lookup.seconds is None else "answered")
            if lookup.seconds is not None:
                self.registry.observe(DNS.name, lookup.seconds, node=node)

    @property
    def is_ready(self) -> bool:
        return self._latest is not None

    def _of_services(self, of: Any) -> Iterator[tuple[tuple[str, ...], float]]:
        for reading in self._latest.ports if self._latest else ():
            for more, value in of(reading):
                yield (*reading.watched.key, *more), value


Values = Iterator[tuple[tuple[str, ...], float]]


def _shares(reading: Reading) -> Values:
    if reading.probes:
        yield (), sum(probe.seconds is not None for probe in reading.probes) / len(reading.probes)


def _probes(reading: Reading) -> Values:
    if reading.tries.tried:
        yield ("answered",), reading.tries.answered
        yield ("failed",), reading.tries.tried - reading.tries.answered


def _connects(reading: Reading) -> Values:
    if reading.connect_seconds is not None:
        yield (), reading.connect_seconds


def _counts(reading: Reading) -> Values:
    yield ("ready",), reading.ready
    yield ("unready",), len(reading.watched.endpoints) - reading.ready


def _connections(reading: Reading) -> Values:
    for name, (count, _) in reading.load().items():
        yield (name,), count
