"""What a pod's status says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clusterip.api.meta import Tree
from clusterip.node.model import Pod, PodSeen, Seen
from clusterip.node.status import Facts, is_said, patch_of, pod_phase, pod_status, terminated
from node.pods import pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
FACTS = Facts(host_ips=("192.168.4.101",), pod_ips=(), started_at=NOW, now=NOW)
RUNNING = Seen(state="running", attempt=0, id="abc", started=True, ready=True, started_at=NOW)


def exited(code: int, attempt: int = 0, **more: str) -> Seen:
    return Seen(state="exited", attempt=attempt, id="abc", exit_code=code, started_at=NOW, finished_at=NOW, **more)  # type: ignore[arg-type]


def status(one: Pod, former: Tree | None = None, facts: Facts = FACTS, **containers: Seen) -> Tree:
    return pod_status(one, PodSeen(sandbox=True, ip="10.244.1.2", containers=containers), former or {}, facts)


def conditions(tree: Tree) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c.get("reason", "")) for c in tree["conditions"]}


@pytest.mark.parametrize(
    ("policy", "one", "phase"),
    [
        ("Always", Seen(), "Pending"),
        ("Always", RUNNING, "Running"),
        ("Always", exited(1), "Running"),
        ("OnFailure", exited(1), "Running"),
        ("OnFailure", exited(0), "Succeeded"),
        ("Never", exited(1), "Failed"),
        ("Never", exited(0), "Succeeded"),
    ],
)
def test_phases(policy: str, one: Seen, phase: str) -> None:
    assert pod_phase(pod(restartPolicy=policy), PodSeen(containers={"c": one})) == phase


def test_a_pod_that_ended_by_deletion() -> None:
    gone = pod(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert pod_phase(gone, PodSeen(containers={"c": RUNNING})) == "Running"
    assert pod_phase(gone, PodSeen(containers={"c": exited(0)})) == "Succeeded"
    assert pod_phase(gone, PodSeen(containers={"c": exited(143)})) == "Failed"


def test_a_running_pod() -> None:
    tree = status(pod(), c=RUNNING)
    assert (tree["podIP"], tree["hostIP"], tree["qosClass"], tree["observedGeneration"]) == (
        "10.244.1.2",
        "192.168.4.101",
        "BestEffort",
        1,
    )
    assert set(conditions(tree).values()) == {("True", "")}
    [one] = tree["containerStatuses"]
    assert one["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert (one["ready"], one["started"], one["restartCount"]) == (True, True, 0)
    assert one["containerID"] == "clusterip://abc"


def test_a_container_that_is_not_ready() -> None:
    tree = status(pod(), c=replace(RUNNING, ready=False))
    assert conditions(tree)["Ready"] == ("False", "ContainersNotReady")
    message = next(c["message"] for c in tree["conditions"] if c["type"] == "Ready")
    assert message == "containers with unready status: [c]"


def test_waiting_reasons() -> None:
    inits = {"initContainers": [{"name": "i", "image": "x"}]}
    [fresh] = status(pod())["containerStatuses"]
    assert fresh["state"] == {"waiting": {"reason": "ContainerCreating"}}
    [behind] = status(pod(**inits))["containerStatuses"]
    assert behind["state"] == {"waiting": {"reason": "PodInitializing"}}
    pull = Seen(waiting_reason="ImagePullBackOff", waiting_message="why")
    [missing] = status(pod(), c=pull)["containerStatuses"]
    assert missing["state"] == {"waiting": {"reason": "ImagePullBackOff", "message": "why"}}


def test_a_crash_loop_shows_the_last_end() -> None:
    crashed = replace(exited(5, 3, reason="Error"), waiting_reason="CrashLoopBackOff", former=exited(4, 2))
    [one] = status(pod(), c=crashed)["containerStatuses"]
    assert one["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert one["lastState"]["terminated"]["exitCode"] == 5
    assert one["restartCount"] == 3


def test_a_completed_pod() -> None:
    tree = status(pod(restartPolicy="Never"), c=exited(0, reason="Completed"))
    assert conditions(tree)["Ready"] == ("False", "PodCompleted")
    assert tree["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"


def test_transition_times_move_only_with_the_status() -> None:
    first = status(pod(), c=RUNNING)
    second = status(pod(), first, replace(FACTS, now=LATER), c=replace(RUNNING, ready=False))
    times = {c["type"]: c["lastTransitionTime"] for c in second["conditions"]}
    assert times["Initialized"] == "2026-01-01T00:00:00Z"
    assert times["Ready"] == "2026-01-02T00:00:00Z"
    assert second["startTime"] == first["startTime"]


def test_readiness_gates() -> None:
    gated = pod(readinessGates=[{"conditionType": "lb"}])
    assert conditions(status(gated, c=RUNNING))["Ready"] == ("False", "ReadinessGatesNotReady")
    passed = pod(readinessGates=[{"conditionType": "lb"}], status={"conditions": [{"type": "lb", "status": "True"}]})
    assert conditions(status(passed, c=RUNNING))["Ready"] == ("True", "")


def test_the_patch_can_only_hit_this_pod_and_takes_old_reasons_away() -> None:
    patch = patch_of(pod(), status(pod(), c=RUNNING))
    assert patch["metadata"] == {"uid": "u-1"}
    assert all(c["reason"] is None for c in patch["status"]["conditions"])


def test_a_pod_of_which_nothing_was_said_yet() -> None:
    fresh = pod()
    assert is_said(fresh, {})
    assert patch_of(fresh, {"phase": "Pending"})["status"] == {"phase": "Pending", "conditions": []}


def test_what_never_started() -> None:
    seen = Seen(state="exited", attempt=0, id="abc", exit_code=128, finished_at=NOW, reason="StartError")
    assert terminated(seen)["startedAt"] == "1970-01-01T00:00:00Z"


SMALL, LARGE = ({"requests": {"cpu": cpu}, "limits": {"cpu": "4"}} for cpu in ("1", "2"))


def resizing(error: str = "", pending: tuple[str, str] = ("", "")) -> Tree:
    one = pod({"name": "c", "resources": LARGE}, meta={"generation": 2})
    what = replace(RUNNING, resources=SMALL, resize_error=error)
    return pod_status(one, PodSeen(sandbox=True, ip="10.244.1.2", containers={"c": what}, pending=pending), {}, FACTS)


def test_what_was_granted_and_what_a_container_has() -> None:
    [one] = resizing()["containerStatuses"]
    assert (one["allocatedResources"], one["resources"]) == ({"cpu": "2"}, SMALL)
    [waiting] = status(pod({"name": "c", "resources": LARGE}))["containerStatuses"]
    assert (waiting["allocatedResources"], waiting["resources"]) == ({"cpu": "2"}, LARGE)
    [plain] = status(pod(), c=replace(RUNNING, resources={}))["containerStatuses"]
    assert not {"allocatedResources", "resources"} & set(plain)


def test_conditions_of_a_resize_come_and_go() -> None:
    assert conditions(resizing())["PodResizeInProgress"] == ("True", "")
    told = resizing("busy", ("Deferred", "no room"))
    assert conditions(told)["PodResizeInProgress"] == ("True", "Error")
    assert conditions(told)["PodResizePending"] == ("True", "Deferred")
    resized = pod({"name": "c", "resources": LARGE}, meta={"generation": 2}, status=told)
    after = status(resized, told, c=replace(RUNNING, resources=LARGE))
    assert not {"PodResizeInProgress", "PodResizePending"} & set(conditions(after))
    removed = [c["type"] for c in patch_of(resized, after)["status"]["conditions"] if c.get("$patch") == "delete"]
    assert removed == ["PodResizePending", "PodResizeInProgress"]
    assert not is_said(resized, after)
    assert is_said(pod({"name": "c", "resources": LARGE}, meta={"generation": 2}, status=after), after)


def test_a_resize_that_fails_anew_has_a_new_time() -> None:
    former = resizing("busy")
    one = pod({"name": "c", "resources": LARGE}, meta={"generation": 2}, status=former)
    busy = PodSeen(containers={"c": replace(RUNNING, resources=SMALL, resize_error="busy")})
    calm = PodSeen(containers={"c": replace(RUNNING, resources=SMALL)})
    times = [
        next(c["lastTransitionTime"] for c in told["conditions"] if c["type"] == "PodResizeInProgress")
        for told in (pod_status(one, each, former, replace(FACTS, now=LATER)) for each in (busy, calm))
    ]
    assert times == ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]


def test_a_pod_that_was_never_taken_has_no_containers() -> None:
    what = PodSeen(refused=True, failure="NodePorts", failure_message="Pod was rejected: taken")
    assert pod_status(pod(), what, {}, FACTS) == {
        "phase": "Failed",
        "reason": "NodePorts",
        "message": "Pod was rejected: taken",
        "startTime": "2026-01-01T00:00:00Z",
        "qosClass": "BestEffort",
        "observedGeneration": 1,
    }
