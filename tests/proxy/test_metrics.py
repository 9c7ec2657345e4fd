"""Upstream's names, labels and buckets."""

from __future__ import annotations

import re

from clusterip.proxy.metrics import PROGRAMMING_BOUNDS, Metrics

UPSTREAM = {
    "kubeproxy_conntrack_reconciler_deleted_entries_total": ("counter", "ip_family"),
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": ("histogram", "ip_family"),
    "kubeproxy_iptables_ct_state_invalid_dropped_packets_total": ("counter", ""),
    "kubeproxy_iptables_localhost_nodeports_accepted_packets_total": ("counter", ""),
    "kubeproxy_network_programming_duration_seconds": ("histogram", "ip_family"),
    "kubeproxy_proxy_healthz_total": ("counter", "code"),
    "kubeproxy_proxy_livez_total": ("counter", "code"),
    "kubeproxy_sync_full_proxy_rules_duration_seconds": ("histogram", "ip_family"),
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": ("histogram", "ip_family"),
    "kubeproxy_sync_proxy_rules_duration_seconds": ("histogram", "ip_family"),
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending": ("gauge", ""),
    "kubeproxy_sync_proxy_rules_endpoint_changes_total": ("counter", ""),
    "kubeproxy_sync_proxy_rules_iptables_last": ("gauge", "ip_family,table"),
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total": ("counter", "ip_family"),
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total": ("counter", "ip_family"),
    "kubeproxy_sync_proxy_rules_iptables_total": ("gauge", "ip_family,table"),
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds": ("gauge", "ip_family"),
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds": ("gauge", "ip_family"),
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total": ("counter", "ip_family"),
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total": ("counter", "ip_family"),
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total": ("gauge", "ip_family,traffic_policy"),
    "kubeproxy_sync_proxy_rules_service_changes_pending": ("gauge", ""),
    "kubeproxy_sync_proxy_rules_service_changes_total": ("counter", ""),
    "kubernetes_build_info": (
        "gauge",
        "build_date,compiler,git_commit,git_tree_state,git_version,go_version,major,minor,platform",
    ),
    "process_cpu_seconds_total": ("counter", ""),
    "process_max_fds": ("gauge", ""),
    "process_open_fds": ("gauge", ""),
    "process_resident_memory_bytes": ("gauge", ""),
    "process_start_time_seconds": ("gauge", ""),
    "process_virtual_memory_bytes": ("gauge", ""),
    "rest_client_request_duration_seconds": ("histogram", "verb,host"),
    "rest_client_requests_total": ("counter", "code,host,method"),
}


def shown(metrics: Metrics) -> dict[str, tuple[str, str]]:
    text = metrics.render()
    found = {}
    for name, kind in re.findall(r"# TYPE (\S+) (\S+)", text):
        sample = re.search(rf"^{name}(?:_count)?(?:\{{(.*)\}})? ", text, re.MULTILINE)
        assert sample, name
        labels = re.findall(r'(\w+)="', sample[1] or "")
        found[name] = (kind, ",".join(labels))
    return found


def test_names_kinds_and_labels() -> None:
    metrics = Metrics()
    metrics.asked("GET", "10.96.0.1:443", 200, 0.01)
    for name in ("sync_proxy_rules_iptables_last", "sync_proxy_rules_iptables_total"):
        metrics.put(name, 1, ip_family="IPv4", table="nat")
    assert shown(metrics) == UPSTREAM


def test_a_request_without_an_answer() -> None:
    metrics = Metrics()
    metrics.asked("PATCH", "api:6443", 0, 5.0)
    assert 'rest_client_requests_total{code="<error>",host="api:6443",method="PATCH"} 1' in metrics.render()


def test_buckets() -> None:
    assert (PROGRAMMING_BOUNDS[:4], PROGRAMMING_BOUNDS[-3:]) == ((0, 0.25, 0.5, 1), (240, 270, 300))
    assert len(PROGRAMMING_BOUNDS) == 3 + 59 + 12 + 7
    metrics = Metrics()
    metrics.observe("sync_proxy_rules_duration_seconds", 0.0015, ip_family="IPv6")
    line = 'kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv6",le="0.002"} 1'
    assert line in metrics.render()
    assert 'le="16.384"' in metrics.render()
