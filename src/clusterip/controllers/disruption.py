"""PodDisruptionBudget -> its status: how many of its pods somebody may take away now.

Stage: plan.  In: one budget, the pods that it selects, the sizes of what made them, the time.  Out: a status.
Rules: pure; in doubt nothing may be taken away.  Evictions write the same status: a stale patch is refused, not merged.
Truth: policy/v1, kube-controller-manager's disruption controller, KEP-3017 (evictions of pods that are not ready).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.client.informer import Informer
from clusterip.client.names import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from clusterip.clock import rfc3339
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Budget, Deployment, ReplicaSet, ReplicationController, StatefulSet
from clusterip.controllers.pods import parse_time
from clusterip.controllers.rollout import share
from clusterip.controllers.writes import NOTHING, Draft, Key, Outcome, Patch, Said, Say, normal, warning

DELETION_SECONDS = 120.0  # an evicted pod that is not being deleted by then counts again
CONDITION = "DisruptionAllowed"
UNSCALED = {"DaemonSet": "daemonsets.apps", "Job": "jobs.batch"}
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the "
    "status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these "
    'pods please set ".spec.minAvailable" field of the PDB to an integer value.'
)


@dataclass(frozen=True, slots=True)
class Scale:
    """What made some pods, and how many it wants."""

    uid: str
    replicas: int


ScaleOf = Callable[[Pod], Scale | None]


class Unscaled(LookupError):
    """Nobody knows how many pods there should be."""


def reconcile(budget: Budget, pods: Sequence[Pod], scale: ScaleOf, now: datetime) -> Outcome:
    """The status as it should be."""
    draft, meta = Draft(), budget.metadata
    if not pods:
        draft.add(Say(normal(POD_DISRUPTION_BUDGETS, meta, "NoPods", "No matching pods found")))
    try:
        expected, desired, unmanaged = _expected(budget, pods, scale)
    except Unscaled as error:
        words = f"Failed to calculate the number of expected pods: {error}"
        draft.add(Say(warning(POD_DISRUPTION_BUDGETS, meta, "CalculateExpectedPodCountFailed", words)))
        status = {"disruptionsAllowed": 0, "conditions": _conditions(budget, False, "SyncFailed", str(error), now)}
    else:
        if unmanaged:
            draft.add(Say(_unmanaged(budget)))
        disrupted, again = _disrupted(budget, pods, now, draft)
        draft.look_again(again)
        status = _status(budget, pods, expected, desired, disrupted, now)
    if patch := _changed(budget, status):
        draft.add(Patch(POD_DISRUPTION_BUDGETS, meta.namespace, meta.name, patch, "status"))
    return draft.outcome()


# -- how many there should be -----------------------------------------------------------------------------------------


def _expected(budget: Budget, pods: Sequence[Pod], scale: ScaleOf) -> tuple[int, int, bool]:
    """Pods that there should be, healthy ones that must stay, and whether nobody manages some of them."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        total, unmanaged = _scaled(pods, scale)
        return total, max(0, total - share(spec.max_unavailable, total, up=True)), unmanaged
    if isinstance(spec.min_available, str):
        total, unmanaged = _scaled(pods, scale)
        return total, share(spec.min_available, total, up=True), unmanaged
    return (len(pods), spec.min_available, False) if spec.min_available is not None else (0, 0, False)


def _scaled(pods: Iterable[Pod], scale: ScaleOf) -> tuple[int, bool]:
    found: dict[str, int] = {}
    unmanaged = False
    for pod in pods:
        if pod.metadata.controller is None:
            unmanaged = True
            continue
        wanted = scale(pod)
        if wanted is None:
            unscaled = UNSCALED.get(pod.metadata.controller.kind)
            unknown = f'found no controllers for pod "{pod.metadata.name}"'
            raise Unscaled(f"{unscaled} does not implement the scale subresource" if unscaled else unknown)
        found[wanted.uid] = wanted.replicas
    return sum(found.values()), unmanaged


def _unmanaged(budget: Budget) -> Said:
    words = UNMANAGED.format(selector=budget.spec.selector)
    return warning(POD_DISRUPTION_BUDGETS, budget.metadata, "UnmanagedPods", words)


# -- how many there are -----------------------------------------------------------------------------------------------


def _disrupted(budget: Budget, pods: Iterable[Pod], now: datetime, draft: Draft) -> tuple[Tree, float | None]:
    """Evicted pods whose deletion is still awaited, and after how many seconds one is given up."""
    known, kept, waits = budget.status.get("disruptedPods") or {}, {}, []
    for pod in pods:
        moment = parse_time(known.get(pod.metadata.name))
        if moment is None or pod.metadata.is_terminating:
            continue
        left = DELETION_SECONDS - (now - moment).total_seconds()
        if left < 0:
            space = budget.metadata.namespace
            words = f"Pod was expected by PDB {space}/{budget.metadata.name} to be deleted but it wasn't"
            draft.add(Say(warning(PODS, pod.metadata, "NotDeleted", words)))
        else:
            kept[pod.metadata.name] = known[pod.metadata.name]
            waits.append(left + 0.01)
    return kept, min(waits, default=None)


