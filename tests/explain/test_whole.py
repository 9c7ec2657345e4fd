"""A real cluster, broken in many ways at once: each is named with its fix, and once all is mended nothing is said.

Slow by nature; one cluster for the whole file, in the order written.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cluster.test_whole import Cluster
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import (
    DAEMON_SETS,
    DEPLOYMENTS,
    INGRESSES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    SERVICES,
    ResourceRef,
)
from clusterip.client.rest import Client
from clusterip.cluster.folder import cache
from clusterip.cluster.machines import anchor_name

pytestmark = [
    pytest.mark.root,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (cache() / "images/index.json").exists(), reason="no images: run `clusterip image build`"),
]
SPACE, OTHER, SYSTEM = "broken", "elsewhere", "kube-system"
PATIENCE_SECONDS = 120.0
HERE = "kubernetes.io/hostname"

# what is wrong -> what the doctor calls it, and what its fix begins with
WRONG = {
    ("Service broken/slip", "selector-matches-nothing"): "kubectl -n broken set selector service slip 'app=web'",
    ("Service elsewhere/away", "selector-matches-nothing"): "# a Service selects pods of its own namespace alone",
    ("Service broken/deaf", "target-port-nobody-listens"): "kubectl -n broken patch service deaf",
    ("Service broken/named", "target-port-name-unknown"): "kubectl -n broken patch service named",
    ("Service broken/empty", "no-selector-no-endpoints"): "kubectl -n broken set selector service empty",
    ("Service broken/pending", "load-balancer-nobody"): "kubectl apply -f https://",
    ("Service broken/alias", "external-name-is-address"): "# a Service without selector",
    ("Service broken/pull", "pod-image"): "kubectl -n broken set image pod pull",
    ("Service broken/probe", "pod-probe"): "kubectl -n broken logs probe",
    ("Service broken/big", "pod-unschedulable"): "kubectl -n broken describe pod big",
    ("Service broken/db", "policy-denies"): "echo '{",
    ("Ingress broken/front", "ingress-service-missing"): "kubectl -n broken edit ingress front",
    ("Node node-2", "kube-proxy-missing"): "kubectl -n kube-system describe daemonset kube-proxy",
    ("DNS (kube-system/kube-dns)", "dns-down"): "kubectl -n kube-system scale deployment coredns",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(f"sick-{os.getpid()}", tmp_path_factory.mktemp("home"))
    try:
        made.run("up", "--nodes", "2", "--network-policy")
        yield made
    finally:
        made.run("down", check=False)


def pod(name: str, image: str = "nginx", **container: Any) -> Tree:
    ports = [{"name": "http", "containerPort": 80}]
    spec = {"containers": [{"name": "main", "image": image, "ports": ports} | container]}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def service(name: str, app: str | None = None, target: Any = 80, **spec: Any) -> Tree:
    wanted = {"ports": [{"port": 80, "targetPort": target}]} | ({"selector": {"app": app}} if app else {}) | spec
    return {"metadata": {"name": name}, "spec": wanted}


def front() -> Tree:
    backend = {"service": {"name": "wbe", "port": {"number": 80}}}
    rule = {"host": "a.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    notes = {"kubernetes.io/ingress.class": "nginx"}
    return {"metadata": {"name": "front", "annotations": notes}, "spec": {"rules": [rule]}}


CLOSED = {"metadata": {"name": "closed"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}}}}
BROKEN: list[tuple[ResourceRef, str, Tree]] = [
    (PODS, SPACE, pod("web")),
    (PODS, SPACE, pod("db")),
    (PODS, SPACE, pod("pull", "none.example/none:1")),
    (PODS, SPACE, pod("probe", readinessProbe={"httpGet": {"path": "/none", "port": 80}, "periodSeconds": 1})),
    (PODS, SPACE, pod("big", resources={"requests": {"cpu": "900"}})),
    (SERVICES, SPACE, service("web", "web")),
    (SERVICES, SPACE, service("slip", "wbe")),
    (SERVICES, OTHER, service("away", "web")),
    (SERVICES, SPACE, service("deaf", "web", 8080)),
    (SERVICES, SPACE, service("named", "web", "htttp")),
    (SERVICES, SPACE, service("empty")),
    (SERVICES, SPACE, service("pending", "web", type="LoadBalancer")),
    (SERVICES, SPACE, service("alias", type="ExternalName", externalName="192.0.2.7")),
    *((SERVICES, SPACE, service(name, name)) for name in ("pull", "probe", "big", "db")),
    (NETWORK_POLICIES, SPACE, CLOSED),
    (INGRESSES, SPACE, front()),
]


@asynccontextmanager
async def administrator(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client:
        yield client


async def create(client: Client, ref: ResourceRef, space: str, tree: Tree) -> None:
    """Pods wait for the account of their namespace."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await client.create(ref, tree, space)
            return
        except ApiError as error:
            if error.code != 403 or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


