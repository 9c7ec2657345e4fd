"""Pods that nobody will end any more are removed: those of nodes that are gone.

Stage: plan and shell.  In: pods, nodes.  Out: deletions without grace.
Rules: reconcile is pure; a node must be missing for a while, since a machine may register again under its name.
Truth: kube-controller-manager's pod garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.client.names import NODES, PODS
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Node, Pod
from clusterip.controllers.writes import NOTHING, Delete, Key, Outcome, Patch

QUARANTINE_SECONDS = 40.0


def reconcile(pods: Iterable[Pod], missing_seconds: float) -> Outcome:
    """Remove the pods of a node that has been missing for long enough."""
    found = list(pods)
    if not found:
        return NOTHING
    if missing_seconds < QUARANTINE_SECONDS:
        return Outcome(again=QUARANTINE_SECONDS - missing_seconds + 0.01)
    failed = [_failed(pod) for pod in found if not pod.is_finished]
    return Outcome((*failed, *map(_removed, found)))


def _failed(pod: Pod) -> Patch:
    """The record of those who count pods (a Job) must show how it ended."""
    meta = pod.metadata
    return Patch(PODS, meta.namespace, meta.name, {"status": {"phase": "Failed"}}, "status")


def _removed(pod: Pod) -> Delete:
    meta = pod.metadata
    return Delete(PODS, meta.namespace, meta.name, uid=meta.uid, grace_seconds=0)


def start(world: World) -> list[Loop]:
    pods, nodes = world.follow(PODS, Pod), world.follow(NODES, Node)
    pods.index("node", lambda pod: (pod.spec.node_name,))
    missing: dict[str, float] = {}

    def look(key: Key) -> Outcome:
        name = key[1]
        if not name or nodes.get("", name) is not None:
            missing.pop(name, None)
            return NOTHING
        now = world.clock.monotonic()
        return reconcile(pods.by_index("node", name), now - missing.setdefault(name, now))

    def node_of(key: Key, old: Pod | None, new: Pod | None) -> Iterable[Key]:
        if new is None or not new.spec.node_name or (old is not None and old.spec.node_name):
            return ()
        return () if nodes.get("", new.spec.node_name) is not None else (("", new.spec.node_name),)

    def node_changed(key: Key, old: Node | None, new: Node | None) -> Iterable[Key]:
        return () if old is not None and new is not None else (key,)

    loop = Loop("podgc", world, look)
    loop.follow(nodes, node_changed)
    loop.follow(pods, node_of)
    return [loop]
