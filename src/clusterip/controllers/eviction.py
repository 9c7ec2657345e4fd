"""Pods leave nodes that drive them away, as soon as they do not tolerate it any longer.

Stage: plan and shell.  In: pods, their nodes' NoExecute taints, the time.  Out: deletions.
Rules: reconcile is pure; the shortest toleration counts, from the moment the taint was set.
Truth: KEP-166, kube-controller-manager's taint eviction controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from clusterip.client.names import NODES, PODS
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Node, Pod, Taint, Toleration
from clusterip.controllers.placement import tolerates
from clusterip.controllers.pods import parse_time
from clusterip.controllers.writes import NOTHING, Delete, Key, Outcome, normal


def reconcile(pod: Pod, node: Node | None, now: datetime) -> Outcome:
    """Delete the pod, or say when to."""
    taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"] if node is not None else []
    if not taints or not pod.is_active:
        return NOTHING
    waits = [_seconds_left(pod.spec.tolerations, taint, now) for taint in taints]
    wait = min((wait for wait in waits if wait is not None), default=None)
    if wait is None:
        return NOTHING
    if wait > 0:
        return Outcome(again=wait)
    meta = pod.metadata
    words = f"Marking for deletion Pod {meta.namespace}/{meta.name}"
    said = normal(PODS, meta, "TaintManagerEviction", words)
    return Outcome((Delete(PODS, meta.namespace, meta.name, uid=meta.uid, said=said),))


def _seconds_left(tolerations: Iterable[Toleration], taint: Taint, now: datetime) -> float | None:
    """How long the pod still tolerates the taint; None for ever."""
    found = [toleration for toleration in tolerations if tolerates(toleration, taint)]
    if not found:
        return 0.0
    limits = [t.toleration_seconds for t in found if t.toleration_seconds is not None]
    if not limits:
        return None
    since = parse_time(taint.time_added) or now
    return max(0.0, min(limits) - (now - since).total_seconds())


def start(world: World) -> list[Loop]:
    pods, nodes = world.follow(PODS, Pod), world.follow(NODES, Node)
    pods.index("node", lambda pod: (pod.spec.node_name,))

    def look(key: Key) -> Outcome:
        pod = pods.get(*key)
        if pod is None or not pod.spec.node_name:
            return NOTHING
        return reconcile(pod, nodes.get("", pod.spec.node_name), world.clock.now())

    def pod_changed(key: Key, old: Pod | None, new: Pod | None) -> Iterable[Key]:
        moved = new is not None and (old is None or old.spec != new.spec)
        return (key,) if moved else ()

    def node_changed(key: Key, old: Node | None, new: Node | None) -> Iterable[Key]:
        if new is None or (old is not None and old.spec.taints == new.spec.taints):
            return ()
        return [(pod.metadata.namespace, pod.metadata.name) for pod in pods.by_index("node", key[1])]

    loop = Loop("eviction", world, look)
    loop.follow(pods, pod_changed)
    loop.follow(nodes, node_changed)
    return [loop]
