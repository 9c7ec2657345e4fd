"""The scheduler: pods without a node get one; those that fit nowhere wait for a change.

Stage: shell.  In: pods, nodes, namespaces.  Out: bindings, events, the condition PodScheduled.
Rules: choices are scheduling.py's, and preemption.py's where there is no room; a waiting pod is looked at again when a
node or the room on one changes, more important ones first.  Room that a pod was promised is not given to lesser ones.
Truth: core/v1 Binding, kube-scheduler's events and conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.client.events import NORMAL, WARNING
from clusterip.client.names import NAMESPACES, NODES, POD_DISRUPTION_BUDGETS, PODS
from clusterip.clock import rfc3339
from clusterip.controllers import neighbours, preemption
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.ledger import Ledger, Load, adjusted
from clusterip.controllers.model import Namespace, Node, Pod
from clusterip.controllers.model_workloads import Budget
from clusterip.controllers.neighbours import Around, Placed, Relations
from clusterip.controllers.preemption import Place
from clusterip.controllers.scheduling import Decision, decide, fits
from clusterip.controllers.writes import NOTHING, Bind, Key, Outcome, Patch, Said, Say, about

NAME = "default-scheduler"


def is_waiting(pod: Pod) -> bool:
    """Whether the pod is this scheduler's to place."""
    return (
        not pod.spec.node_name and pod.is_active and pod.spec.scheduler_name == NAME and not pod.spec.scheduling_gates
    )


def refused(pod: Pod, message: str, now: datetime) -> Outcome:
    """Tell why the pod waits: an event at each attempt, the condition when it changes."""
    said = Say(Said(about(PODS, pod.metadata), WARNING, "FailedScheduling", message))
    known = pod.condition("PodScheduled")
    if known is not None and (known.status, known.reason, known.message) == ("False", "Unschedulable", message):
        return Outcome((said,))
    condition: Tree = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }
    if known is not None and known.status == "False":
        condition["lastTransitionTime"] = known.last_transition_time
    patch = {"status": {"conditions": [condition]}}
    meta = pod.metadata
    return Outcome((said, Patch(PODS, meta.namespace, meta.name, patch, "status", "strategic")))


def placed(pod: Pod, node: str) -> Outcome:
    meta = pod.metadata
    words = f"Successfully assigned {meta.namespace}/{meta.name} to {node}"
    return Outcome(
        (Bind(meta.namespace, meta.name, meta.uid, node, Said(about(PODS, meta), NORMAL, "Scheduled", words)),)
    )


def room_changed(old: Node | None, new: Node | None) -> bool:
    """Whether a node changed in what a waiting pod may care for; heartbeats are not that."""
    if new is None or old is None:
        return new is not None
    return (old.spec, old.metadata.labels, old.status.allocatable) != (
        new.spec,
        new.metadata.labels,
        new.status.allocatable,
    )


def matters_to_others(old: Pod | None, new: Pod) -> bool:
    """Whether a placed pod changed in what those care for who want it near, or away."""
    if not new.spec.node_name:
        return False
    return old is None or (old.spec.node_name, old.metadata.labels, old.metadata.is_terminating) != (
        new.spec.node_name,
        new.metadata.labels,
        new.metadata.is_terminating,
    )


