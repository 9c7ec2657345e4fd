"""What is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from clusterip.kernel import iptables_counters
from clusterip.proxy.census import Census, lacks_local
from clusterip.proxy.metrics import Metrics
from clusterip.proxy.model import Family
from proxy.clusters import Cluster


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.value(f"sync_proxy_rules_{name}", **labels)


def test_changes_wait_until_they_are_programmed() -> None:
    metrics, cluster = Metrics(), Cluster()
    census = Census(metrics)
    for kind in ("service", "endpoint", "endpoint"):
        census.changed(kind)
    assert value(metrics, "endpoint_changes_pending") == 2
    census.programmed(cluster.collector.snapshot(), more_waits=True)
    assert value(metrics, "service_changes_pending") == 1
    census.programmed(cluster.collector.snapshot(), more_waits=False)
    assert (value(metrics, "endpoint_changes_pending"), value(metrics, "service_changes_pending")) == (0, 0)
    assert (value(metrics, "endpoint_changes_total"), value(metrics, "service_changes_total")) == (2, 1)


def lacking(metrics: Metrics) -> dict[str, float]:
    return {
        policy: value(metrics, "no_local_endpoints_total", ip_family="IPv4", traffic_policy=policy)
        for policy in ("internal", "external")
    }


def test_services_without_an_endpoint_here() -> None:
    metrics, cluster = Metrics(), Cluster()
    census = Census(metrics)
    cluster.service("in", "10.96.0.20", "http 80/tcp", internalTrafficPolicy="Local")
    cluster.service("out", "10.96.0.21", "http 80/tcp 30080", externalTrafficPolicy="Local")
    cluster.service("both", "10.96.0.22", "http 80/tcp", internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    for name in ("in", "out"):
        cluster.endpoints(name, "http 8080/tcp", "10.244.2.5")
    cluster.endpoints("both", "http 8080/tcp", "10.244.2.5", "10.244.1.5 terminating")
    census.programmed(cluster.collector.snapshot(), more_waits=False)
    assert lacking(metrics) == {"internal": 1, "external": 1}
    cluster.endpoints("in", "http 8080/tcp", "10.244.2.5", "10.244.1.5")
    cluster.endpoints("both", "http 8080/tcp", "10.244.2.5")
    census.programmed(cluster.collector.snapshot(), more_waits=False)
    assert lacking(metrics) == {"internal": 1, "external": 2}
    for name in ("in", "out", "both"):
        cluster.delete(name)
    census.programmed(cluster.collector.snapshot(), more_waits=False)
    assert lacking(metrics) == {"internal": 0, "external": 0}
    assert lacks_local(None) == frozenset()


@dataclass
class Tallied:
    total: Counter[str] = field(default_factory=lambda: Counter(nat=40, filter=3))
    last: Counter[str] = field(default_factory=lambda: Counter(nat=4))


@dataclass
class Counting:
    family: Family = Family.IPV6
    tally: Tallied = field(default_factory=Tallied)


def test_rules_and_packets_of_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    census = Census(metrics)
    census.follow([object()])
    assert "iptables_total" not in metrics.render()
    monkeypatch.setattr(iptables_counters, "read", lambda: {"ct_state_invalid_dropped_pkts": 7})
    census.follow([Counting()])
    text = metrics.render()
    assert 'kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv6",table="nat"} 40' in text
    assert 'kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv6",table="nat"} 4' in text
    assert "kubeproxy_iptables_ct_state_invalid_dropped_packets_total 7" in text
    assert "localhost_nodeports_accepted" not in text


def test_a_kernel_without_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, int]:
        raise OSError("not here")

    monkeypatch.setattr(iptables_counters, "read", fail)
    metrics = Metrics()
    Census(metrics).follow([Counting()])
    assert "invalid_dropped" not in metrics.render()
