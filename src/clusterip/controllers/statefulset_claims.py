"""The volume claims of a StatefulSet's pods: which there should be, and who owns them.

Stage: plan.  In: a StatefulSet, an ordinal, its pod, claims by name.  Out: creates and patches of claims.
Rules: pure; a claim that somebody else manages is left to him; a claim of a former pod of the name is waited out.
  whenScaled / whenDeleted    owner of the claim
  Retain / Retain             nobody
  Retain / Delete             the set
  Delete / Retain             the pod, once it is scaled away
  Delete / Delete             the set, then the pod once it is scaled away
Truth: apps/v1 StatefulSetPersistentVolumeClaimRetentionPolicy, KEP-1847.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clusterip.api.meta import Tree, copied
from clusterip.client.names import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from clusterip.controllers.model import Meta, Owner, Pod
from clusterip.controllers.model_volumes import VolumeClaim
from clusterip.controllers.model_workloads import StatefulSet
from clusterip.controllers.writes import Create, Patch, Say, Write, normal, owned_by, owner_tree, warning

Claims = Mapping[str, VolumeClaim]

RETAIN, DELETE = "Retain", "Delete"


def claim_name(template: Tree, pod_name: str) -> str:
    """`<template>-<set>-<ordinal>`."""
    return f"{template['metadata']['name']}-{pod_name}"


def names_of(stateful: StatefulSet, pod_name: str) -> list[str]:
    return [claim_name(template, pod_name) for template in stateful.spec.volume_claim_templates]


def missing(stateful: StatefulSet, pod_name: str, claims: Claims) -> Iterable[Create]:
    """The claims that a pod needs and that are not there."""
    meta = stateful.metadata
    for template in stateful.spec.volume_claim_templates:
        name = claim_name(template, pod_name)
        if name in claims:
            continue
        words = f"Create Claim {name} Pod {pod_name} in StatefulSet {meta.name} success"
        trouble = f"Create Claim {name} for Pod {pod_name} in StatefulSet {meta.name} failed error: {{error}}"
        yield Create(
            PERSISTENT_VOLUME_CLAIMS,
            _new(stateful, template, name),
            said=normal(STATEFUL_SETS, meta, "SuccessfulCreate", words),
            failed=warning(STATEFUL_SETS, meta, "FailedCreate", trouble),
            exists_ok=True,
        )


def _new(stateful: StatefulSet, template: Tree, name: str) -> Tree:
    tree = copied(template)
    tree.pop("status", None)
    given = tree["metadata"]
    labels = {**(given.get("labels") or {}), **(stateful.spec.selector.get("matchLabels") or {})}
    kept = {field: given[field] for field in ("annotations", "finalizers") if given.get(field)}
    tree["metadata"] = {"name": name, "namespace": stateful.metadata.namespace, "labels": labels, **kept}
    return {**tree, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}


def leaving(stateful: StatefulSet, pod_name: str, claims: Claims) -> str | None:
    """A claim of the name that is on its way out: no pod can be made before it is gone."""
    return next(
        (name for name in names_of(stateful, pod_name) if name in claims and claims[name].metadata.is_terminating), None
    )


def is_stale(stateful: StatefulSet, pod_name: str, claims: Claims) -> bool:
    """Whether a claim goes with a former pod of the name."""
    if _policy(stateful)[0] == RETAIN:
        return False
    found = [claims[name] for name in names_of(stateful, pod_name) if name in claims]
    return any(_names_pod(owner, pod_name) for claim in found for owner in claim.metadata.owner_references)


def owned_rightly(stateful: StatefulSet, pod: Pod, scaled_away: bool, claims: Claims) -> Iterable[Write]:
    """Patches that give a pod's claims the owners that the policy wants."""
    for name in names_of(stateful, pod.metadata.name):
        claim = claims.get(name)
        if claim is None or _is_of_former_owner(claim, stateful.metadata, pod.metadata):
            continue
        conflict = _is_managed_elsewhere(stateful, pod, claim)
        wanted = None if conflict else _owner(stateful, pod, scaled_away)
        ours = [owner for owner in claim.metadata.owner_references if _is_ours(owner, stateful.metadata, pod.metadata)]
        if conflict and ours:
            words = (
                f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, "
                "the retention policy is ignored for this claim"
            )
            yield Say(warning(STATEFUL_SETS, stateful.metadata, "ConflictingController", words))
        if [(owner.uid, owner.controller) for owner in ours] != ([(wanted["uid"], True)] if wanted else []):
            yield _owned(claim, ours, wanted)


def _policy(stateful: StatefulSet) -> tuple[str, str]:
    policy = stateful.spec.persistent_volume_claim_retention_policy
    return policy.get("whenScaled", RETAIN), policy.get("whenDeleted", RETAIN)


def _owner(stateful: StatefulSet, pod: Pod, scaled_away: bool) -> Tree | None:
    when_scaled, when_deleted = _policy(stateful)
    if when_scaled == DELETE and scaled_away:
        return owned_by(PODS, pod.metadata)
    return owned_by(STATEFUL_SETS, stateful.metadata) if when_deleted == DELETE else None


def _owned(claim: VolumeClaim, ours: list[Owner], wanted: Tree | None) -> Patch:
    meta = claim.metadata
    left = [owner_tree(owner) for owner in meta.owner_references if owner not in ours]
    metadata = {"uid": meta.uid, "ownerReferences": [*left, *([wanted] if wanted else [])] or None}
    return Patch(PERSISTENT_VOLUME_CLAIMS, meta.namespace, meta.name, {"metadata": metadata})


def _names_set(owner: Owner, name: str) -> bool:
    return (owner.api_version, owner.kind, owner.name) == (STATEFUL_SETS.api_version, "StatefulSet", name)


def _names_pod(owner: Owner, name: str) -> bool:
    return (owner.api_version, owner.kind, owner.name) == ("v1", "Pod", name)


def _is_ours(owner: Owner, stateful: Meta, pod: Meta) -> bool:
    return _names_set(owner, stateful.name) or _names_pod(owner, pod.name)


def _is_of_former_owner(claim: VolumeClaim, stateful: Meta, pod: Meta) -> bool:
    """Named by its owner, but with another uid: the garbage collector's."""
    return any(
        (_names_set(owner, stateful.name) and owner.uid != stateful.uid)
        or (_names_pod(owner, pod.name) and owner.uid != pod.uid)
        for owner in claim.metadata.owner_references
    )


def _is_managed_elsewhere(stateful: StatefulSet, pod: Pod, claim: VolumeClaim) -> bool:
    if _policy(stateful) == (RETAIN, RETAIN):
        return False
    return any(
        owner.controller and not _is_ours(owner, stateful.metadata, pod.metadata)
        for owner in claim.metadata.owner_references
    )
