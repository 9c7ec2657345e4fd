"""Why a pod is not ready: one reason for each way to fail."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.meta import ObjectKey
from clusterip.explain.picture import Evidence
from clusterip.explain.pods import probe_text, why_not_ready
from explain.objects import event, node, picture, pod


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {
        "name": "main",
        "image": "ngnix:1",
        "ready": False,
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return {"phase": "Pending", "containerStatuses": [state | more]}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"lastState": {"terminated": {"exitCode": code, "reason": reason}}, "restartCount": 7}


UNPLACED = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: no cpu"}],
}
GATED = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]}


@pytest.mark.parametrize(
    ("made", "kind", "seen", "fix"),
    [
        (
            pod(ready=False, status=waiting("ImagePullBackOff", "not found")),
            "image",
            "not found",
            "set image pod web-1",
        ),
        (pod(ready=False, status=waiting("ErrImageNeverPull")), "image", "ErrImageNeverPull", "set image"),
        (
            pod(ready=False, status=waiting("CrashLoopBackOff", **ended(3))),
            "crash",
            "exit code 3, 7 restarts",
            "--previous",
        ),
        (
            pod(ready=False, status=waiting("CrashLoopBackOff", **ended(137, "OOMKilled"))),
            "out-of-memory",
            "OOMKilled",
            "--limits=memory",
        ),
        (
            pod(ready=False, status=waiting("CreateContainerConfigError", 'secret "x" not found')),
            "container-config",
            'secret "x" not found',
            "describe",
        ),
        (pod(ready=False, node="", status=UNPLACED), "unschedulable", "no cpu", "describe"),
        (
            pod(ready=False, node="", status={"phase": "Pending", "conditions": []}),
            "not-scheduled",
            "nodeName",
            "scheduler",
        ),
        (pod(ready=False, status={"phase": "Failed", "reason": "Evicted"}), "failed", "Evicted", "describe"),
        (pod(ready=False, status={"phase": "Succeeded"}), "completed", "Succeeded", "describe"),
        (pod(deleted=True), "terminating", "deletionTimestamp", ""),
        (
            pod(ready=False, status=GATED, spec={"readinessGates": [{"conditionType": "x/y"}]}),
            "readiness-gate",
            "x/y",
            "describe",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_way_to_fail(made: dict[str, Any], kind: str, seen: str, fix: str) -> None:
    reason = why_not_ready(picture(pods=(made,)), made)
    assert reason is not None
    assert reason.kind == kind
    assert any(seen in each for each in reason.evidence)
    assert any(fix in each for each in reason.fixes) or not fix


def test_a_ready_pod_has_no_reason() -> None:
    assert why_not_ready(picture(), pod()) is None


def test_a_probe_that_fails_is_told_with_what_it_said() -> None:
    probe = {"httpGet": {"path": "/ok", "port": 8080}}
    made = pod(ready=False, spec={"containers": [{"name": "main", "readinessProbe": probe}]})
    said = event(made, "Unhealthy", "Readiness probe failed: 404")
    reason = why_not_ready(picture(pods=(made,), events=(said,)), made)
    assert reason is not None
    assert reason.kind == "probe"
    assert reason.evidence == ("readinessProbe: GET /ok on port 8080", "Readiness probe failed: 404")


def test_an_event_of_an_earlier_pod_of_that_name_does_not_count() -> None:
    made = pod(ready=False, status={"containerStatuses": []})
    old = event(made, "FailedMount", "no such volume")
    old["involvedObject"]["uid"] = "another"
    reason = why_not_ready(picture(pods=(made,), events=(old,)), made)
    assert reason is not None
    assert reason.kind == "starting"
    old["involvedObject"]["uid"] = made["metadata"]["uid"]
    reason = why_not_ready(picture(pods=(made,), events=(old,)), made)
    assert reason is not None
    assert reason.evidence == ("FailedMount: no such volume",)


def test_the_log_of_what_ends_is_told() -> None:
    made = pod(ready=False, status=waiting("CrashLoopBackOff", **ended(1)))
    logs = {ObjectKey("shop", "web-1"): "starting\nno DATABASE_URL\n"}
    reason = why_not_ready(picture(pods=(made,), evidence=Evidence(logs=logs)), made)
    assert reason is not None
    assert "log: no DATABASE_URL" in reason.evidence


def test_a_lost_node_explains_its_pods() -> None:
    made = pod(ready=False, node="node-2")
    reason = why_not_ready(picture(pods=(made,), nodes=(node("node-2", ready=False),)), made)
    assert reason is not None
    assert (reason.kind, reason.text) == ("node-not-ready", "is on node node-2, which is not ready")


def test_probes_in_few_words() -> None:
    assert probe_text({"tcpSocket": {"port": 5432}}) == "TCP connection to port 5432"
    assert probe_text({"grpc": {"port": 9000}}) == "gRPC on port 9000"
    assert probe_text({"exec": {"command": ["test", "-f", "/ok"]}}) == "exec test -f /ok"
