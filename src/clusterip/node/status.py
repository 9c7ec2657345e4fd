"""What a pod's status says.

Stage: plan.  In: the pod, what was seen of it, the status that was written last, the time.  Out: a status tree.
Rules: pure; only what the node owns is said; a condition's time changes with its status alone.
Truth: the kubelet's generateAPIPodStatus, getPhase, status/generate.go; core/v1 PodStatus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.api.pod import qos_class
from clusterip.clock import rfc3339
from clusterip.node.allocation import resources_of, unfinished
from clusterip.node.decide import failed_init, initialized, is_over
from clusterip.node.model import Container, Pod, PodSeen, Seen

PENDING, IN_PROGRESS = PASSING = ("PodResizePending", "PodResizeInProgress")
"""Conditions that go when they no longer hold."""
RUNTIME_NAME = "clusterip"
Condition = tuple[str, bool, str, str]  # type, status, reason, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the node adds."""

    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]
    started_at: datetime
    now: datetime


def pod_status(pod: Pod, seen: PodSeen, former: Tree, facts: Facts) -> Tree:
    """The status to write."""
    phase = pod_phase(pod, seen)
    if seen.refused:
        return _refused(pod, seen, phase, former, facts)
    status: Tree = {
        "phase": phase,
        "conditions": conditions(pod, seen, phase, former.get("conditions") or (), facts.now),
        "hostIP": facts.host_ips[0],
        "hostIPs": [{"ip": ip} for ip in facts.host_ips],
        "startTime": former.get("startTime") or rfc3339(facts.started_at),
        "qosClass": former.get("qosClass") or pod.status.get("qosClass") or qos_class(pod.spec),
        "containerStatuses": [container_status(pod, c, seen) for c in pod.app_containers],
    }
    if pod.init_containers:
        status["initContainerStatuses"] = [container_status(pod, c, seen) for c in pod.init_containers]
    if pod.ephemeral_containers:
        told = [container_status(pod, c, seen) for c in pod.ephemeral_containers]
        status["ephemeralContainerStatuses"] = [{**one, "ready": False} for one in told]
    if seen.ip:
        status |= {"podIP": seen.ip, "podIPs": [{"ip": ip} for ip in facts.pod_ips or (seen.ip,)]}
    if generation := pod.meta.get("generation"):
        status["observedGeneration"] = generation
    if seen.failure:
        status |= {"reason": seen.failure, "message": seen.failure_message}
    return status


def _refused(pod: Pod, seen: PodSeen, phase: str, former: Tree, facts: Facts) -> Tree:
    """The status of a pod that this node never took."""
    status: Tree = {
        "phase": phase,
        "startTime": former.get("startTime") or rfc3339(facts.started_at),
        "qosClass": former.get("qosClass") or pod.status.get("qosClass") or qos_class(pod.spec),
    }
    if generation := pod.meta.get("generation"):
        status["observedGeneration"] = generation
    if seen.failure:
        status |= {"reason": seen.failure, "message": seen.failure_message}
    return status


def pod_phase(pod: Pod, seen: PodSeen) -> str:
    """Pending, Running, Succeeded or Failed; a final one stays."""
    if pod.is_finished:
        return str(pod.status["phase"])
    app = [seen.of(c.name) for c in pod.app_containers]
    stopped = all(s.state != "running" for s in app)
    if seen.failure and stopped:
        return "Failed"
    if failed_init(pod, seen):
        return "Failed"
    if (pod.is_terminating or seen.vanished) and stopped and any(s.state == "exited" for s in app):
        return "Succeeded" if all(s.exit_code == 0 for s in app) else "Failed"
    begun = all(s.attempt >= 0 for s in app)
    if not begun or not app:
        return "Pending"
    if is_over(pod, seen):
        return "Succeeded" if all(s.exit_code == 0 for s in app) else "Failed"
    return "Running"


def container_ready(container: Container, seen: Seen) -> bool:
    """Whether a container counts as ready; an init container is ready once it is through."""
    if container.init and not container.is_sidecar:
        return seen.state == "exited" and seen.exit_code == 0
    return seen.state == "running" and seen.started and seen.ready


