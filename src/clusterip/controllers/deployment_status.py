"""What a Deployment's status says: counts, and the conditions Available and Progressing.

Stage: plan.  In: a Deployment, its ReplicaSets, the time.  Out: a status, and when time alone will change it.
Rules: pure; a condition's transition time moves only when its status does.
Truth: apps/v1 DeploymentStatus, kube-controller-manager's deployment progress rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.clock import rfc3339
from clusterip.controllers.model_workloads import Deployment
from clusterip.controllers.pods import parse_time
from clusterip.controllers.rollout import Sets, available_of, max_unavailable, pods_of, total


def compute(deployment: Deployment, sets: Sets, now: datetime) -> tuple[Tree, float | None]:
    """The status, and after how many seconds the progress deadline passes."""
    counts = _counts(sets)
    available = _available(deployment, counts)
    progressing, again = _progressing(deployment, sets, counts, now)
    conditions = _merged(deployment, [available, progressing], now)
    nonzero = {name: value or None for name, value in counts.items()}
    status = {
        **nonzero,
        "terminatingReplicas": counts["terminatingReplicas"],
        "observedGeneration": deployment.metadata.generation,
        "conditions": conditions,
    }
    return status, again


def is_complete(deployment: Deployment, sets: Sets) -> bool:
    """All pods are of the new template and available, and no old one is left."""
    replicas = deployment.spec.replicas
    new = sets.new
    return (
        new is not None
        and pods_of(new) == replicas
        and available_of(new) >= replicas
        and sum(map(pods_of, sets.all)) == replicas
        and (new.status.get("observedGeneration") or 0) >= new.metadata.generation
    )


def _counts(sets: Sets) -> dict[str, int]:
    def all_of(name: str) -> int:
        return sum(int(rs.status.get(name) or 0) for rs in sets.all)

    available = all_of("availableReplicas")
    return {
        "replicas": all_of("replicas"),
        "updatedReplicas": pods_of(sets.new) if sets.new else 0,
        "readyReplicas": all_of("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(sets.all) - available),
        "terminatingReplicas": all_of("terminatingReplicas"),
    }


def _available(deployment: Deployment, counts: dict[str, int]) -> Tree:
    if counts["availableReplicas"] >= deployment.spec.replicas - max_unavailable(deployment):
        return _condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    why = "Deployment does not have minimum availability."
    return _condition("Available", "False", "MinimumReplicasUnavailable", why)


def _progressing(
    deployment: Deployment, sets: Sets, counts: dict[str, int], now: datetime
) -> tuple[Tree | None, float | None]:
    """The condition, and when its deadline passes. A finished rollout stays finished until the template changes."""
    spec, known = deployment.spec, condition_of(deployment, "Progressing")
    deadline = spec.progress_deadline_seconds
    if deadline is None or deadline == 2**31 - 1:
        return None, None
    if spec.paused:
        return _condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused"), None
    subject = f'ReplicaSet "{sets.new.metadata.name}"' if sets.new else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, sets):
        words = f"{subject} has successfully progressed."
        return _condition("Progressing", "True", "NewReplicaSetAvailable", words), None
    if known is None:
        if sets.new is None:
            return None, None
        words = f"Created new replica set {sets.new.metadata.name!r}".replace("'", '"')
        return _condition("Progressing", "True", "NewReplicaSetCreated", words), float(deadline)
    was_done = known.get("reason") == "NewReplicaSetAvailable"
    if was_done and sets.new is not None and known.get("message", "").startswith(f"{subject} "):
        return known, None  # pods come and go after a rollout; that is no progress
    if _has_progressed(deployment, counts) or was_done or known.get("status") == "Unknown":
        fresh = _condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.")
        return {**fresh, "lastUpdateTime": rfc3339(now)}, float(deadline)
    return _deadline(known, subject, deadline, now)


def _deadline(known: Tree, subject: str, deadline: int, now: datetime) -> tuple[Tree, float | None]:
    if known.get("reason") == "ProgressDeadlineExceeded":
        return known, None
    since = parse_time(known.get("lastUpdateTime")) or now
    left = deadline - (now - since).total_seconds()
    if left > 0:
        return known, left + 0.01
    words = f"{subject} has timed out progressing."
    return _condition("Progressing", "False", "ProgressDeadlineExceeded", words), None


def _has_progressed(deployment: Deployment, counts: dict[str, int]) -> bool:
    """More new pods, more available ones, or fewer old ones than the last status told."""
    old = deployment.status

    def before(name: str) -> int:
        return int(old.get(name) or 0)

    return (
        counts["updatedReplicas"] > before("updatedReplicas")
        or counts["replicas"] - counts["updatedReplicas"] < before("replicas") - before("updatedReplicas")
        or counts["readyReplicas"] > before("readyReplicas")
        or counts["availableReplicas"] > before("availableReplicas")
    )


def condition_of(deployment: Deployment, type: str) -> Tree | None:
    conditions: Sequence[Tree] = deployment.status.get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == type), None)


def _condition(type: str, status: str, reason: str, message: str) -> Tree:
    return {"type": type, "status": status, "reason": reason, "message": message}


def _merged(deployment: Deployment, fresh: Sequence[Tree | None], now: datetime) -> list[Tree] | None:
    """Known conditions in their places, with new words and times only where something changed."""
    moment = rfc3339(now)
    found: dict[str, Tree] = {condition["type"]: condition for condition in deployment.status.get("conditions") or ()}
    for condition in filter(None, fresh):
        known = found.get(condition["type"])
        words = ("status", "reason", "message")
        if known is not None and all(known.get(name) == condition.get(name) for name in words):
            if condition.get("lastUpdateTime", "") > known.get("lastUpdateTime", ""):
                found[condition["type"]] = {**known, "lastUpdateTime": condition["lastUpdateTime"]}
            continue
        same = known is not None and known.get("status") == condition["status"]
        moved = known["lastTransitionTime"] if same and known else moment
        found[condition["type"]] = {**condition, "lastUpdateTime": moment, "lastTransitionTime": moved}
    return list(found.values()) or None
