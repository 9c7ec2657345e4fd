"""What a pod's worker does next, given what it sees."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clusterip.node.decide import (
    Drain,
    Fail,
    Finish,
    Kill,
    Prepare,
    RemoveSandbox,
    Resize,
    Start,
    decide,
    initialized,
    is_over,
)
from clusterip.node.model import Pod, PodSeen, Seen
from node.pods import pod

RUNNING = Seen(state="running", attempt=0, started=True, ready=True)
STARTING = Seen(state="running", attempt=0)
GONE = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 7}


def exited(code: int, attempt: int = 0, retry_at: float = 0.0) -> Seen:
    return Seen(state="exited", attempt=attempt, exit_code=code, retry_at=retry_at)


def seen(prepared: bool = True, sandbox: bool = True, **containers: Seen) -> PodSeen:
    return PodSeen(prepared=prepared, sandbox=sandbox, containers=containers)


def steps(one: Pod, what: PodSeen, now: float = 100.0) -> list[object]:
    return list(decide(one, what, now).steps)


def test_a_new_pod_is_prepared_first() -> None:
    assert steps(pod(), PodSeen()) == [Prepare()]


def test_preparing_waits_for_its_time() -> None:
    decision = decide(pod(), PodSeen(retry_at=105.0), 100.0)
    assert (list(decision.steps), decision.wake_at) == ([], 105.0)


def test_containers_start_together() -> None:
    both = pod({"name": "a"}, {"name": "b"})
    assert steps(both, seen()) == [Start("a", 0), Start("b", 0)]


def test_nothing_is_done_to_a_running_pod() -> None:
    assert decide(pod(), seen(c=RUNNING), 100.0).steps == []


def test_init_containers_go_one_by_one() -> None:
    one = pod(initContainers=[{"name": "i"}, {"name": "j"}])
    assert steps(one, seen()) == [Start("i", 0)]
    assert steps(one, seen(i=STARTING)) == []
    assert steps(one, seen(i=exited(0))) == [Start("j", 0)]
    assert steps(one, seen(i=exited(0), j=exited(0))) == [Start("c", 0)]
    assert not initialized(one, seen(i=exited(0)))


def test_a_failed_init_container_is_tried_again_unless_never() -> None:
    inits = [{"name": "i"}]
    assert steps(pod(initContainers=inits), seen(i=exited(1))) == [Start("i", 1)]
    never = pod(initContainers=inits, restartPolicy="Never")
    assert is_over(never, seen(i=exited(1)))
    assert steps(never, seen(i=exited(1))) == [RemoveSandbox()]


def test_a_sidecar_must_have_started_and_goes_on_beside_the_others() -> None:
    one = pod(initContainers=[{"name": "s", "restartPolicy": "Always"}], restartPolicy="Never")
    assert steps(one, seen(s=STARTING)) == []
    assert steps(one, seen(s=RUNNING)) == [Start("c", 0)]
    assert steps(one, seen(s=exited(0, 3), c=RUNNING)) == [Start("s", 4)]
    assert steps(one, seen(s=RUNNING, c=exited(0))) == [Kill("s", 30)]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_restart_policy(policy: str, code: int, again: bool) -> None:
    wanted = [Start("c", 1)] if again else [RemoveSandbox()]
    assert steps(pod(restartPolicy=policy), seen(c=exited(code))) == wanted


def test_back_off_says_when_to_look_again() -> None:
    decision = decide(pod(), seen(c=exited(1, 4, retry_at=140.0)), 100.0)
    assert (list(decision.steps), decision.wake_at) == ([], 140.0)
    assert steps(pod(), seen(c=exited(1, 4, retry_at=140.0)), 140.0) == [Start("c", 5)]


def test_an_unhealthy_container_is_killed_once() -> None:
    why = "Container c failed liveness probe, will be restarted"
    ill = Seen(state="running", attempt=0, started=True, unhealthy=why)
    assert steps(pod(), seen(c=ill)) == [Kill("c", 30, why)]
    assert steps(pod(), seen(c=Seen(state="running", attempt=0, unhealthy=why, killing=True))) == []


def test_a_probe_may_have_its_own_grace() -> None:
    probe = {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 3}
    ill = Seen(state="running", attempt=0, unhealthy="Container c failed liveness probe, will be restarted")
    [kill] = steps(pod({"name": "c", "livenessProbe": probe}), seen(c=ill))
    assert isinstance(kill, Kill)
    assert kill.grace == 3


def test_the_end_of_a_pod_in_order() -> None:
    one = pod({"name": "c"}, meta=GONE, initContainers=[{"name": "s", "restartPolicy": "Always"}])
    both = {"c": RUNNING, "s": RUNNING}
    assert steps(one, PodSeen(prepared=True, sandbox=True, drained=False, containers=both)) == [Drain()]
    assert steps(one, seen(**both)) == [Kill("c", 7)]
    assert steps(one, seen(c=exited(0), s=RUNNING)) == [Kill("s", 7)]
    assert steps(one, seen(c=exited(0), s=exited(0))) == [RemoveSandbox()]
    assert steps(one, seen(sandbox=False, c=exited(0), s=exited(0))) == [Finish()]


def test_a_vanished_pod_ends_too() -> None:
    assert steps(pod(), PodSeen(prepared=True, sandbox=True, vanished=True)) == [RemoveSandbox()]
    assert steps(pod(), PodSeen(vanished=True)) == [Finish()]


def test_a_final_phase_is_final() -> None:
    one = pod(restartPolicy="Always", status={"phase": "Failed"})
    assert steps(one, seen(c=RUNNING)) == [Kill("c", 30)]
    assert steps(one, seen(sandbox=False, prepared=False, c=exited(1))) == []


def test_active_deadline() -> None:
    one = pod(activeDeadlineSeconds=10, status={"startTime": "2026-01-01T00:00:00Z"})
    before, after = datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert decide(one, seen(c=RUNNING), 100.0, before).wake_at == pytest.approx(106.0)
    [fail] = decide(one, seen(c=RUNNING), 100.0, after).steps
    assert isinstance(fail, Fail)
    assert fail.reason == "DeadlineExceeded"


def test_an_ephemeral_container_is_started_once_and_ends_with_the_pod() -> None:
    one = pod(ephemeralContainers=[{"name": "d", "image": "busybox"}])
    (name,) = (container.name for container in one.app_containers)
    going = {name: Seen(state="running", attempt=0)}
    assert steps(one, seen(**going)) == [Start("d", 0)]
    assert steps(one, seen(**going, d=exited(1))) == []
    assert not is_over(one, seen(**going, d=exited(1)))
    gone = Pod({**one.tree, "metadata": {**one.meta, "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    ending = seen(**going, d=Seen(state="running", attempt=0))
    assert [step.name for step in steps(gone, ending) if isinstance(step, Kill)] == ["d", name]


def sized(cpu: str, memory: str = "1Mi") -> dict[str, dict[str, str]]:
    return {"requests": {"cpu": cpu, "memory": memory}}


def running_with(cpu: str, resize_at: float = 0.0, killing: bool = False) -> Seen:
    return Seen(state="running", attempt=0, started=True, resources=sized(cpu), resize_at=resize_at, killing=killing)


def test_a_running_container_gets_what_was_granted() -> None:
    one = pod({"name": "c", "resources": sized("2")})
    assert steps(one, seen(c=running_with("2"))) == []
    assert steps(one, seen(c=running_with("1"))) == [Resize("c")]
    assert steps(one, seen(c=RUNNING)) == []  # started by an agent that did not write it down
    assert steps(one, seen(c=running_with("1", killing=True))) == []
    later = decide(one, seen(c=running_with("1", resize_at=105.0)), 100.0)
    assert (list(later.steps), later.wake_at) == ([], 105.0)


def test_a_container_that_wants_to_begin_anew_is_ended() -> None:
    policies = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    one = pod({"name": "c", "resources": sized("2"), "resizePolicy": policies})
    assert steps(one, seen(c=running_with("1"))) == [Kill("c", 30, "Container c resize requires restart")]
    assert steps(one, seen(c=exited(137))) == [Start("c", 1)]
    assert steps(pod({**one.app_containers[0].tree, "resources": sized("1", "2Mi")}), seen(c=running_with("1"))) == [
        Resize("c")
    ]


def test_an_evicted_pod_has_a_second() -> None:
    over = PodSeen(prepared=True, sandbox=True, containers={"c": RUNNING}, failure="Evicted")
    assert steps(pod(), over) == [Kill("c", 1)]