def container_status(pod: Pod, container: Container, seen: PodSeen) -> Tree:
    """One entry of containerStatuses."""
    one = seen.of(container.name)
    state = container_state(pod, container, seen)
    last = one.former if one.state == "running" or one.former is not None else None
    if "waiting" in state and one.state == "exited":
        last = one
    status: Tree = {
        "name": container.name,
        "state": state,
        "lastState": {"terminated": terminated(last)} if last is not None and last.state == "exited" else {},
        "ready": container_ready(container, one),
        "restartCount": max(one.attempt, 0),
        "image": container.image,
        "imageID": one.image_id,
        "started": one.state == "running" and one.started,
    }
    status |= _resources(container, one)
    if one.id:
        status["containerID"] = f"{RUNTIME_NAME}://{one.id}"
    return status


def _resources(container: Container, one: Seen) -> Tree:
    """What was granted, and what the running container has of it."""
    granted = resources_of(container)
    has = one.resources if one.state == "running" and one.resources is not None else granted
    status: Tree = {"resources": has} if has else {}
    if requests := granted.get("requests"):
        status["allocatedResources"] = requests
    return status


def container_state(pod: Pod, container: Container, seen: PodSeen) -> Tree:
    """running, terminated or waiting."""
    one = seen.of(container.name)
    if one.state == "running":
        return {"running": {"startedAt": rfc3339(one.started_at)} if one.started_at else {}}
    if one.waiting_reason:
        return {"waiting": _waiting(one.waiting_reason, one.waiting_message)}
    if one.state == "exited":
        return {"terminated": terminated(one)}
    pending = (
        pod.init_containers and not initialized(pod, seen) and not (container.init and _is_next(pod, container, seen))
    )
    return {"waiting": _waiting("PodInitializing" if pending else "ContainerCreating", "")}


def _is_next(pod: Pod, container: Container, seen: PodSeen) -> bool:
    """The first init container is being created while the pod is; the others wait for it."""
    return pod.init_containers[0].name == container.name and not seen.prepared


def _waiting(reason: str, message: str) -> Tree:
    return {"reason": reason, "message": message} if message else {"reason": reason}


NEVER = "1970-01-01T00:00:00Z"  # what a runtime says of a container that it could not start


def terminated(seen: Seen) -> Tree:
    """How an attempt ended."""
    tree: Tree = {
        "exitCode": seen.exit_code if seen.exit_code is not None else 255,
        "reason": seen.reason or ("Completed" if seen.exit_code == 0 else "Error"),
        "startedAt": rfc3339(seen.started_at) if seen.started_at else NEVER if seen.reason == "StartError" else None,
        "finishedAt": rfc3339(seen.finished_at) if seen.finished_at else None,
    }
    if seen.id:
        tree["containerID"] = f"{RUNTIME_NAME}://{seen.id}"
    if seen.message:
        tree["message"] = seen.message
    return tree


def conditions(
    pod: Pod, seen: PodSeen, phase: str, former: Sequence[Mapping[str, object]], now: datetime
) -> list[Tree]:
    """The node's conditions; a scheduler's is kept, or said when the pod was bound without one."""
    known = {str(c["type"]): c for c in [*(pod.status.get("conditions") or ()), *former]}
    through = initialized(pod, seen) or phase in ("Succeeded", "Running")
    unready = [c.name for c in pod.app_containers if not container_ready(c, seen.of(c.name))]
    unready += [c.name for c in pod.init_containers if c.is_sidecar and not container_ready(c, seen.of(c.name))]
    ready = _ready(phase, unready)
    wanted: list[Condition] = [
        ("PodReadyToStartContainers", seen.sandbox and bool(seen.ip), "", ""),
        ("Initialized", through, *_initialized_words(pod, seen, phase, through)),
        ("Ready", *_gated(pod, known, ready)),
        ("ContainersReady", *ready),
        ("PodScheduled", True, "", ""),
    ]
    return [_condition(pod, one, known.get(one[0]), now) for one in [*wanted, *_resizing(pod, seen)]]


