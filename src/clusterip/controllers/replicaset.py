"""ReplicaSet -> pods.

Stage: plan.  In: one ReplicaSet, the pods of its namespace that may be its own, the time.  Out: writes.
Rules: pure; the pods least missed go first; the status says what the pods are, not what is hoped.
Truth: apps/v1, kube-controller-manager's replica set controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import PODS, REPLICA_SETS
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.keys import candidates, of_owned
from clusterip.controllers.model import Pod, ReplicaSet
from clusterip.controllers.ownership import claim
from clusterip.controllers.pods import availability, new_pod, seconds_until_available, victims
from clusterip.controllers.writes import (
    NOTHING,
    Create,
    Delete,
    Draft,
    Key,
    Outcome,
    Patch,
    normal,
    status_patch,
    warning,
)

BURST = 500  # pods made or deleted in one go


def reconcile(replica_set: ReplicaSet, pods: Iterable[Pod], now: datetime) -> Outcome:
    """Make the number of active pods that of the spec, and tell the status."""
    meta, spec = replica_set.metadata, replica_set.spec
    claimed = claim(REPLICA_SETS, meta, from_label_selector(spec.selector), PODS, pods)
    active = [pod for pod in claimed.mine if pod.is_active]
    draft = Draft()
    draft.extend(claimed.patches)
    if not meta.is_terminating:
        draft.extend(_scale(replica_set, active))
    draft.look_again(seconds_until_available(active, spec.min_ready_seconds, now))
    if patch := status_patch(replica_set.status, _status(replica_set, claimed.mine, active, now)):
        draft.add(Patch(REPLICA_SETS, meta.namespace, meta.name, patch, "status"))
    return draft.outcome()


def _scale(replica_set: ReplicaSet, active: Sequence[Pod]) -> Iterable[Create | Delete]:
    meta, spec = replica_set.metadata, replica_set.spec
    missing = spec.replicas - len(active)
    for _ in range(min(missing, BURST)):
        yield Create(
            PODS,
            new_pod(REPLICA_SETS, meta, spec.template),
            said=normal(REPLICA_SETS, meta, "SuccessfulCreate", "Created pod: {name}"),
            failed=warning(REPLICA_SETS, meta, "FailedCreate", "Error creating: {error}"),
        )
    for pod in victims(active, -missing)[:BURST]:
        name = pod.metadata.name
        yield Delete(
            PODS,
            meta.namespace,
            name,
            uid=pod.metadata.uid,
            said=normal(REPLICA_SETS, meta, "SuccessfulDelete", f"Deleted pod: {name}"),
            failed=warning(REPLICA_SETS, meta, "FailedDelete", "Error deleting: {error}"),
        )


def _status(replica_set: ReplicaSet, mine: Sequence[Pod], active: Sequence[Pod], now: datetime) -> Tree:
    template_labels = (replica_set.spec.template.get("metadata") or {}).get("labels") or {}
    labelled = sum(template_labels.items() <= pod.metadata.labels.items() for pod in active)
    ready, available = availability(active, replica_set.spec.min_ready_seconds, now)
    terminating = sum(pod.metadata.is_terminating and not pod.is_finished for pod in mine)
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": labelled or None,
        "readyReplicas": ready or None,
        "availableReplicas": available or None,
        "terminatingReplicas": terminating,
        "observedGeneration": replica_set.metadata.generation,
    }


def start(world: World) -> list[Loop]:
    sets, pods = world.follow(REPLICA_SETS, ReplicaSet), world.follow(PODS, Pod)

    def look(key: Key) -> Outcome:
        found = sets.get(*key)
        if found is None:
            return NOTHING
        return reconcile(found, candidates(pods, found.metadata), world.clock.now())

    loop = Loop("replicaset", world, look)
    loop.follow(sets)
    loop.follow(pods, of_owned("ReplicaSet", sets))
    return [loop]
