"""The lesson's policy on a whole cluster: a database that only frontends reach, through its Service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.kubectl, pytest.mark.timeout(600)]
WITHIN_SECONDS = 60.0
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{role: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: nginx, ports: [{{containerPort: 80}}]}}]
---
"""
REST = """\
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {role: db}, ports: [{port: 6379, targetPort: 80}]}
"""
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: frontend}}}]
    ports: [{port: 80}]
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with the policy agent."""
    if os.geteuid() != 0:
        pytest.skip("a cluster needs root here")
    cluster = Cluster(f"policy-{os.getpid()}", tmp_path_factory.mktemp("clusterip-home"))
    cluster.clusterip("up", "--name", cluster.name, "--nodes", "2", "--network-policy")
    try:
        yield cluster
    finally:
        cluster.clusterip("down", "--name", cluster.name)


def code(cluster: Cluster, name: str) -> str:
    command = ("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "http://db:6379/")
    return cluster.kubectl("exec", name, "--", *command, check=False).strip()


def eventually(cluster: Cluster, name: str, wanted: str) -> str:
    end, found = time.monotonic() + WITHIN_SECONDS, ""
    while found != wanted and time.monotonic() < end:
        found = code(cluster, name)
    return found


def test_only_frontends_reach_the_database(guarded: Cluster, tmp_path: Path) -> None:
    pods = "".join(POD.format(name=name) for name in ("db", "frontend", "stranger"))
    (tmp_path / "pods.yaml").write_text(pods + REST)
    (tmp_path / "policy.yaml").write_text(POLICY)
    guarded.kubectl("apply", "-f", str(tmp_path / "pods.yaml"))
    guarded.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=90s")
    assert eventually(guarded, "stranger", "200") == "200"
    guarded.kubectl("apply", "-f", str(tmp_path / "policy.yaml"))
    assert eventually(guarded, "stranger", "000") == "000"
    assert eventually(guarded, "frontend", "200") == "200"
    guarded.kubectl("label", "pod", "stranger", "role=frontend", "--overwrite")
    assert eventually(guarded, "stranger", "200") == "200"
