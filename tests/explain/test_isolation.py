"""NetworkPolicies: who is let in is what the policy agent decides."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from clusterip.api.meta import Tree
from clusterip.explain import isolation
from clusterip.explain.finding import Finding
from clusterip.explain.picture import Evidence
from clusterip.policy.model import Packet
from explain.objects import meta, picture, pod, service

AGENT = {"metadata": meta("network-policies", "kube-system"), "spec": {}}
CLIENT = pod("client", ip="10.244.1.9", labels={"role": "frontend"})


def policy(name: str = "deny", **spec: Any) -> Tree:
    return {"kind": "NetworkPolicy", "metadata": meta(name, "shop"), "spec": {"podSelector": {}} | spec}


def found(*policies: Tree, own: bool = False, agent: bool = True) -> list[Finding]:
    lists: dict[str, Any] = {"pods": (pod(), CLIENT), "networkpolicies": policies}
    seen = picture(service(), evidence=Evidence(is_own=own), **lists)
    return list(isolation.check(replace(seen, daemonsets=(AGENT,) if agent else ())))


def allow(role: str, port: int = 8080) -> dict[str, Any]:
    return {"from": [{"podSelector": {"matchLabels": {"role": role}}}], "ports": [{"port": port}]}


def test_no_policy_no_finding() -> None:
    assert found() == []


def test_nobody_may_come() -> None:
    (one,) = found(policy())
    assert one.kind == "policy-denies"
    assert "NetworkPolicy deny lets nobody reach port 8080/tcp" in one.what
    assert '"podSelector": {"matchLabels": {"app": "web"}}' in one.fixes[0]
    assert one.fixes[1] == "kubectl -n shop delete networkpolicy deny"


def test_somebody_may_come() -> None:
    assert found(policy(ingress=[allow("frontend")])) == []
    assert found(policy(), policy("allow", ingress=[{"ports": [{"port": 8080}]}])) == []


def test_those_who_may_come_are_not_there_or_only_on_another_port() -> None:
    assert [each.kind for each in found(policy(ingress=[allow("nobody")]))] == ["policy-denies"]
    assert [each.kind for each in found(policy(ingress=[allow("frontend", 80)]))] == ["policy-denies"]


def test_names_cannot_be_asked_for() -> None:
    (one,) = found(policy(policyTypes=["Egress"]))
    assert (one.kind, one.about) == ("policy-denies-dns", "Namespace shop")
    assert found(policy(policyTypes=["Egress"], egress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])) == []


def test_nobody_enforces() -> None:
    (one,) = found(policy(), own=True, agent=False)
    assert one.kind == "policies-not-enforced"
    assert "up --network-policy" in one.fixes[0]


def test_a_policy_that_cannot_be_read() -> None:
    kinds = [each.kind for each in found(policy(ingress=[{"from": [{}]}]))]
    assert "policy-unreadable" in kinds


def test_one_packet() -> None:
    seen = picture(pods=(pod(), CLIENT), networkpolicies=(policy(ingress=[allow("frontend")]),))
    policies = isolation.read(seen)
    packet = Packet(ip_address("10.244.1.9"), ip_address("10.244.1.5"), "tcp", 8080)
    assert isolation.verdict(policies, packet, seen.nodes_by_name) == ""
    denied = isolation.verdict(policies, replace(packet, port=80), seen.nodes_by_name)
    assert denied == "NetworkPolicy shop/deny lets it not into pod shop/web-1"