def _resizing(pod: Pod, seen: PodSeen) -> list[Condition]:
    """What the pod was not granted, and what is granted and not yet given."""
    found: list[Condition] = [(PENDING, True, *seen.pending)] if seen.pending[0] else []
    if names := unfinished(pod, seen):
        errors = [error for name in names if (error := seen.of(name).resize_error)]
        found.append((IN_PROGRESS, True, "Error" if errors else "", "; ".join(errors)))
    return found


def _initialized_words(pod: Pod, seen: PodSeen, phase: str, through: bool) -> tuple[str, str]:
    if phase == "Succeeded":
        return "PodCompleted", ""
    if through:
        return "", ""
    missing = [c.name for c in pod.init_containers if not _is_through(c, seen.of(c.name))]
    return "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(missing)}]"


def _is_through(container: Container, seen: Seen) -> bool:
    if container.is_sidecar:
        return seen.state == "running" and seen.started
    return seen.state == "exited" and seen.exit_code == 0


def _ready(phase: str, unready: Sequence[str]) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _gated(pod: Pod, known: Mapping[str, Mapping[str, object]], ready: tuple[bool, str, str]) -> tuple[bool, str, str]:
    """Readiness gates: conditions that others must have set."""
    if not ready[0]:
        return ready
    for gate in pod.spec.get("readinessGates") or ():
        kind = gate["conditionType"]
        found = known.get(kind)
        if found is None:
            return (
                False,
                "ReadinessGatesNotReady",
                f'corresponding condition of pod readiness gate "{kind}" does not exist.',
            )
        if found.get("status") != "True":
            text = f'the status of pod readiness gate "{kind}" is not "True", but {found.get("status")}'
            return False, "ReadinessGatesNotReady", text
    return ready


def _condition(pod: Pod, wanted: Condition, known: Mapping[str, object] | None, now: datetime) -> Tree:
    kind, holds, reason, message = wanted
    status = "True" if holds else "False"
    since = (
        known["lastTransitionTime"]
        if known
        and known.get("lastTransitionTime")
        and known.get("status") == status
        and (kind not in PASSING or known.get("reason", "") == reason)
        else rfc3339(now)
    )
    tree: Tree = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    if generation := pod.meta.get("generation"):
        tree["observedGeneration"] = generation
    if reason:
        tree["reason"] = reason
    if message:
        tree["message"] = message
    return tree


def patch_of(pod: Pod, status: Tree) -> Tree:
    """A strategic merge patch that can only hit this very pod. A condition's old reason must be taken away by name."""
    shown = [{"reason": None, "message": None, **c} for c in status.get("conditions") or ()]
    if (pod.meta.get("generation") or 1) > 1:  # it was changed: what was said of that may be over
        said = {c["type"] for c in shown}
        shown += [{"type": kind, "$patch": "delete"} for kind in PASSING if kind not in said]
    return {"metadata": {"uid": pod.uid}, "status": {**status, "conditions": shown}}


def is_said(pod: Pod, status: Tree) -> bool:
    """Whether the API's state of the pod already says this status: whether the patch would change nothing."""
    return _holds(pod.status, patch_of(pod, status)["status"])


def _holds(present: object, wanted: object) -> bool:
    """Nothing and empty are the same; what others add beside ours is theirs."""
    if wanted in (None, "", [], {}) or present is None:
        return (present or None) == (wanted or None)
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(_holds(present.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list) and isinstance(present, list):
        if wanted and isinstance(wanted[0], Mapping) and "lastTransitionTime" in wanted[0]:
            by_type = {one["type"]: one for one in present}
            return all(_says(by_type.get(one["type"]), one) for one in wanted)
        return len(wanted) == len(present) and all(map(_holds, present, wanted))
    return present == wanted


def _says(present: object, wanted: Tree) -> bool:
    """Whether a condition stands as it is wanted, or is gone as it should be."""
    return present is None if wanted.get("$patch") else _holds(present, wanted)
