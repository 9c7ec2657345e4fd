"""Deployment -> ReplicaSets: which exist, and how large each should be now.

Stage: plan.  In: one Deployment, the ReplicaSets of its namespace that may be its own, the time.  Out: writes.
Rules: pure; never more than replicas + maxSurge pods nor fewer than replicas - maxUnavailable available ones; one step
a call, since what it does changes the world that the next call sees.  Sizes: rollout.py; words: deployment_status.py.
Truth: apps/v1, kube-controller-manager's deployment controller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import orjson

from clusterip.api.meta import Tree, copied
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import DEPLOYMENTS, REPLICA_SETS
from clusterip.controllers import deployment_status, rollout
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.keys import candidates, of_owned
from clusterip.controllers.model import Meta
from clusterip.controllers.model_workloads import Deployment, ReplicaSet
from clusterip.controllers.ownership import claim
from clusterip.controllers.rollout import DESIRED, MAXIMUM, Sets
from clusterip.controllers.writes import (
    NOTHING,
    Create,
    Delete,
    Draft,
    Key,
    Outcome,
    Patch,
    normal,
    owned_by,
    status_patch,
)

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    }
)
SAFE = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, no look-alikes: names say nothing by accident
HASH_LENGTH = 10


def reconcile(deployment: Deployment, replica_sets: Iterable[ReplicaSet], now: datetime) -> Outcome:
    """One step towards the spec, and the status as it is."""
    meta, spec = deployment.metadata, deployment.spec
    claimed = claim(DEPLOYMENTS, meta, from_label_selector(spec.selector), REPLICA_SETS, replica_sets)
    draft = Draft()
    draft.extend(claimed.patches)
    sets = _sorted_out(deployment, claimed.mine)
    if not meta.is_terminating:
        _step(deployment, sets, draft)
    status, again = deployment_status.compute(deployment, sets, now)
    draft.look_again(again)
    if patch := status_patch(deployment.status, status):
        draft.add(Patch(DEPLOYMENTS, meta.namespace, meta.name, patch, "status"))
    return draft.outcome()


def _step(deployment: Deployment, sets: Sets, draft: Draft) -> None:
    """Pausing and scaling come first: a paused Deployment is scaled but not rolled out."""
    spec = deployment.spec
    if spec.paused:
        draft.extend(rollout.proportional(deployment, sets))
        draft.extend(_clean_up(deployment, sets))
        return
    if sets.new is None:
        if spec.strategy.type == "Recreate" and rollout.has_old_pods(sets):
            draft.extend(rollout.recreate(deployment, sets))  # old pods go first, even before the new set exists
            return
        draft.add(_new_set(deployment, sets))
        return
    draft.extend(_up_to_date(deployment, sets.new, sets))
    if rollout.is_scaling_event(deployment, sets):
        draft.extend(rollout.proportional(deployment, sets))
        return
    step = rollout.recreate if spec.strategy.type == "Recreate" else rollout.rolling
    scaled = list(step(deployment, sets))
    draft.extend(scaled)
    if not scaled and deployment_status.is_complete(deployment, sets):
        draft.extend(_clean_up(deployment, sets))


# -- templates and hashes ---------------------------------------------------------------------------------------------


def template_hash(template: Tree, collisions: int = 0) -> str:
    """A stable name for a template; another one after a collision."""
    content = orjson.dumps([bare(template), collisions], option=orjson.OPT_SORT_KEYS)
    number = int.from_bytes(hashlib.sha256(content).digest(), "big")
    letters = []
    for _ in range(HASH_LENGTH):
        number, digit = divmod(number, len(SAFE))
        letters.append(SAFE[digit])
    return "".join(letters)


def bare(template: object) -> object:
    """A template without its hash label and without nulls: what two equal ones agree in."""
    if isinstance(template, dict):
        kept = {name: bare(value) for name, value in template.items() if value is not None and name != HASH_LABEL}
        return {name: value for name, value in kept.items() if value != {}}
    if isinstance(template, list):
        return [bare(item) for item in template]
    return template


# -- ReplicaSets ------------------------------------------------------------------------------------------------------


def _sorted_out(deployment: Deployment, replica_sets: Sequence[ReplicaSet]) -> Sets:
    """The set of the present template (the oldest, if several), and all others, oldest first."""
    ordered = sorted(replica_sets, key=lambda rs: (rs.metadata.creation_timestamp or "", rs.metadata.name))
    template = bare(deployment.spec.template)
    new = next((rs for rs in ordered if bare(rs.spec.template) == template), None)
    return Sets(new, tuple(rs for rs in ordered if rs is not new))


def revision_of(meta: Meta) -> int:
    text = meta.annotations.get(REVISION, "0")
    return int(text) if text.isdecimal() else 0


def _next_revision(sets: Sets) -> str:
    return str(max((revision_of(old.metadata) for old in sets.old), default=0) + 1)


def _new_set(deployment: Deployment, sets: Sets) -> Create:
    meta, spec = deployment.metadata, deployment.spec
    hash = template_hash(spec.template, deployment.status.get("collisionCount") or 0)
    template = copied(spec.template)
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hash}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    replicas = rollout.first_size(deployment, sets)
    selector = copied(spec.selector)
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: hash}
    name = f"{meta.name}-{hash}"
    tree: Tree = {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": {**_wanted_annotations(deployment), REVISION: _next_revision(sets)},
            "ownerReferences": [owned_by(DEPLOYMENTS, meta)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.min_ready_seconds:
        tree["spec"]["minReadySeconds"] = spec.min_ready_seconds
    words = f"Scaled up replica set {name} from 0 to {replicas}"
    return Create(REPLICA_SETS, tree, said=normal(DEPLOYMENTS, meta, "ScalingReplicaSet", words) if replicas else None)


def _wanted_annotations(deployment: Deployment) -> dict[str, str]:
    copied_over = {name: text for name, text in deployment.metadata.annotations.items() if name not in NOT_COPIED}
    return copied_over | rollout.size_annotations(deployment)


def _up_to_date(deployment: Deployment, new: ReplicaSet, sets: Sets) -> Iterable[Patch]:
    """The present set carries the highest revision, the Deployment's annotations and minReadySeconds."""
    meta = new.metadata
    revision = max(revision_of(meta), int(_next_revision(sets)))
    wanted = {name: text for name, text in deployment.metadata.annotations.items() if name not in NOT_COPIED}
    changes: dict[str, str] = _missing(wanted, meta.annotations)
    if revision != revision_of(meta):
        changes[REVISION] = str(revision)
        if before := revision_of(meta):
            history = meta.annotations.get(HISTORY)
            changes[HISTORY] = f"{history},{before}" if history else str(before)
    patch: Tree = {}
    if changes:
        patch["metadata"] = {"annotations": changes}
    if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
        patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
    if patch:
        yield Patch(REPLICA_SETS, meta.namespace, meta.name, patch)
    if deployment.metadata.annotations.get(REVISION) != str(revision):
        own = deployment.metadata
        said = {"metadata": {"annotations": {REVISION: str(revision)}}}
        yield Patch(DEPLOYMENTS, own.namespace, own.name, said, "status")  # beside the status it is no new generation