class Scheduler:
    """One loop over pods; what it placed is counted before the cache shows it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ledger = Ledger()
        self._waiting: set[Key] = set()  # pods that fit nowhere now
        self._promised: dict[str, tuple[str, Pod]] = {}  # uid -> node where others make room for the pod
        self._placed: dict[str, tuple[str, Pod]] = {}  # uid -> node, chosen here and not yet seen bound
        self._pods = world.follow(PODS, Pod)
        self._pods.index("node", lambda pod: (pod.spec.node_name,))
        self._pods.index("wishing", lambda pod: (True,) if neighbours.affects_others(pod) else ())
        self._nodes = world.follow(NODES, Node)
        self._budgets = world.follow(POD_DISRUPTION_BUDGETS, Budget)
        self._namespaces = world.follow(NAMESPACES, Namespace)
        self.loop = Loop("scheduler", world, self._reconcile, workers=8)
        self.loop.follow(self._pods, self._pod_changed)
        self.loop.follow(self._nodes, self._node_changed)
        self.loop.follow(self._namespaces, self._namespace_changed)
        self.loop.on_failure(self._not_bound)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> Iterable[Key]:
        pod = new or old
        assert pod is not None
        uid = pod.metadata.uid
        if new is not None and new.spec.node_name and not new.is_finished:
            self._placed.pop(uid, None)
            self._ledger.put(new, new.spec.node_name)
            if matters_to_others(old, new):
                elsewhere = new.status.nominated_node_name not in ("", new.spec.node_name)
                yield from self._in_turn() if elsewhere else self._in_turn(neighbours.has_wishes)
        elif new is None or new.is_finished:
            self._placed.pop(uid, None)
            self._ledger.remove(uid)
            if old is not None and old.spec.node_name:
                yield from self._in_turn()  # there is room now
        if new is None or not is_waiting(new):
            self._waiting.discard(key)
            if self._promised.pop(uid, None) is not None and (new is None or not new.spec.node_name):
                yield from self._in_turn()  # what was kept for it is free
        elif old is None or not is_waiting(old):
            if new.status.nominated_node_name:
                self._promised.setdefault(uid, (new.status.nominated_node_name, new))
            yield key

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> Iterable[Key]:
        return self._in_turn() if room_changed(old, new) else ()

    def _namespace_changed(self, key: Key, old: Namespace | None, new: Namespace | None) -> Iterable[Key]:
        changed = old is None or new is None or old.metadata.labels != new.metadata.labels
        return self._in_turn(neighbours.has_wishes) if changed else ()

    def _in_turn(self, who: Callable[[Pod], bool] = lambda pod: True) -> tuple[Key, ...]:
        """Those who wait, the more important ones first."""
        pods = [(key, pod) for key in self._waiting if (pod := self._pods.get(*key)) is not None and who(pod)]
        return tuple(key for key, pod in sorted(pods, key=lambda pair: -pair[1].spec.priority))

    def _reconcile(self, key: Key) -> Outcome:
        pod = self._pods.get(*key)
        self._waiting.discard(key)
        if pod is None or not is_waiting(pod) or pod.metadata.uid in self._placed:
            return NOTHING
        relations = self._relations(pod)
        decision = decide(pod, self._nodes.items().values(), lambda node: self._load(node, pod), relations)
        if decision.node is None:
            self._waiting.add(key)
            return self._unplaced(pod, decision)
        self._promised.pop(pod.metadata.uid, None)
        self._placed[pod.metadata.uid] = (decision.node, pod)
        self._ledger.put(pod, decision.node)
        return placed(pod, decision.node)

    def _load(self, node: str, pod: Pod) -> Load:
        """What the node carries, and what others were promised there who are no less important."""
        load, uid = self._ledger.load(node), pod.metadata.uid
        promised = [
            other
            for other_uid, (at, other) in self._promised.items()
            if at == node and other_uid != uid and other.spec.priority >= pod.spec.priority
        ]
        return adjusted(load, added=promised) if promised else load

    def _relations(self, pod: Pod, gone: Set[str] = frozenset()) -> Relations:
        """What the placed pods mean for the pod, those too that the cache does not show on their nodes yet."""
        chosen = [(node, one) for node, one in self._placed.values() if neighbours.affects_others(one)]

        def seen(pods: Iterable[Pod]) -> list[tuple[str, Pod]]:
            return [(one.spec.node_name, one) for one in pods if not one.is_finished]

        def placed() -> list[Placed]:
            return self._on_nodes([*seen(self._pods.items().values()), *self._placed.values()], gone)

        def namespaces() -> Mapping[str, Mapping[str, str]]:
            return {found.metadata.name: found.metadata.labels for found in self._namespaces.items().values()}

        wishing = self._on_nodes([*seen(self._pods.by_index("wishing", True)), *chosen], gone)
        around = Around(placed, wishing, namespaces)
        return neighbours.relate(pod, list(self._nodes.items().values()), around)

    def _on_nodes(self, pods: Iterable[tuple[str, Pod]], gone: Set[str]) -> list[Placed]:
        return [
            Placed(pod, node)
            for name, pod in pods
            if (node := self._nodes.get("", name)) is not None and pod.metadata.uid not in gone
        ]

    def _unplaced(self, pod: Pod, decision: Decision) -> Outcome:
        """The pod waits, and others may have to go."""
        now, uid = self._world.clock.now(), pod.metadata.uid
        before = self._promised[uid][0] if uid in self._promised else pod.status.nominated_node_name
        if preemption.is_waited_for(pod, before, self._there(before)):
            return refused(pod, decision.reasons, now)
        places = [Place(one.node, one.load, self._there(one.node.metadata.name)) for one in decision.hopeful]
        chosen = preemption.plan(
            pod,
            places,
            list(self._budgets.items().values()),
            lambda node, load, gone: fits(pod, node, load, self._relations(pod, gone)),
        )
        if chosen is None:
            self._promised.pop(uid, None)
            taken_back = (preemption.nominated(pod, None),) if before else ()
            return Outcome((*refused(pod, decision.message, now).writes, *taken_back))
        self._promised[uid] = (chosen.node, pod)
        return Outcome((*refused(pod, decision.reasons, now).writes, *preemption.executed(pod, chosen, now)))

    def _there(self, node: str) -> list[Pod]:
        return [pod for pod in self._pods.by_index("node", node) if not pod.is_finished] if node else []

    def _not_bound(self, key: Key, error: Exception) -> None:
        pod = self._pods.get(*key)
        if pod is None or pod.spec.node_name:
            return  # gone, or bound after all: the cache's changes keep the ledger
        if self._placed.pop(pod.metadata.uid, None) is not None:
            self._ledger.remove(pod.metadata.uid)


def start(world: World) -> list[Loop]:
    return [Scheduler(world).loop]
