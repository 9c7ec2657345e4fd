"""The templates of a StatefulSet, kept so that a rollout may stop half way and be undone.

Stage: plan.  In: a StatefulSet, its ControllerRevisions, those that its pods name.  Out: names, a template, writes.
Rules: pure; one revision a template; the wanted one has the highest number; names that pods or the status say stay.
Truth: apps/v1 ControllerRevision; data is a strategic merge patch of the set, so that `kubectl rollout undo` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from clusterip.api.meta import Tree
from clusterip.client.names import CONTROLLER_REVISIONS, STATEFUL_SETS
from clusterip.controllers.deployment import bare
from clusterip.controllers.model_workloads import ControllerRevision, StatefulSet
from clusterip.controllers.revisions import free_hash, restoring, template_of
from clusterip.controllers.writes import Create, Delete, Patch, Write, owned_by

HASH_LABEL = "controller.kubernetes.io/hash"


@dataclass(frozen=True, slots=True)
class Revisions:
    """What the pods are to come to (update), and what those have that a rollout has not reached (current)."""

    current: str
    update: str
    current_template: Tree
    collisions: int
    writes: tuple[Write, ...]


def found(stateful: StatefulSet, revisions: Iterable[ControllerRevision], live: Collection[str]) -> Revisions:
    """The two revisions, made or raised where needed, and the end of those that nobody needs."""
    known = sorted(revisions, key=lambda revision: (revision.revision, revision.metadata.name))
    collisions = int(stateful.status.get("collisionCount") or 0)
    wanted = bare(stateful.spec.template)
    equal = [revision for revision in known if bare(template_of(revision)) == wanted]
    highest = known[-1].revision if known else 0
    writes: list[Write] = []
    if not equal:
        hash, collisions = free_hash(stateful.metadata.name, stateful.spec.template, known, collisions)
        name = f"{stateful.metadata.name}-{hash}"
        writes.append(_create(stateful, name, highest + 1))
    else:
        meta = equal[-1].metadata
        name = meta.name
        if equal[-1] is not known[-1]:
            writes.append(Patch(CONTROLLER_REVISIONS, meta.namespace, name, {"revision": highest + 1}))
    current = next((rev for rev in known if rev.metadata.name == stateful.status.get("currentRevision")), None)
    current_name = current.metadata.name if current else name
    template = template_of(current) if current else stateful.spec.template
    writes += _dropped(stateful, known, {*live, name, current_name})
    return Revisions(current_name, name, template, collisions, tuple(writes))


def _create(stateful: StatefulSet, name: str, number: int) -> Create:
    meta, template = stateful.metadata, stateful.spec.template
    labels = (template.get("metadata") or {}).get("labels") or {}
    tree: Tree = {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {**labels, HASH_LABEL: name.removeprefix(f"{meta.name}-")},
            "annotations": dict(meta.annotations),
            "ownerReferences": [owned_by(STATEFUL_SETS, meta)],
        },
        "data": restoring(template),
        "revision": number,
    }
    return Create(CONTROLLER_REVISIONS, tree, exists_ok=True)


def _dropped(stateful: StatefulSet, known: Sequence[ControllerRevision], live: Collection[str]) -> Iterable[Delete]:
    unused = [revision.metadata for revision in known if revision.metadata.name not in live]
    for meta in unused[: max(0, len(unused) - stateful.spec.revision_history_limit)]:
        yield Delete(CONTROLLER_REVISIONS, meta.namespace, meta.name, uid=meta.uid)
