"""What is counted of objects and rules: changes that wait, Services without an endpoint here, iptables rules.

Stage: status.  In: changes, snapshots, backends that count.  Out: metrics.
Rules: one change costs one Service's work; numbers that others keep are asked for when they are shown.
Truth: k8s.io/kubernetes pkg/proxy/metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clusterip.api.meta import ObjectKey
from clusterip.kernel import iptables_counters
from clusterip.proxy.metrics import INVALID_DROPPED, LOCALHOST_ACCEPTED, Metrics, ip_family
from clusterip.proxy.model import Family, ServicePort, ServiceView, Snapshot
from clusterip.transport.exposition import Labels

INTERNAL, EXTERNAL = "internal", "external"
KINDS = ("service", "endpoint")
COUNTERS = {
    INVALID_DROPPED: "ct_state_invalid_dropped_pkts",
    LOCALHOST_ACCEPTED: "localhost_nps_accepted_pkts",
}
TALLIES: Mapping[str, str] = {
    "sync_proxy_rules_iptables_total": "total",
    "sync_proxy_rules_iptables_last": "last",
}


class Census:
    """The counts of all families."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._pending: Counter[str] = Counter()
        self._lacking: dict[Family, dict[ObjectKey, frozenset[str]]] = {}
        self._totals: dict[Family, Counter[str]] = {}
        self._revisions: dict[Family, int] = {}

    def changed(self, kind: str) -> None:
        """A Service or an EndpointSlice changed."""
        self._pending[kind] += 1
        self._metrics.count(f"sync_proxy_rules_{kind}_changes_total")
        self._metrics.put(f"sync_proxy_rules_{kind}_changes_pending", self._pending[kind])

    def programmed(self, snapshot: Snapshot, *, more_waits: bool) -> None:
        """The kernel has what the snapshot says."""
        if not more_waits:
            self._pending.clear()
            for kind in KINDS:
                self._metrics.put(f"sync_proxy_rules_{kind}_changes_pending", 0)
        self._count_lacking(snapshot)

    def _count_lacking(self, snapshot: Snapshot) -> None:
        family = snapshot.node.family
        known, totals = self._lacking.setdefault(family, {}), self._totals.setdefault(family, Counter())
        changed = snapshot.changed_since(self._revisions.get(family, 0))
        self._revisions[family] = snapshot.revision
        for key in known.keys() | snapshot.services.keys() if changed is None else changed:
            now = lacks_local(snapshot.services.get(key))
            totals.subtract(known.pop(key, frozenset()))
            totals.update(now)
            if now:
                known[key] = now
        for policy in (INTERNAL, EXTERNAL):
            name = "sync_proxy_rules_no_local_endpoints_total"
            self._metrics.put(name, totals[policy], ip_family=ip_family(family), traffic_policy=policy)

    def follow(self, backends: Iterable[Any]) -> None:
        """Show what iptables backends count by themselves, and the kernel for them."""
        tallies = {ip_family(backend.family): backend.tally for backend in backends if hasattr(backend, "tally")}
        if not tallies:
            return
        for name, part in TALLIES.items():
            self._metrics.follow(name, lambda part=part: _by_table(tallies, part))  # type: ignore[misc]
        for name, counter in COUNTERS.items():
            self._metrics.follow(name, lambda counter=counter: _packets(counter))  # type: ignore[misc]


def lacks_local(service: ServiceView | None) -> frozenset[str]:
    """The policies Local of a Service that find endpoints, but none here."""
    ports = service.ports if service else ()
    found: set[str] = set()
    for port in ports:
        if any(_usable(port, local=False)) and not any(_usable(port, local=True)):
            found |= {INTERNAL} if port.internal_policy_local else set()
            found |= {EXTERNAL} if port.external_policy_local else set()
    return frozenset(found)


def _usable(port: ServicePort, *, local: bool) -> Iterable[bool]:
    found = (endpoint for endpoint in port.endpoints if endpoint.target.is_local or not local)
    return (endpoint.is_ready or (endpoint.is_serving and endpoint.is_terminating) for endpoint in found)


def _by_table(tallies: Mapping[str, Any], part: str) -> Mapping[Labels, float]:
    counts = ((family, getattr(tally, part)) for family, tally in tallies.items())
    return {(family, table): float(number) for family, count in counts for table, number in count.items()}


def _packets(counter: str) -> Mapping[Labels, float]:
    """Nothing where the kernel has no such counters."""
    try:
        packets = iptables_counters.read().get(counter)
    except OSError:
        return {}
    return {} if packets is None else {(): float(packets)}
