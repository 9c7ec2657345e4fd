"""The proxy's metrics, with upstream's names, labels and buckets.

Stage: status.  In: what the proxy did.  Out: Prometheus exposition text.
Rules: a table; numbers go in by `count`, `put` and `observe`, or are asked for when they are shown.
Truth: k8s.io/kubernetes pkg/proxy/metrics of 1.36 and the metrics reference; client-go's rest_client_ names;
Prometheus's process_ names.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

from clusterip.kernel.usage import Usage, read_usage
from clusterip.proxy.model import Family
from clusterip.transport.exposition import Kind, Labels, Metric, Registry, doubling

PREFIX = "kubeproxy_"
KUBERNETES_VERSION = "v1.36.2"
IP_FAMILIES = tuple((f"IPv{family.value}",) for family in Family)
PAGES = (("200",), ("503",))
SYNC_BOUNDS = doubling(0.001, 15)
PROGRAMMING_BOUNDS = (
    *(0.0, 0.25, 0.5),
    *(float(seconds) for seconds in range(1, 60)),
    *(float(seconds) for seconds in range(60, 120, 5)),
    *(float(seconds) for seconds in range(120, 301, 30)),
)
REQUEST_BOUNDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
INVALID_DROPPED = "iptables_ct_state_invalid_dropped_packets_total"
LOCALHOST_ACCEPTED = "iptables_localhost_nodeports_accepted_packets_total"
C, G, H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
FAMILY, TABLE, POLICY, CODE = ("ip_family",), ("ip_family", "table"), ("ip_family", "traffic_policy"), ("code",)

# name, kind, labels, text; durations have the bounds of a sync unless others are named below
PROXY: tuple[tuple[str, Kind, tuple[str, ...], str], ...] = (
    ("conntrack_reconciler_deleted_entries_total", C, FAMILY, "Conntrack entries deleted, UDP flows to nowhere"),
    ("conntrack_reconciler_sync_duration_seconds", H, FAMILY, "How long settling conntrack entries took"),
    (INVALID_DROPPED, C, (), "Packets dropped by iptables because conntrack calls them invalid"),
    (LOCALHOST_ACCEPTED, C, (), "Packets accepted on node ports of the loopback interface"),
    ("network_programming_duration_seconds", H, FAMILY, "From the change of a pod or Service to the rules"),
    ("proxy_healthz_total", C, CODE, "Answers of /healthz by HTTP status"),
    ("proxy_livez_total", C, CODE, "Answers of /livez by HTTP status"),
    ("sync_full_proxy_rules_duration_seconds", H, FAMILY, "How long full syncs took"),
    ("sync_partial_proxy_rules_duration_seconds", H, FAMILY, "How long syncs of changes took"),
    ("sync_proxy_rules_duration_seconds", H, FAMILY, "How long syncs took"),
    ("sync_proxy_rules_endpoint_changes_pending", G, (), "EndpointSlice changes not in the rules yet"),
    ("sync_proxy_rules_endpoint_changes_total", C, (), "EndpointSlice changes seen"),
    ("sync_proxy_rules_iptables_last", G, TABLE, "iptables rules written by the last sync"),
    ("sync_proxy_rules_iptables_partial_restore_failures_total", C, FAMILY, "Failed iptables restores of changes"),
    ("sync_proxy_rules_iptables_restore_failures_total", C, FAMILY, "Failed iptables restores"),
    ("sync_proxy_rules_iptables_total", G, TABLE, "iptables rules that are the proxy's own"),
    ("sync_proxy_rules_last_queued_timestamp_seconds", G, FAMILY, "When a sync was asked for last"),
    ("sync_proxy_rules_last_timestamp_seconds", G, FAMILY, "When the rules were synced last"),
    ("sync_proxy_rules_nftables_cleanup_failures_total", C, FAMILY, "Failed removals of stale nftables objects"),
    ("sync_proxy_rules_nftables_sync_failures_total", C, FAMILY, "Failed nftables transactions"),
    ("sync_proxy_rules_no_local_endpoints_total", G, POLICY, "Services with a Local policy and no endpoint here"),
    ("sync_proxy_rules_service_changes_pending", G, (), "Service changes not in the rules yet"),
    ("sync_proxy_rules_service_changes_total", C, (), "Service changes seen"),
)
BOUNDS = {"network_programming_duration_seconds": PROGRAMMING_BOUNDS}
KNOWN: Mapping[tuple[str, ...], tuple[Labels, ...]] = {
    FAMILY: IP_FAMILIES,
    CODE: PAGES,
    POLICY: tuple((family, policy) for (family,) in IP_FAMILIES for policy in ("external", "internal")),
}
BUILD = {
    "build_date": "",
    "compiler": platform.python_implementation().lower(),
    "git_commit": "",
    "git_tree_state": "",
    "git_version": KUBERNETES_VERSION,
    "go_version": f"python{platform.python_version()}",
    "major": "1",
    "minor": "36",
    "platform": f"linux/{platform.machine()}",
}
PROCESS: tuple[tuple[str, Kind, str, Callable[[Usage], float]], ...] = (
    ("process_cpu_seconds_total", C, "User and system CPU time", lambda usage: usage.cpu_seconds),
    ("process_max_fds", G, "Most file descriptors that may be open", lambda usage: usage.max_files),
    ("process_open_fds", G, "Open file descriptors", lambda usage: usage.open_files),
    ("process_resident_memory_bytes", G, "Resident memory", lambda usage: usage.resident_bytes),
    ("process_start_time_seconds", G, "When the process started", lambda usage: usage.started),
    ("process_virtual_memory_bytes", G, "Virtual memory", lambda usage: usage.virtual_bytes),
)


def _declared() -> list[Metric]:
    own = [
        Metric(
            PREFIX + name,
            kind,
            f"{text}.",
            labels,
            BOUNDS.get(name, SYNC_BOUNDS) if kind is H else (),
            KNOWN.get(labels, ()),
        )
        for name, kind, labels, text in PROXY
    ]
    verb = ("verb", "host")
    return [
        Metric("kubernetes_build_info", G, "What this was built from; always 1.", tuple(BUILD)),
        *own,
        *(Metric(name, kind, f"{text}.", stability="") for name, kind, text, _ in PROCESS),
        Metric("rest_client_request_duration_seconds", H, "How long requests took.", verb, REQUEST_BOUNDS),
        Metric("rest_client_requests_total", C, "Requests by status, method and host.", ("code", "host", "method")),
    ]


class Metrics(Registry):
    """All of the proxy's numbers; its own are named without the prefix."""

    def __init__(self) -> None:
        super().__init__(_declared())
        self.put("kubernetes_build_info", 1, **BUILD)

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        super().count(_full(name), by, **labels)

    def put(self, name: str, value: float, **labels: str) -> None:
        super().put(_full(name), value, **labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        super().observe(_full(name), value, **labels)

    def follow(self, name: str, source: Callable[[], Mapping[Labels, float]]) -> None:
        super().follow(_full(name), source)

    def value(self, name: str, **labels: str) -> float:
        return super().value(_full(name), **labels)

    def asked(self, method: str, host: str, code: int, seconds: float) -> None:
        """One request to the API; no code: there was no answer."""
        self.count("rest_client_requests_total", code=str(code) if code else "<error>", host=host, method=method)
        self.observe("rest_client_request_duration_seconds", seconds, verb=method, host=host)

    def render(self) -> str:
        """What /metrics answers."""
        usage = read_usage()
        for name, _, _, number in PROCESS:
            self.put(name, number(usage))
        return super().render()


def ip_family(family: Family) -> str:
    """As upstream writes it."""
    return f"IPv{family.value}"


def _full(name: str) -> str:
    return name if name.startswith(("rest_client_", "process_", "kubernetes_")) else PREFIX + name
