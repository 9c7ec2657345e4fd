"""Pods as the workload controllers see them: how many serve, which are missed least, how a new one looks.

Stage: plan.  In: pods, a template, the time.  Out: numbers, orders, trees.
Rules: pure.
Truth: kube-controller-manager's controller_utils (ranking of pods to delete), apps/v1 minReadySeconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from clusterip.api.meta import Tree, copied
from clusterip.client.names import ResourceRef
from clusterip.controllers.model import Meta, Pod
from clusterip.controllers.writes import owned_by

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def parse_time(text: str | None) -> datetime | None:
    """metav1.Time or MicroTime."""
    return datetime.fromisoformat(text) if text else None


def ready_since(pod: Pod) -> datetime | None:
    """When the pod became ready; None while it is not."""
    found = pod.condition("Ready")
    return parse_time(found.last_transition_time) if found is not None and found.status == "True" else None


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Ready, and for long enough."""
    if not pod.is_ready:
        return False
    if min_ready_seconds <= 0:
        return True
    since = ready_since(pod)
    return since is not None and (now - since).total_seconds() >= min_ready_seconds


def availability(pods: Iterable[Pod], min_ready_seconds: int, now: datetime) -> tuple[int, int]:
    """How many are ready, and how many available."""
    ready = [pod for pod in pods if pod.is_ready]
    return len(ready), sum(is_available(pod, min_ready_seconds, now) for pod in ready)


def seconds_until_available(pods: Iterable[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """When the next ready pod becomes available by time alone."""
    if min_ready_seconds <= 0:
        return None
    waits = []
    for pod in pods:
        since = ready_since(pod)
        if since is not None and not is_available(pod, min_ready_seconds, now):
            waits.append(min_ready_seconds - (now - since).total_seconds())
    return max(0.0, min(waits)) + 0.001 if waits else None


def victims(pods: Sequence[Pod], count: int) -> list[Pod]:
    """The pods missed least: without a node, pending, not ready, cheap, crowded on a node, ready or made last."""
    if count <= 0:
        return []
    crowd = Counter(pod.spec.node_name for pod in pods)
    return sorted(pods, key=lambda pod: _rank(pod, crowd))[:count]


def _rank(pod: Pod, crowd: Counter[str]) -> tuple[object, ...]:
    since = ready_since(pod)
    created = parse_time(pod.metadata.creation_timestamp)
    return (
        bool(pod.spec.node_name),
        {"Pending": 0, "": 0, "Unknown": 1}.get(pod.status.phase, 2),
        pod.is_ready,
        _cost(pod),
        -crowd[pod.spec.node_name],
        -since.timestamp() if since else -math.inf,
        -sum(status.restart_count for status in pod.status.container_statuses),
        -created.timestamp() if created else 0.0,
        pod.metadata.name,
    )


def _cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def new_pod(
    ref: ResourceRef,
    owner: Meta,
    template: Tree,
    *,
    labels: dict[str, str] | None = None,
    finalizers: Sequence[str] = (),
) -> Tree:
    """A pod of the template, owned."""
    given = template.get("metadata") or {}
    metadata: Tree = {
        "generateName": f"{owner.name}-",
        "namespace": owner.namespace,
        "labels": {**(given.get("labels") or {}), **(labels or {})},
        "ownerReferences": [owned_by(ref, owner)],
    }
    if given.get("annotations"):
        metadata["annotations"] = dict(given["annotations"])
    if found := [*(given.get("finalizers") or ()), *finalizers]:
        metadata["finalizers"] = found
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template.get("spec") or {})}
