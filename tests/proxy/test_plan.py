"""The matrix of paths and policies: every sender, every frontend, every state of endpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clusterip.proxy.model import Drop, HealthCheck, Node, PodTraffic, Reject
from clusterip.proxy.plan import Planner, decide
from clusterip.proxy.verdict import Deliver, Ignore, Verdict
from proxy.clusters import Cluster, node, packet

LOCAL, REMOTE = "10.244.1.5", "10.244.2.5"
POD, OUTSIDE = "10.244.1.9", "192.168.4.1"
CLUSTER_IP, NODE_PORT, EXTERNAL = "10.96.0.20:80/tcp", "node:30080/tcp", "172.16.0.1:80/tcp"


def cluster(*endpoints: str, of: Node | None = None, **spec: Any) -> Cluster:
    found = Cluster(of)
    found.service("web", "10.96.0.20", "http 80/tcp 30080", externalIPs=["172.16.0.1"], **spec)
    found.endpoints("web", "http 8080/tcp", *endpoints)
    return found


def short(verdict: Verdict) -> str:
    """L and R for the local and the remote endpoint, m when masqueraded; REJECT, DROP, -"""
    match verdict:
        case Reject():
            return "REJECT"
        case Drop():
            return "DROP"
        case Ignore():
            return "-"
        case Deliver(ways):
            names = {LOCAL: "L", REMOTE: "R"}
            return " ".join(sorted(names[str(way.address)] + ("m" if way.masqueraded else "") for way in ways))


MATRIX = [
    # external and internal policy, endpoints, pod -> cluster IP, then -> external: outside, pod, node
    ("Cluster Cluster", [LOCAL, REMOTE], "L R", "Lm Rm", "Lm Rm", "Lm Rm"),
    ("Cluster Cluster", [], "REJECT", "REJECT", "REJECT", "REJECT"),
    ("Cluster Cluster", [f"{REMOTE} terminating"], "R", "Rm", "Rm", "Rm"),
    ("Local Cluster", [LOCAL, REMOTE], "L R", "L", "L R", "Lm Rm"),
    ("Local Cluster", [REMOTE], "R", "DROP", "R", "Rm"),
    ("Local Cluster", [f"{LOCAL} terminating", REMOTE], "R", "L", "R", "Rm"),
    ("Local Cluster", [], "REJECT", "REJECT", "REJECT", "REJECT"),
    ("Cluster Local", [LOCAL, REMOTE], "L", "Lm Rm", "Lm Rm", "Lm Rm"),
    ("Cluster Local", [REMOTE], "DROP", "Rm", "Rm", "Rm"),
    ("Cluster Local", [f"{LOCAL} terminating"], "L", "Lm", "Lm", "Lm"),
    ("Local Local", [REMOTE], "DROP", "DROP", "R", "Rm"),
    ("Local Local", [f"{LOCAL} unready"], "REJECT", "REJECT", "REJECT", "REJECT"),
]


@pytest.mark.parametrize("frontend", [NODE_PORT, EXTERNAL])
@pytest.mark.parametrize(("policies", "endpoints", "inside", "outside", "pod", "here"), MATRIX)
def test_matrix(
    policies: str, endpoints: list[str], inside: str, outside: str, pod: str, here: str, frontend: str
) -> None:
    external, internal = policies.split()
    plan = cluster(*endpoints, externalTrafficPolicy=external, internalTrafficPolicy=internal).plan()
    paths = {f"{POD} -> {CLUSTER_IP}": inside, f"{OUTSIDE} -> {frontend}": outside, f"{POD} -> {frontend}": pod}
    paths[f"node -> {frontend}"] = here
    assert {path: short(decide(plan, packet(path))) for path in paths} == paths


def test_cluster_ip_from_elsewhere_is_masqueraded_when_pods_are_known() -> None:
    plan = cluster(LOCAL).plan()
    assert short(decide(plan, packet(f"{OUTSIDE} -> {CLUSTER_IP}"))) == "Lm"
    assert short(decide(plan, packet(f"node -> {CLUSTER_IP}"))) == "Lm"
    unknown = cluster(LOCAL, of=node(pod_traffic=None)).plan()
    assert short(decide(unknown, packet(f"{OUTSIDE} -> {CLUSTER_IP}"))) == "L"


def test_without_knowing_pods_policy_local_binds_them() -> None:
    plan = cluster(LOCAL, REMOTE, of=node(pod_traffic=None), externalTrafficPolicy="Local").plan()
    assert short(decide(plan, packet(f"{POD} -> {NODE_PORT}"))) == "L"


def test_masquerade_all() -> None:
    plan = cluster(REMOTE, of=node(masquerade_all=True)).plan()
    assert short(decide(plan, packet(f"{POD} -> {CLUSTER_IP}"))) == "Rm"


def test_pods_known_by_interface() -> None:
    plan = cluster(REMOTE, of=node(pod_traffic=PodTraffic(interface="veth*"))).plan()
    assert short(decide(plan, packet(f"{POD} -> {CLUSTER_IP} by veth1"))) == "R"
    assert short(decide(plan, packet(f"{POD} -> {CLUSTER_IP} by eth0"))) == "Rm"


def test_hairpin() -> None:
    plan = cluster(LOCAL, REMOTE).plan()
    assert short(decide(plan, packet(f"{LOCAL} -> {CLUSTER_IP}"))) == "Lm R"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (f"{POD} -> 10.96.0.20:81/tcp", "REJECT"),
        (f"{POD} -> 10.96.0.20:80/udp", "REJECT"),
        (f"{POD} -> 10.96.5.5:80/tcp", "DROP"),
        (f"{POD} -> 172.16.0.1:81/tcp", "-"),
        (f"{OUTSIDE} -> node:30081/tcp", "-"),
        (f"{POD} -> 192.168.4.102:30080/tcp", "-"),
        ("node -> 127.0.0.1:30080/tcp", "-"),
        (f"{POD} -> 8.8.8.8:53/udp", "-"),
    ],
)
def test_what_no_frontend_is_for(sent: str, expected: str) -> None:
    assert short(decide(cluster(LOCAL).plan(), packet(sent))) == expected


def test_source_ranges_hold_for_load_balancer_ips_only() -> None:
    spec = {"loadBalancerSourceRanges": ["10.244.1.9/32", " 192.168.4.0/24 "], "status": [{"ip": "172.16.0.9"}]}
    plan = cluster(LOCAL, **spec).plan()
    assert short(decide(plan, packet("8.8.8.8 -> 172.16.0.9:80/tcp"))) == "DROP"
    assert short(decide(plan, packet("10.244.1.8 -> 172.16.0.9:80/tcp"))) == "DROP"
    assert short(decide(plan, packet(f"{POD} -> 172.16.0.9:80/tcp"))) == "Lm"
    assert short(decide(plan, packet(f"8.8.8.8 -> {NODE_PORT}"))) == "Lm"
    assert short(decide(plan, packet(f"8.8.8.8 -> {EXTERNAL}"))) == "Lm"


def test_unchanged_services_keep_their_plans() -> None:
    found = cluster(LOCAL)
    found.service("other", "10.96.0.21", "http 80/tcp")
    planner = Planner()
    before = planner.plan(found.collector.snapshot())
    found.endpoints("other", "http 8080/tcp", REMOTE)
    after = planner.plan(found.collector.snapshot())
    kept = {key.name: before.services[key] is after.services[key] for key in before.services}
    assert kept == {"web": True, "other": False}
    found.collector.on_node(replace(found.collector.node, zone="b"))
    anew = planner.plan(found.collector.snapshot())
    assert all(anew.services[key] is not after.services[key] for key in anew.services)


def test_an_address_that_is_external_and_a_load_balancers_is_bound_by_source_ranges() -> None:
    both = {"status": [{"ip": "172.16.0.1"}], "loadBalancerSourceRanges": ["10.0.0.0/8"]}
    plan = cluster(LOCAL, **both).plan()
    assert short(decide(plan, packet(f"{OUTSIDE} -> {EXTERNAL}"))) == "DROP"
    assert short(decide(plan, packet(f"{POD} -> {EXTERNAL}"))) == "Lm"


def test_the_node_within_the_ranges_lets_the_load_balancer_ip_in() -> None:
    status = [{"ip": "172.16.0.8"}, {"ip": "172.16.0.9"}]
    plan = cluster(LOCAL, status=status, loadBalancerSourceRanges=["192.168.4.0/24"]).plan()
    assert short(decide(plan, packet("172.16.0.9 -> 172.16.0.9:80/tcp"))) == "Lm"
    assert short(decide(plan, packet("172.16.0.8 -> 172.16.0.9:80/tcp"))) == "Lm", "one list for all, as upstream"
    assert short(decide(plan, packet("172.16.0.7 -> 172.16.0.9:80/tcp"))) == "DROP"
    found = cluster(LOCAL, of=node(mode="ipvs"), status=status, loadBalancerSourceRanges=["192.168.4.0/24"]).plan()
    assert short(decide(found, packet("172.16.0.8 -> 172.16.0.9:80/tcp"))) == "DROP", "its set has pairs"


def test_health_counts_ready_endpoints_here_each_address_once() -> None:
    found = Cluster()
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    found.service("web", "10.96.0.20", "http 80/tcp", "tls 443/tcp", **spec)
    for name in ("http", "tls"):
        found.endpoints("web", f"{name} 8080/tcp", LOCAL, "10.244.1.6 terminating", REMOTE)
    [service] = found.plan().services.values()
    assert service.health == HealthCheck(32000, 1)
    found.service("web", "10.96.0.20", "http 80/tcp", **spec | {"externalTrafficPolicy": "Cluster"})
    [service] = found.plan().services.values()
    assert service.health is None
