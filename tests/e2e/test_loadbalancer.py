"""A load balancer by MetalLB's API on a real cluster: the bundle, the lesson's pool, packets from the LAN."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.router import FRR, router
from e2e.router import NODES as ROUTER_NODES

if TYPE_CHECKING:
    from e2e.conftest import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.kubectl, pytest.mark.timeout(900)]
EXAMPLES = Path(__file__).parents[2] / "examples" / "metallb"
BUNDLE, POOL = EXAMPLES / "metallb-native.yaml", EXAMPLES / "first-pool.yaml"
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
NAMESPACE = "metallb-system"
SECONDS = 120.0
CURL = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "http://192.168.4.10:8090")

SECOND_POOL = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: second, namespace: metallb-system}
spec: {addresses: [192.168.4.20-192.168.4.30]}
"""

ROUTED = "203.0.113.0"


@pytest.fixture
def metallb(cluster: Cluster) -> Iterator[Cluster]:
    """The bundle, ready; afterwards nothing of it is left."""
    cluster.kubectl("apply", "-f", str(BUNDLE))
    try:
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/speaker", "--timeout=180s")
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/controller", "--timeout=180s")
        yield cluster
    finally:
        cluster.kubectl("delete", "service,deployment", "balanced", "--ignore-not-found")
        cluster.kubectl("delete", "-f", str(BUNDLE), "--ignore-not-found", "--timeout=180s")


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "never"
        time.sleep(0.2)


def leader(cluster: Cluster) -> str:
    """The node that says that it answers."""
    items = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "servicel2statuses", "-o", "json"))["items"]
    nodes = [(item.get("status") or {}).get("node", "") for item in items]
    return str(nodes[0]) if len(nodes) == 1 else ""


def test_the_lessons_load_balancer(metallb: Cluster, tmp_path: Path) -> None:
    cluster = metallb
    cluster.kubectl("apply", "-f", str(POOL))
    second = tmp_path / "second.yaml"
    second.write_text(SECOND_POOL)
    refused = cluster.clusterip("kubectl", "--name", cluster.name, "--", "apply", "-f", str(second), check=False)
    assert 'denied the request: CIDR "192.168.4.20/' in refused.stderr

    cluster.kubectl("create", "deployment", "balanced", "--image=nginx:1.15-alpine", "--replicas=2")
    cluster.kubectl("expose", "deployment", "balanced", "--port=8090", "--target-port=80", "--type=LoadBalancer")
    eventually(lambda: "192.168.4.10" in cluster.kubectl("get", "service", "balanced"))
    eventually(lambda: cluster.on(None, *CURL, check=False) == "200")

    eventually(lambda: leader(cluster))
    first = leader(cluster)
    neighbours = cluster.on(None, "ip", "neigh", "show", "192.168.4.10")
    cluster.kubectl("label", "node", first, f"{EXCLUDE}=")
    try:
        eventually(lambda: leader(cluster) not in ("", first))
        eventually(lambda: cluster.on(None, *CURL, check=False) == "200")
        assert cluster.on(None, "ip", "neigh", "show", "192.168.4.10") != neighbours
    finally:
        cluster.kubectl("label", "node", first, f"{EXCLUDE}-")
    eventually(lambda: leader(cluster) == first)
    told = cluster.kubectl("describe", "service", "balanced")
    assert 'Assigned IP ["192.168.4.10"]' in told
    assert f'announcing from node "{first}" with protocol "layer2"' in told


def ways(cluster: Cluster) -> set[str]:
    """The nodes by which the LAN machine reaches the address."""
    routes = json.loads(cluster.on(None, "ip", "-j", "route", "show", ROUTED) or "[]")
    return {hop["gateway"] for route in routes for hop in route.get("nexthops", [route]) if "gateway" in hop}


def announcers(cluster: Cluster) -> list[tuple[str, list[str]]]:
    """The nodes that say that they announce, and to whom."""
    items = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "servicebgpstatuses", "-o", "json"))["items"]
    statuses = [item.get("status") or {} for item in items]
    return sorted((status.get("node", ""), status.get("peers", [])) for status in statuses)


@pytest.mark.skipif(not FRR.exists(), reason="no FRR here")
def test_a_router_learns_the_address_by_bgp_and_forgets_a_node_that_is_cut_off(metallb: Cluster) -> None:
    cluster = metallb
    cluster.kubectl("apply", "-f", str(EXAMPLES / "bgp.yaml"))
    with router(cluster):
        cluster.kubectl("create", "deployment", "balanced", "--image=nginx:1.15-alpine", "--replicas=2")
        cluster.kubectl("expose", "deployment", "balanced", "--port=8090", "--target-port=80", "--type=LoadBalancer")
        eventually(lambda: ways(cluster) == set(ROUTER_NODES))
        curl = (*CURL[:-1], f"http://{ROUTED}:8090")
        eventually(lambda: cluster.on(None, *curl, check=False) == "200")
        eventually(lambda: announcers(cluster) == [(f"node-{number}", ["router"]) for number in (1, 2, 3)])
        cluster.on("node-3", "ip", "link", "set", "eth0", "down")
        eventually(lambda: ways(cluster) == set(ROUTER_NODES[:2]))
        cluster.on("node-3", "ip", "link", "set", "eth0", "up")
        eventually(lambda: ways(cluster) == set(ROUTER_NODES))
        eventually(lambda: cluster.on(None, *curl, check=False) == "200")
        eventually(lambda: "default via 192.168.4.1" in cluster.on("node-3", "ip", "route"))
