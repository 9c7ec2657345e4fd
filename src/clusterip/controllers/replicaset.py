"""ReplicaSet or ReplicationController -> pods.

Stage: plan.  In: one of them, the pods of its namespace that may be its own, the time.  Out: writes.
Rules: pure; the pods least missed go first; the status says what the pods are, not what is hoped.
Truth: apps/v1 and core/v1, kube-controller-manager's replica set controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.client.informer import Informer
from clusterip.client.names import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, ResourceRef
from clusterip.clock import rfc3339
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.keys import candidates, of_owned
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import ReplicaSet, ReplicationController
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
FAILURE = "ReplicaFailure"
CONFLICT = 409


Replicated: TypeAlias = ReplicaSet | ReplicationController


def ref_of(replicated: Replicated) -> ResourceRef:
    return REPLICA_SETS if isinstance(replicated, ReplicaSet) else REPLICATION_CONTROLLERS


def reconcile(replica_set: Replicated, pods: Iterable[Pod], now: datetime, failure: str = "") -> Outcome:
    """Make the number of active pods that of the spec, and tell the status; `failure`: why the last try did not."""
    meta, spec = replica_set.metadata, replica_set.spec
    ref = ref_of(replica_set)
    claimed = claim(ref, meta, from_label_selector(spec.selector), PODS, pods)
    active = [pod for pod in claimed.mine if pod.is_active]
    draft = Draft()
    draft.extend(claimed.patches)
    status = _status(replica_set, claimed.mine, active, now)
    status["conditions"] = _conditions(replica_set, failure, len(active), now)
    patch = status_patch(replica_set.status, status)
    told = [Patch(ref, meta.namespace, meta.name, patch, "status")] if patch else []
    if failure:  # what fails again must not keep the status from being told
        draft.extend(told)
    if not meta.is_terminating:
        draft.extend(_scale(replica_set, active))
    draft.look_again(seconds_until_available(active, spec.min_ready_seconds, now))
    draft.extend([] if failure else told)
    return draft.outcome()


def _conditions(replica_set: Replicated, failure: str, active: int, now: datetime) -> list[Tree] | None:
    """ReplicaFailure for as long as the number is not what it should be and the last try failed."""
    known: list[Tree] = replica_set.status.get("conditions") or []
    others = [condition for condition in known if condition.get("type") != FAILURE]
    if not failure or active == replica_set.spec.replicas:
        return others or None
    if len(others) < len(known):
        return known
    reason = "FailedCreate" if active < replica_set.spec.replicas else "FailedDelete"
    found = {"type": FAILURE, "status": "True", "reason": reason, "message": failure}
    return [*others, {**found, "lastTransitionTime": rfc3339(now)}]


def _scale(replica_set: Replicated, active: Sequence[Pod]) -> Iterable[Create | Delete]:
    meta, spec, ref = replica_set.metadata, replica_set.spec, ref_of(replica_set)
    missing = spec.replicas - len(active)
    for _ in range(min(missing, BURST)):
        yield Create(
            PODS,
            new_pod(ref, meta, spec.template),
            said=normal(ref, meta, "SuccessfulCreate", "Created pod: {name}"),
            failed=warning(ref, meta, "FailedCreate", "Error creating: {error}"),
        )
    for pod in victims(active, -missing)[:BURST]:
        name = pod.metadata.name
        yield Delete(
            PODS,
            meta.namespace,
            name,
            uid=pod.metadata.uid,
            said=normal(ref, meta, "SuccessfulDelete", f"Deleted pod: {name}"),
            failed=warning(ref, meta, "FailedDelete", "Error deleting: {error}"),
        )


def _status(replica_set: Replicated, mine: Sequence[Pod], active: Sequence[Pod], now: datetime) -> Tree:
    template_labels = (replica_set.spec.template.get("metadata") or {}).get("labels") or {}
    labelled = sum(template_labels.items() <= pod.metadata.labels.items() for pod in active)
    ready, available = availability(active, replica_set.spec.min_ready_seconds, now)
    status = {
        "replicas": len(active),
        "fullyLabeledReplicas": labelled or None,
        "readyReplicas": ready or None,
        "availableReplicas": available or None,
        "observedGeneration": replica_set.metadata.generation,
    }
    if isinstance(replica_set, ReplicaSet):
        status["terminatingReplicas"] = sum(pod.metadata.is_terminating and not pod.is_finished for pod in mine)
    return status


def start(world: World) -> list[Loop]:
    return [_loop(world, "replicaset", REPLICA_SETS, world.follow(REPLICA_SETS, ReplicaSet))]


def start_controllers(world: World) -> list[Loop]:
    known = world.follow(REPLICATION_CONTROLLERS, ReplicationController)
    return [_loop(world, "replicationcontroller", REPLICATION_CONTROLLERS, known)]


def _loop(world: World, name: str, ref: ResourceRef, known: Informer[Any]) -> Loop:
    pods = world.follow(PODS, Pod)
    failures: dict[Key, str] = {}

    def look(key: Key) -> Outcome:
        found, failure = known.get(*key), failures.pop(key, "")
        if found is None:
            return NOTHING
        return reconcile(found, candidates(pods, found.metadata), world.clock.now(), failure)

    def failed(key: Key, error: Exception) -> None:
        if isinstance(error, ApiError) and error.code != CONFLICT:
            failures[key] = error.message

    loop = Loop(name, world, look)
    loop.on_failure(failed)
    loop.follow(known)
    loop.follow(pods, of_owned(ref.kind, known))
    return loop
