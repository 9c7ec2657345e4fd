"""A pod in one line: what `kubectl get pods` says of every state a pod goes through."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.meta import Tree
from clusterip.api.pod_table import COLUMNS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-01-02T03:00:00Z"}}


def ended(code: int, reason: str = "", signal: int = 0) -> Tree:
    return {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}


def waiting(reason: str) -> Tree:
    return {"waiting": {"reason": reason}}


def container(state: Tree, *, ready: bool = False, restarts: int = 0, **more: Any) -> Tree:
    return {"name": more.pop("name", "c"), "state": state, "ready": ready, "restartCount": restarts, **more}


def pod(phase: str, *containers: Tree, init: tuple[Tree, ...] = (), spec: Tree | None = None, **more: Any) -> Tree:
    status = {"phase": phase, "containerStatuses": list(containers), "initContainerStatuses": list(init)}
    status.update(more.pop("status", {}))
    names = {
        "containers": [{"name": c["name"]} for c in containers] or [{"name": "c"}],
        "initContainers": [{"name": c["name"]} for c in init],
    }
    return {"metadata": {"name": "p", **more}, "spec": {**names, **(spec or {})}, "status": status}


def shown(tree: Tree) -> tuple[str, str, str]:
    ready, word, restarts = (column.cell(tree, NOW) for column in COLUMNS[1:4])
    return ready, word, restarts


READY = {"conditions": [{"type": "Ready", "status": "True"}]}
RAN = {"lastState": {"terminated": {"finishedAt": "2026-01-02T03:04:00Z"}}}

CASES = {
    "pending": (pod("Pending"), ("0/1", "Pending", "0")),
    "creating": (pod("Pending", container(waiting("ContainerCreating"))), ("0/1", "ContainerCreating", "0")),
    "running": (pod("Running", container(RUNNING, ready=True)), ("1/1", "Running", "0")),
    "not ready": (pod("Running", container(RUNNING)), ("0/1", "Running", "0")),
    "crashing": (
        pod("Running", container(waiting("CrashLoopBackOff"), restarts=3, **RAN)),
        ("0/1", "CrashLoopBackOff", "3 (5s ago)"),
    ),
    "completed": (pod("Succeeded", container(ended(0, "Completed"))), ("0/1", "Completed", "0")),
    "failed": (pod("Failed", container(ended(1, "Error"))), ("0/1", "Error", "0")),
    "exit code": (pod("Failed", container(ended(3))), ("0/1", "ExitCode:3", "0")),
    "signal": (pod("Failed", container(ended(137, signal=9))), ("0/1", "Signal:9", "0")),
    "one of two ended": (
        pod("Running", container(ended(0, "Completed")), container(RUNNING, ready=True, name="d"), status=READY),
        ("1/2", "Running", "0"),
    ),
    "one of two ended, not ready": (
        pod("Running", container(ended(0, "Completed")), container(RUNNING, ready=True, name="d")),
        ("1/2", "NotReady", "0"),
    ),
    "terminating": (
        pod("Running", container(RUNNING, ready=True), deletionTimestamp="2026-01-02T03:04:00Z"),
        ("1/1", "Terminating", "0"),
    ),
    "ended while deleted": (
        pod("Succeeded", container(ended(0, "Completed")), deletionTimestamp="2026-01-02T03:04:00Z"),
        ("0/1", "Completed", "0"),
    ),
    "lost": (
        pod("Running", deletionTimestamp="2026-01-02T03:04:00Z", status={"reason": "NodeLost"}),
        ("0/1", "Unknown", "0"),
    ),
    "evicted": (pod("Failed", status={"reason": "Evicted"}), ("0/1", "Evicted", "0")),
    "gated": (
        pod("Pending", status={"conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
        ("0/1", "SchedulingGated", "0"),
    ),
    "initializing": (
        pod("Pending", init=(container(ended(0), name="i"), container(waiting("PodInitializing"), name="j"))),
        ("0/1", "Init:1/2", "0"),
    ),
    "init failed": (pod("Failed", init=(container(ended(2, "Error"), name="i"),)), ("0/1", "Init:Error", "0")),
    "init crashing": (
        pod("Pending", init=(container(waiting("CrashLoopBackOff"), name="i", restarts=2),)),
        ("0/1", "Init:CrashLoopBackOff", "2"),
    ),
    "sidecar": (
        pod(
            "Running",
            container(RUNNING, ready=True),
            init=(container(RUNNING, ready=True, name="i", started=True),),
            spec={"initContainers": [{"name": "i", "restartPolicy": "Always"}]},
        ),
        ("2/2", "Running", "0"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_states(case: str) -> None:
    tree, line = CASES[case]
    assert shown(tree) == line


def test_wide_columns() -> None:
    tree = pod("Running", spec={"nodeName": "node-1", "readinessGates": [{"conditionType": "x"}]})
    tree["status"]["podIP"] = "10.244.1.5"
    assert [c.cell(tree, NOW) for c in COLUMNS if c.priority] == ["10.244.1.5", "node-1", "<none>", "0/1"]