def _missing(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in wanted.items() if present.get(name) != text}


def _clean_up(deployment: Deployment, sets: Sets) -> Iterable[Delete]:
    """Old sets beyond the history limit go, lowest revision first; only those that are empty and settled."""
    limit = deployment.spec.revision_history_limit
    if limit is None:
        return
    old = sorted((rs for rs in sets.old if not rs.metadata.is_terminating), key=lambda rs: revision_of(rs.metadata))
    for rs in old[: max(0, len(old) - limit)]:
        is_settled = (rs.status.get("observedGeneration") or 0) >= rs.metadata.generation
        if rs.spec.replicas == 0 and not rs.status.get("replicas") and is_settled:
            yield Delete(REPLICA_SETS, rs.metadata.namespace, rs.metadata.name, uid=rs.metadata.uid)


def start(world: World) -> list[Loop]:
    deployments, sets = world.follow(DEPLOYMENTS, Deployment), world.follow(REPLICA_SETS, ReplicaSet)

    def look(key: Key) -> Outcome:
        found = deployments.get(*key)
        if found is None:
            return NOTHING
        return reconcile(found, candidates(sets, found.metadata), world.clock.now())

    loop = Loop("deployment", world, look)
    loop.follow(deployments)
    loop.follow(sets, of_owned("Deployment", deployments))
    return [loop]