def _status(budget: Budget, pods: Iterable[Pod], expected: int, desired: int, disrupted: Tree, now: datetime) -> Tree:
    healthy = sum(
        pod.is_ready and not pod.metadata.is_terminating and pod.metadata.name not in disrupted for pod in pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    return {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "disruptedPods": disrupted or None,
        "observedGeneration": budget.metadata.generation,
        "conditions": _conditions(budget, bool(allowed), reason, "", now),
    }


def _conditions(budget: Budget, allowed: bool, reason: str, message: str, now: datetime) -> list[Tree]:
    known: list[Tree] = budget.status.get("conditions") or []
    old = next((condition for condition in known if condition["type"] == CONDITION), None)
    status = "True" if allowed else "False"
    since = old["lastTransitionTime"] if old is not None and old["status"] == status else rfc3339(now)
    fresh = {
        "type": CONDITION,
        "status": status,
        "observedGeneration": budget.metadata.generation,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    return [condition for condition in known if condition["type"] != CONDITION] + [fresh]


def _changed(budget: Budget, status: Tree) -> Tree | None:
    """The merge patch; it holds only for the budget that was looked at."""
    changed = {name: value for name, value in status.items() if budget.status.get(name) != value}
    if not changed:
        return None
    if pods := changed.get("disruptedPods"):
        gone = set(budget.status.get("disruptedPods") or {}) - set(pods)
        changed["disruptedPods"] = {**pods, **dict.fromkeys(gone)}
    return {"metadata": {"resourceVersion": budget.metadata.resource_version}, "status": changed}


# -- shell ------------------------------------------------------------------------------------------------------------


class Scales:
    """How many pods their makers want: a Deployment for its ReplicaSets, else the maker itself."""

    def __init__(self, world: World) -> None:
        self._sets = world.follow(REPLICA_SETS, ReplicaSet)
        self._deployments = world.follow(DEPLOYMENTS, Deployment)
        self._stateful = world.follow(STATEFUL_SETS, StatefulSet)
        self._controllers = world.follow(REPLICATION_CONTROLLERS, ReplicationController)

    @property
    def sources(self) -> tuple[Informer[Any], ...]:
        return self._sets, self._deployments, self._stateful

    def of(self, pod: Pod) -> Scale | None:
        owner, space = pod.metadata.controller, pod.metadata.namespace
        found: ReplicaSet | StatefulSet | ReplicationController | Deployment | None = None
        match owner.kind if owner is not None else "":
            case "ReplicaSet":
                found = self._sets.get(space, owner.name if owner else "")
            case "StatefulSet":
                found = self._stateful.get(space, owner.name if owner else "")
            case "ReplicationController":
                found = self._controllers.get(space, owner.name if owner else "")
        if found is None or owner is None or found.metadata.uid != owner.uid:
            return None
        above = found.metadata.controller
        if above is not None and above.kind == "Deployment":
            deployment = self._deployments.get(space, above.name)
            if deployment is not None and deployment.metadata.uid == above.uid:
                found = deployment
        return Scale(found.metadata.uid, found.spec.replicas)


def start(world: World) -> list[Loop]:
    budgets, pods, scales = world.follow(POD_DISRUPTION_BUDGETS, Budget), world.follow(PODS, Pod), Scales(world)

    def look(key: Key) -> Outcome:
        found = budgets.get(*key)
        if found is None or found.metadata.is_terminating:
            return NOTHING
        selector = from_label_selector(found.spec.selector)
        chosen = [pod for pod in pods.by_index("namespace", key[0]) if selector.matches(pod.metadata.labels)]
        return reconcile(found, chosen, scales.of, world.clock.now())

    def pod_changed(key: Key, old: Pod | None, new: Pod | None) -> Iterable[Key]:
        labels = [pod.metadata.labels for pod in (old, new) if pod is not None]
        for budget in budgets.by_index("namespace", key[0]):
            selector = from_label_selector(budget.spec.selector)
            if any(map(selector.matches, labels)):
                yield key[0], budget.metadata.name

    def scale_changed(key: Key, old: object, new: object) -> Iterable[Key]:
        return [(key[0], budget.metadata.name) for budget in budgets.by_index("namespace", key[0])]

    loop = Loop("disruption", world, look)
    loop.follow(budgets)
    loop.follow(pods, pod_changed)
    for source in scales.sources:
        loop.follow(source, scale_changed)
    return [loop]
