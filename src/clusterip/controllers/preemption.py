"""Who must go so that a more important pod has room, and on which node.

Stage: plan.  In: a pod that fits nowhere, the nodes where room could be made, the pods there, budgets.  Out: a node and
its victims; writes.
Rules: pure; as few as possible go, the least important ones, and of those that a budget protects only who must.
Truth: kube-scheduler's DefaultPreemption: who is chosen, in which order nodes are compared, its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from clusterip.api.selectors import from_label_selector
from clusterip.client.events import NORMAL
from clusterip.client.names import PODS
from clusterip.clock import rfc3339
from clusterip.controllers.ledger import Load, adjusted
from clusterip.controllers.model import Node, Pod
from clusterip.controllers.model_workloads import Budget
from clusterip.controllers.writes import Delete, Patch, Said, Write, about

NEVER = "Never"
CONDITION = "DisruptionTarget"
REASON = "PreemptionByScheduler"
SINCE_EVER = ""

Fits = Callable[[Node, Load, Set[str]], bool]  # the node with that load, the pods of those uids gone


@dataclass(frozen=True, slots=True)
class Place:
    """A node where room could be made: what it carries, and who is there."""

    node: Node
    load: Load
    pods: Sequence[Pod]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who goes from where."""

    node: str
    victims: tuple[Pod, ...]
    violations: int = 0


def is_waited_for(pod: Pod, nominated: str, pods: Iterable[Pod]) -> bool:
    """Whether less important pods are on their way out of the node that the pod was promised."""
    return bool(nominated) and any(_is_lesser(one, pod) and one.metadata.is_terminating for one in pods)


def plan(pod: Pod, places: Iterable[Place], budgets: Sequence[Budget], fits: Fits) -> Plan | None:
    """The least harm; None when nobody's end would help."""
    if pod.spec.preemption_policy == NEVER:
        return None
    found = [plan for place in places if (plan := _victims(pod, place, budgets, fits)) is not None]
    return min(found, key=_harm) if found else None


def _victims(pod: Pod, place: Place, budgets: Sequence[Budget], fits: Fits) -> Plan | None:
    """All lesser pods go, then, the most important first, those stay with whom there still is room."""
    lesser = sorted((one for one in place.pods if _is_lesser(one, pod)), key=_importance)
    load, gone = adjusted(place.load, removed=lesser), {one.metadata.uid for one in lesser}
    if not lesser or not fits(place.node, load, gone):
        return None
    protected = _protected(lesser, budgets)
    victims = []
    for one in sorted(lesser, key=lambda one: one.metadata.uid not in protected):
        with_it, without = adjusted(load, added=[one]), gone - {one.metadata.uid}
        if fits(place.node, with_it, without):
            load, gone = with_it, without
        else:
            victims.append(one)
    violations = sum(one.metadata.uid in protected for one in victims)
    return Plan(place.node.metadata.name, tuple(sorted(victims, key=_importance)), violations)


def _is_lesser(one: Pod, pod: Pod) -> bool:
    return one.spec.priority < pod.spec.priority


def _importance(pod: Pod) -> tuple[int, str]:
    """The most important first: by priority, then whoever has run longest."""
    return -pod.spec.priority, pod.status.start_time or SINCE_EVER


def _protected(pods: Iterable[Pod], budgets: Sequence[Budget]) -> set[str]:
    """The pods that a budget does not let go, each budget counted down by those that it does."""
    left = [int(budget.status.get("disruptionsAllowed") or 0) for budget in budgets]
    found = set()
    for pod in pods:
        meta = pod.metadata
        for number, budget in enumerate(budgets):
            if budget.metadata.namespace != meta.namespace or budget.spec.selector is None or not meta.labels:
                continue
            if meta.name in (budget.status.get("disruptedPods") or {}):
                continue
            if from_label_selector(budget.spec.selector).matches(meta.labels):
                left[number] -= 1
                if left[number] < 0:
                    found.add(meta.uid)
    return found


def _harm(plan: Plan) -> tuple[object, ...]:
    """Budgets broken, the greatest priority that goes, all of them, how many, and since when the greatest ran."""
    priorities = [victim.spec.priority for victim in plan.victims]
    best = [v.status.start_time or SINCE_EVER for v in plan.victims if v.spec.priority == max(priorities)]
    started = min(best, default=SINCE_EVER)
    return (
        plan.violations,
        max(priorities, default=0),
        sum(priority + 2**31 for priority in priorities),
        len(priorities),
        tuple(-ord(sign) for sign in started),  # the later the better
        plan.node,
    )


# -- writes -----------------------------------------------------------------------------------------------------------


def executed(pod: Pod, chosen: Plan, now: datetime) -> Iterable[Write]:
    """The victims are told why, and deleted; the pod is promised their node."""
    for victim in chosen.victims:
        meta = victim.metadata
        if meta.is_terminating:
            continue
        yield Patch(
            PODS, meta.namespace, meta.name, {"status": {"conditions": [_told(pod, now)]}}, "status", "strategic"
        )
        words = f"Preempted by pod {pod.metadata.uid} on node {chosen.node}"
        said = Said(about(PODS, meta), NORMAL, "Preempted", words)
        yield Delete(PODS, meta.namespace, meta.name, uid=meta.uid, said=said)
    yield nominated(pod, chosen.node)


def nominated(pod: Pod, node: str | None) -> Patch:
    """Say which node the pod is promised; None: none any more."""
    meta = pod.metadata
    return Patch(PODS, meta.namespace, meta.name, {"status": {"nominatedNodeName": node}}, "status", "strategic")


def _told(pod: Pod, now: datetime) -> dict[str, str]:
    return {
        "type": CONDITION,
        "status": "True",
        "reason": REASON,
        "message": f"{pod.spec.scheduler_name}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": rfc3339(now),
    }
