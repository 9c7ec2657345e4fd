"""The proxy's metrics, with upstream's names, and their text form.

Stage: status.  In: what the runner did.  Out: Prometheus exposition text.
Rules: no clock, no socket; numbers only go in by `count`, `put` and `observe`.
Truth: k8s.io/kubernetes pkg/proxy/metrics; Prometheus text format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

PREFIX = "kubeproxy_"
SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

COUNTERS = {
    "sync_proxy_rules_endpoint_changes_total": "Cumulative proxy rules Endpoint changes",
    "sync_proxy_rules_service_changes_total": "Cumulative proxy rules Service changes",
    "sync_proxy_rules_nftables_sync_failures_total": "Cumulative proxy nftables sync failures",
    "sync_proxy_rules_nftables_cleanup_failures_total": "Cumulative proxy nftables cleanup failures",
    "conntrack_reconciler_deleted_entries_total": "Cumulative conntrack flows deleted by conntrack reconciler",
}
GAUGES = {
    "sync_proxy_rules_last_timestamp_seconds": "The last time proxy rules were successfully synced",
    "sync_proxy_rules_last_queued_timestamp_seconds": "The last time a sync of proxy rules was queued",
    "sync_proxy_rules_endpoint_changes_pending": "Pending proxy rules Endpoint changes",
    "sync_proxy_rules_service_changes_pending": "Pending proxy rules Service changes",
}
HISTOGRAMS = {
    "sync_proxy_rules_duration_seconds": ("SyncProxyRules latency in seconds", SYNC_BUCKETS),
    "sync_full_proxy_rules_duration_seconds": ("SyncProxyRules latency of full syncs in seconds", SYNC_BUCKETS),
    "sync_partial_proxy_rules_duration_seconds": ("SyncProxyRules latency of partial syncs in seconds", SYNC_BUCKETS),
    "network_programming_duration_seconds": ("In Cluster Network Programming Latency in seconds", PROGRAMMING_BUCKETS),
    "conntrack_reconciler_sync_duration_seconds": ("Latency of the conntrack reconciler in seconds", SYNC_BUCKETS),
}
LABELLED = {
    "proxy_healthz_total": ("Cumulative proxy healthz HTTP status", "code"),
    "proxy_livez_total": ("Cumulative proxy livez HTTP status", "code"),
    "sync_proxy_rules_no_local_endpoints_total": (
        "Number of services with a Local traffic policy and no endpoints",
        "traffic_policy",
    ),
}


@dataclass(slots=True)
class _Histogram:
    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            yield f'{name}_bucket{{le="{bound:g}"}} {seen}'
        yield f'{name}_bucket{{le="+Inf"}} {seen + self.counts[-1]}'
        yield f"{name}_sum {self.total:g}"
        yield f"{name}_count {seen + self.counts[-1]}"


class Metrics:
    """All of the proxy's numbers."""

    def __init__(self) -> None:
        self._numbers = dict.fromkeys([*COUNTERS, *GAUGES], 0.0)
        self._histograms = {name: _Histogram(bounds) for name, (_, bounds) in HISTOGRAMS.items()}
        self._labelled: dict[str, dict[str, float]] = {name: {} for name in LABELLED}

    def count(self, name: str, by: float = 1) -> None:
        self._numbers[name] += by

    def put(self, name: str, value: float) -> None:
        self._numbers[name] = value

    def observe(self, name: str, value: float) -> None:
        self._histograms[name].observe(value)

    def count_labelled(self, name: str, label: str) -> None:
        self._labelled[name][label] = self._labelled[name].get(label, 0) + 1

    def render(self) -> str:
        """What /metrics answers."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for kind, table in (("counter", COUNTERS), ("gauge", GAUGES)):
            for name, text in table.items():
                yield from _head(PREFIX + name, text, kind)
                yield f"{PREFIX}{name} {self._numbers[name]:.15g}"
        for name, (text, _) in HISTOGRAMS.items():
            yield from _head(PREFIX + name, text, "histogram")
            yield from self._histograms[name].lines(PREFIX + name)
        for name, (text, label) in LABELLED.items():
            yield from _head(PREFIX + name, text, "gauge" if "local" in name else "counter")
            yield from (f'{PREFIX}{name}{{{label}="{key}"}} {value:g}' for key, value in self._labelled[name].items())


def _head(name: str, text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} [ALPHA] {text}.", f"# TYPE {name} {kind}"
