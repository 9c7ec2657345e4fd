"""Nodes, kube-proxy, cluster DNS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterip.explain import system
from clusterip.explain.finding import Finding, Severity
from clusterip.explain.picture import Evidence, NodeSeen, Picture, Question, Tracked
from explain.objects import node, picture, pod, service


def found(seen: Picture) -> list[Finding]:
    return list(system.check(seen))


def kinds(seen: Picture) -> list[str]:
    return [each.kind for each in found(seen)]


def without(name: str, **more: Any) -> Picture:
    """A sound cluster but for the pods of that name."""
    whole = picture(**more)
    return replace(whole, pods=tuple(each for each in whole.pods if not each["metadata"]["name"].startswith(name)))


def test_sound() -> None:
    assert found(picture()) == []


def test_a_node_that_is_not_ready_explains_its_proxy() -> None:
    seen = picture(nodes=(node("node-2", "192.168.4.102", ready=False),))
    (one,) = found(seen)
    assert (one.kind, one.about) == ("node-not-ready", "Node node-2")
    assert "agent stopped posting status" in one.evidence[0]


def test_a_node_without_kube_proxy() -> None:
    (one,) = found(picture(nodes=(node("node-2", "192.168.4.102"),)))
    assert (one.kind, one.about) == ("kube-proxy-missing", "Node node-2")


def test_a_node_selector_that_keeps_kube_proxy_away() -> None:
    seen = without("kube-proxy")
    seen.daemonsets[0]["spec"]["template"]["spec"] = {"nodeSelector": {"none": "such"}}
    (one,) = found(seen)
    assert "its nodeSelector asks for none=such, which the node does not have" in one.evidence


def test_a_kube_proxy_that_is_not_ready() -> None:
    bad = pod("kube-proxy-2", "kube-system", "192.168.4.101", {"k8s-app": "kube-proxy"}, ready=False)
    assert kinds(replace(without("kube-proxy"), pods=(*without("kube-proxy").pods, bad))) == ["kube-proxy-not-ready"]


def test_no_daemon_set_is_a_fact_here_and_a_suspicion_elsewhere() -> None:
    (elsewhere,) = found(replace(picture(), daemonsets=()))
    assert elsewhere.severity is Severity.SUSPECT
    (here,) = found(replace(picture(evidence=Evidence(is_own=True)), daemonsets=()))
    assert here.severity is Severity.BROKEN
    cilium = {"metadata": {"name": "cilium", "namespace": "kube-system"}}
    assert found(replace(picture(), daemonsets=(cilium,))) == []
    assert found(replace(picture(), daemonsets=(), unseen={"daemonsets": "forbidden"})) == []


def test_a_table_that_is_not_there() -> None:
    seen = NodeSeen(tables=frozenset({"ip clusterip-policy"}))
    (one,) = found(picture(evidence=Evidence(nodes={"node-1": seen}, proxy_mode="nftables")))
    assert one.kind == "kube-proxy-table-missing"
    assert one.fixes == ("kubectl -n kube-system delete pod kube-proxy-1",)
    assert found(picture(evidence=Evidence(nodes={"node-1": seen}, proxy_mode="iptables"))) == []


def test_dns_is_down() -> None:
    down = without("coredns")
    (one,) = found(down)
    assert (one.kind, one.severity) == ("dns-down", Severity.BROKEN)
    bad = pod("coredns-2", "kube-system", "10.244.1.3", {"k8s-app": "kube-dns"}, ready=False)
    (two,) = found(picture(pods=(bad,)))
    assert (two.kind, two.severity) == ("dns-degraded", Severity.SUSPECT)


def test_there_is_no_dns_service() -> None:
    assert kinds(replace(picture(), services=(service(),))) == ["dns-missing"]


def test_answers_that_are_wrong_or_late() -> None:
    wrong = Question("10.96.0.10", "kubernetes.default.svc.cluster.local", "node-1", "SERVFAIL")
    (one,) = found(picture(evidence=Evidence(questions=(wrong,))))
    assert one.kind == "dns-wrong"
    assert "asked 10.96.0.10 from node-1 for kubernetes.default.svc.cluster.local: SERVFAIL" in one.evidence
    slow = replace(wrong, trouble="", milliseconds=900.0)
    assert kinds(picture(evidence=Evidence(questions=(slow,)))) == ["dns-slow"]


def test_a_full_table_of_connections() -> None:
    def seen(count: int) -> Picture:
        nodes = {"node-1": NodeSeen(frozenset({"ip kube-proxy"}), tracked=Tracked(count, 3072))}
        return picture(evidence=Evidence(is_own=True, nodes=nodes, proxy_mode="nftables"))

    (one,) = found(seen(3070))
    assert (one.kind, one.about) == ("connection-table-full", "Node node-1")
    assert one.fixes == ("sysctl -w net.netfilter.nf_conntrack_max=12288",)
    assert kinds(seen(1500)) == []
