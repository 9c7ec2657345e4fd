"""A cluster with IPv6 beside IPv4: a Service of both families is reached at every address that it has."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.kubectl, pytest.mark.timeout(600)]
WITHIN_SECONDS = 180.0
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80}]
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with two families."""
    if os.geteuid() != 0:
        pytest.skip("a cluster needs root here")
    cluster = Cluster(f"dual-{os.getpid()}", tmp_path_factory.mktemp("clusterip-home"))
    try:
        cluster.clusterip("up", "--name", cluster.name, "--nodes", "2", "--dual-stack")
        yield cluster
    finally:
        cluster.clusterip("down", "--name", cluster.name)


def answers(cluster: Cluster, place: str | None, host: str, port: int) -> str:
    """The status code at an address, as soon as there is one."""
    shown = f"[{host}]" if ip_address(host).version == 6 else host
    command = ("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://{shown}:{port}/")
    end, code = time.monotonic() + WITHIN_SECONDS, ""
    while code != "200" and time.monotonic() < end:
        code = cluster.on(place, *command, check=False).strip()
    return code


def test_every_address_of_a_service_answers(both: Cluster, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MANIFEST)
    both.kubectl("apply", "-f", str(tmp_path / "web.yaml"))
    both.kubectl("rollout", "status", "deployment/web", "--timeout=110s")
    service: Any = json.loads(both.kubectl("get", "service", "web", "-o", "json"))
    ips, port = service["spec"]["clusterIPs"], service["spec"]["ports"][0]["nodePort"]
    assert [ip_address(ip).version for ip in ips] == [4, 6]
    pods: Any = json.loads(both.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    for ip in (*ips, *(each["ip"] for each in pods[0]["status"]["podIPs"])):
        assert answers(both, "node-1", ip, 80) == "200", ip
    for ip in ("192.168.4.102", "fd00:192:168:4::102"):
        assert answers(both, None, ip, port) == "200", ip
    name = pods[0]["metadata"]["name"]
    seen = both.kubectl(
        "exec", name, "--", "curl", "-6", "-s", "-m", "20", "-w", "%{remote_ip}", "-o", "/dev/null", "http://web/"
    )
    assert seen == ips[1]


def test_both_families_are_told(both: Cluster) -> None:
    nodes: Any = json.loads(both.kubectl("get", "nodes", "-o", "json"))["items"]
    told = [each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP"]
    assert told == ["192.168.4.101", "fd00:192:168:4::101"]
    assert nodes[0]["spec"]["podCIDRs"] == ["10.244.1.0/24", "fd00:10:244:1::/64"]
    slices: Any = json.loads(
        both.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "json")
    )
    assert sorted(each["addressType"] for each in slices["items"]) == ["IPv4", "IPv6"]
