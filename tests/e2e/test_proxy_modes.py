"""Switching the proxy's mode as lessons do it: the ConfigMap is edited, the pods are deleted, and requests go on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.conftest import Cluster

pytestmark = [pytest.mark.root, pytest.mark.cluster, pytest.mark.timeout(600)]

# new connections to cluster DNS, one after another, until a line comes in; then what became of them
REQUESTS = """
import json, select, socket, sys
answers, failures = 0, []
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    with socket.socket() as sock:
        sock.settimeout(10)
        try:
            sock.connect(("10.96.0.10", 53))
            answers += 1
        except OSError as error:
            failures.append(str(error))
print(json.dumps({"answers": answers, "failures": failures}))
"""
MODE_MARKS = {"nftables": "table ip kube-proxy", "iptables": ":KUBE-SERVICES", "userspace": ":KUBE-PORTALS"}


@dataclass
class Requests:
    answers: int = 0
    failures: tuple[str, ...] = ()


@contextmanager
def requests(cluster: Cluster, node: str) -> Iterator[Requests]:
    """Requests from a node all the time."""
    command = [sys.executable, "-m", "clusterip.main", "shell", "--name", cluster.name, node, "--", "python3", "-c"]
    with subprocess.Popen(
        [*command, REQUESTS], env=cluster.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "begun"
        found = Requests()
        yield found
        output, _ = process.communicate("end\n", timeout=90)
        told = json.loads(output)
        found.answers, found.failures = told["answers"], tuple(told["failures"])


def traces(cluster: Cluster, node: str) -> set[str]:
    """The modes that have rules on a node."""
    text = cluster.on(node, "sh", "-c", "nft list tables; iptables-save; iptables-legacy-save", check=False)
    return {mode for mode, mark in MODE_MARKS.items() if mark in text}


def leaves_only(cluster: Cluster, node: str, mode: str) -> bool:
    """The others' rules go once the new ones stand, a moment after the pod is ready."""
    return any(traces(cluster, node) == {mode} for _ in range(100))


def switch(cluster: Cluster, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBE_EDITOR", f"sed -i 's/^    mode: .*/    mode: \"{mode}\"/'")
    cluster.kubectl("edit", "cm", "kube-proxy", "-n", "kube-system")
    cluster.kubectl("-n", "kube-system", "delete", "pods", "-l", "k8s-app=kube-proxy")
    cluster.kubectl("-n", "kube-system", "rollout", "status", "ds/kube-proxy", "--timeout=110s")
    logs = cluster.kubectl("-n", "kube-system", "logs", "-l", "k8s-app=kube-proxy", "--tail=-1")
    assert f"Using {mode} Proxier" in logs


def test_modes_are_switched_under_requests(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    node = cluster.kubectl("get", "nodes", "-o", "name").split()[0].removeprefix("node/")
    try:
        with requests(cluster, node) as seen:
            for mode in ("iptables", "nftables", "iptables", "userspace"):
                switch(cluster, mode, monkeypatch)
                assert leaves_only(cluster, node, mode)
        assert seen.answers > 100
        assert not seen.failures
    finally:  # what userspace mode relays ends with its process, in every implementation
        switch(cluster, "nftables", monkeypatch)
    assert leaves_only(cluster, node, "nftables")
    with requests(cluster, node) as seen:
        pass
    assert not seen.failures