def act(cluster: Cluster, body: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with administrator(cluster) as client:
            await body(client)

    asyncio.run(run())


def told(cluster: Cluster) -> dict[str, Any]:
    done = cluster.run("doctor", "-A", "-o", "json", check=False)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until_told(cluster: Cluster, is_right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the doctor says once it says what was awaited, or the last of it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    found = told(cluster)
    while not is_right(found) and time.monotonic() < deadline:
        time.sleep(0.5)
        found = told(cluster)
    return found


def named(found: dict[str, Any]) -> dict[tuple[str, str], Tree]:
    return {(each["about"], each["kind"]): each for each in found["findings"]}


def is_fixed_by(found: dict[tuple[str, str], Tree], key: tuple[str, str], fix: str) -> bool:
    """On its way a thing may be told for another reason: pods of a Deployment that is scaled down end first."""
    return key in found and bool(found[key]["fixes"][0].startswith(fix))


def test_a_new_cluster_is_healthy(cluster: Cluster) -> None:
    found = until_told(cluster, lambda found: bool(found["healthy"]))
    assert found["findings"] == []
    assert found["notLookedAt"] == []


def test_all_that_is_wrong_is_named_with_a_fix(cluster: Cluster) -> None:
    async def spoil(client: Client) -> None:
        for space in (SPACE, OTHER):
            await client.create(NAMESPACES, {"metadata": {"name": space}})
        for ref, space, tree in BROKEN:
            await create(client, ref, space, tree)
        selector = {"spec": {"template": {"spec": {"nodeSelector": {HERE: "node-1"}}}}}
        await client.patch(DAEMON_SETS, "kube-proxy", SYSTEM, selector)
        await client.patch(DEPLOYMENTS, "coredns", SYSTEM, {"spec": {"replicas": 0}})

    act(cluster, spoil)
    found = named(until_told(cluster, lambda found: all(is_fixed_by(named(found), *each) for each in WRONG.items())))
    assert set(WRONG) - set(found) == set()
    for key, fix in WRONG.items():
        assert found[key]["fixes"][0].startswith(fix), found[key]
    assert found["Node node-2", "kube-proxy-missing"]["evidence"][1].startswith("its nodeSelector asks for")
    assert "the selector asks for app=wbe, the pod has app=web" in str(found["Service broken/slip", *SLIP]["evidence"])
    assert "0.0.0.0:80/tcp" in str(found["Service broken/deaf", "target-port-nobody-listens"]["evidence"])


SLIP = ("selector-matches-nothing",)


def test_what_is_mended_is_silent(cluster: Cluster) -> None:
    async def mend(client: Client) -> None:
        for name in ("slip", "empty"):
            await client.patch(SERVICES, name, SPACE, {"spec": {"selector": {"app": "web"}}})
        for name in ("deaf", "named"):
            await client.patch(SERVICES, name, SPACE, {"spec": {"ports": [{"port": 80, "targetPort": 80}]}})
        for name in ("pending", "alias", "pull", "probe", "big"):
            await client.delete(SERVICES, name, SPACE)
        await client.delete(SERVICES, "away", OTHER)
        await client.delete(NETWORK_POLICIES, "closed", SPACE)
        await client.delete(INGRESSES, "front", SPACE)
        everywhere = {"spec": {"template": {"spec": {"nodeSelector": {HERE: None}}}}}
        await client.patch(DAEMON_SETS, "kube-proxy", SYSTEM, everywhere)
        await client.patch(DEPLOYMENTS, "coredns", SYSTEM, {"spec": {"replicas": 2}})

    act(cluster, mend)
    found = until_told(cluster, lambda found: bool(found["healthy"]))
    assert found["findings"] == []


def test_a_rule_of_somebody_else_is_named(cluster: Cluster) -> None:
    done = cluster.run("explain", "svc/web", "-n", SPACE, "--from", "node/node-1", "-o", "json")
    assert json.loads(done.stdout)["arrives"]
    pid = cluster.living()[anchor_name("node-1")].pid
    rules = "add table ip extra; add chain ip extra out { type filter hook output priority 0; }; "
    rules += "add rule ip extra out tcp dport 80 drop"
    nsenter = ["nsenter", f"--net=/proc/{pid}/ns/net", "nft"]
    subprocess.run([*nsenter, rules], check=True, timeout=30)
    done = cluster.run("explain", "svc/web", "-n", SPACE, "--from", "node/node-1", check=False)
    assert done.returncode == 1
    assert "table ip extra, chain out: tcp dport 80 drop" in done.stdout
    key = ("Service broken/web", "cluster-ip-unreachable")
    assert named(told(cluster))[key]["evidence"][0].endswith("timed out")
    subprocess.run([*nsenter, "delete table ip extra"], check=True, timeout=30)
    assert cluster.run("explain", "svc/web", "-n", SPACE, "--from", "pod/db").stdout.endswith("arrives\n")
