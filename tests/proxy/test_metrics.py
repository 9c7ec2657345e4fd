"""The exposition text."""

from __future__ import annotations

from clusterip.proxy.metrics import Metrics


def test_text() -> None:
    metrics = Metrics()
    metrics.count("sync_proxy_rules_service_changes_total", 2)
    metrics.put("sync_proxy_rules_last_timestamp_seconds", 1767225600.25)
    metrics.observe("sync_full_proxy_rules_duration_seconds", 0.0015)
    metrics.observe("sync_full_proxy_rules_duration_seconds", 99)
    metrics.count_labelled("proxy_livez_total", "503")
    lines = metrics.render().splitlines()
    assert "kubeproxy_sync_proxy_rules_service_changes_total 2" in lines
    assert "kubeproxy_sync_proxy_rules_last_timestamp_seconds 1767225600.25" in lines
    assert 'kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{le="0.001"} 0' in lines
    assert 'kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{le="0.002"} 1' in lines
    assert 'kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{le="+Inf"} 2' in lines
    assert "kubeproxy_sync_full_proxy_rules_duration_seconds_count 2" in lines
    assert 'kubeproxy_proxy_livez_total{code="503"} 1' in lines
    assert "# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram" in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
