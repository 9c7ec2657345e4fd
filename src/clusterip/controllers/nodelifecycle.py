"""Nodes that fall silent become Unknown; their conditions become taints; their pods stop being ready.

Stage: plan and shell.  In: nodes, their Leases, pods.  Out: conditions, taints, events.
Rules: reconcile is pure.  Silence is measured by our own clock from the last renewal seen, and only while the API
itself was in contact: an API server that was away says nothing about its nodes.
Truth: KEP-589 (node heartbeats), kube-controller-manager's node lifecycle controller, KEP-166 (taints).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.client.events import NORMAL, WARNING, Involved
from clusterip.client.names import LEASES, NODES, PODS
from clusterip.clock import rfc3339
from clusterip.controllers.caches import Selection
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Condition, Lease, Node, Pod, Taint
from clusterip.controllers.writes import NOTHING, Draft, Key, Outcome, Patch, Said, Say, about

GRACE_SECONDS = 40.0
LEASE_NAMESPACE = "kube-node-lease"
REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")  # by the node itself
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"

# condition, its status -> the taint that keeps new pods away
CONDITION_TAINTS = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
EVICTING = {"False": NOT_READY, "Unknown": UNREACHABLE}  # status of Ready -> the taint that drives pods away
OURS = frozenset({(key, "NoSchedule") for key in [*CONDITION_TAINTS.values(), UNSCHEDULABLE]}) | frozenset(
    {(key, "NoExecute") for key in EVICTING.values()}
)


def reconcile(node: Node, pods: Iterable[Pod], silent_seconds: float, now: datetime) -> Outcome:
    """What a node's silence and its conditions ask for."""
    draft = Draft()
    ready = node.condition("Ready")
    if silent_seconds > GRACE_SECONDS:
        if ready is None or ready.status != "Unknown":
            draft.extend(_unknown(node, now))
            return draft.outcome()  # taints and pods follow when the cache shows the condition
    else:
        draft.look_again(GRACE_SECONDS - silent_seconds + 0.01)
    if (taints := _taints(node, now)) is not None:
        meta = node.metadata
        patch = {"metadata": {"resourceVersion": meta.resource_version}, "spec": {"taints": taints or None}}
        draft.add(Patch(NODES, "", meta.name, patch))
    if ready is not None and ready.status != "True":
        draft.extend(_not_ready(pods, now))
    return draft.outcome()


def _unknown(node: Node, now: datetime) -> Iterable[Patch | Say]:
    moment, name = rfc3339(now), node.metadata.name
    conditions = [_lost(node.condition(type), type, moment) for type in REPORTED]
    yield Patch(NODES, "", name, {"status": {"conditions": conditions}}, "status", "strategic")
    involved = Involved(kind="Node", name=name, uid=node.metadata.uid)
    yield Say(Said(involved, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady"))


def _lost(known: Condition | None, type: str, moment: str) -> Tree:
    fresh: Tree = {"type": type, "status": "Unknown", "lastTransitionTime": moment}
    if known is None:
        return fresh | {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
    return fresh | {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}


def _taints(node: Node, now: datetime) -> list[Tree] | None:
    """All taints the node should have; None when it has them."""
    wanted = {
        (taint, "NoSchedule")
        for condition in node.status.conditions
        if (taint := CONDITION_TAINTS.get((condition.type, condition.status)))
    }
    if node.spec.unschedulable:
        wanted.add((UNSCHEDULABLE, "NoSchedule"))
    ready = node.condition("Ready")
    if ready is None:
        wanted.add((NOT_READY, "NoSchedule"))
    elif ready.status in EVICTING:
        wanted.add((EVICTING[ready.status], "NoExecute"))
    present = {(taint.key, taint.effect) for taint in node.spec.taints}
    if wanted == present & OURS:
        return None
    kept = [_tree(taint) for taint in node.spec.taints if (taint.key, taint.effect) not in OURS - wanted]
    added = [{"key": key, "effect": effect, "timeAdded": rfc3339(now)} for key, effect in sorted(wanted - present)]
    return [*kept, *added]


def _tree(taint: Taint) -> Tree:
    tree = {"key": taint.key, "value": taint.value, "effect": taint.effect, "timeAdded": taint.time_added}
    return {name: value for name, value in tree.items() if value}


def _not_ready(pods: Iterable[Pod], now: datetime) -> Iterable[Patch]:
    """Nobody vouches for these pods now; endpoints must not send to them."""
    for pod in pods:
        if pod.is_ready:
            meta = pod.metadata
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": rfc3339(now)}
            said = Said(about(PODS, meta), WARNING, "NodeNotReady", "Node is not ready")
            patch = {"status": {"conditions": [condition]}}
            yield Patch(PODS, meta.namespace, meta.name, patch, "status", "strategic", said)


class Lifecycle:
    """One loop over nodes; what is remembered is when each was last heard."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard: dict[str, float] = {}
        self._nodes, self._pods = world.follow(NODES, Node), world.follow(PODS, Pod)
        self._leases = world.follow(LEASES, Lease, Selection(namespace=LEASE_NAMESPACE))
        self._pods.index("node", lambda pod: (pod.spec.node_name,))
        self.loop = Loop("nodelifecycle", world, self._look)
        self.loop.follow(self._nodes, self._node_changed)
        self.loop.follow(self._leases, self._lease_changed)

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> Sequence[Key]:
        name = key[1]
        if new is None:
            self._heard.pop(name, None)
        elif old is None:
            self._heard[name] = self._world.clock.monotonic()
            involved = Involved(kind="Node", name=name, uid=new.metadata.uid)
            words = f"Node {name} event: Registered Node {name} in Controller"
            self._world.recorder.event(involved, NORMAL, "RegisteredNode", words)
        return (key,)

    def _lease_changed(self, key: Key, old: Lease | None, new: Lease | None) -> Sequence[Key]:
        if new is not None and (old is None or old.spec.renew_time != new.spec.renew_time):
            self._heard[key[1]] = self._world.clock.monotonic()
        return ()  # the node's timer looks when silence may have grown too long

    def _look(self, key: Key) -> Outcome:
        node = self._nodes.get(*key)
        if node is None:
            return NOTHING
        pods = self._pods.by_index("node", key[1])
        return reconcile(node, pods, self._silence(key[1]), self._world.clock.now())

    def _silence(self, name: str) -> float:
        contact = self._leases.in_contact_since
        if contact is None:
            return 0.0
        now = self._world.clock.monotonic()
        return now - max(contact, self._heard.get(name, contact))


def start(world: World) -> list[Loop]:
    return [Lifecycle(world).loop]
