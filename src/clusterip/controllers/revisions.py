"""The former templates of a DaemonSet, kept so that it can be rolled back; what revisions of StatefulSets share.

Stage: plan.  In: a DaemonSet, its ControllerRevisions.  Out: the hash that its pods bear, writes.
Rules: pure; one revision a template, whoever made it; the present one has the highest number.
Truth: apps/v1 ControllerRevision; data is a patch of the set, written so that clients may compare it byte by byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import orjson

from clusterip.api.meta import Tree
from clusterip.client.names import CONTROLLER_REVISIONS, DAEMON_SETS
from clusterip.controllers.deployment import bare, template_hash
from clusterip.controllers.model_workloads import ControllerRevision, DaemonSet
from clusterip.controllers.writes import Create, Delete, Patch, Write, owned_by

HASH_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class History:
    """What new pods are labelled with, and what becomes of the revisions."""

    hash: str
    collisions: int
    writes: tuple[Write, ...] = ()


def history(daemon: DaemonSet, revisions: Iterable[ControllerRevision], live: Collection[str | None]) -> History:
    """Make or raise the present revision, drop the oldest ones that no pod has."""
    known = sorted(revisions, key=lambda revision: (revision.revision, revision.metadata.name))
    collisions = int(daemon.status.get("collisionCount") or 0)
    wanted = bare(daemon.spec.template)
    present = next((revision for revision in reversed(known) if bare(template_of(revision)) == wanted), None)
    highest = known[-1].revision if known else 0
    writes: list[Write] = []
    if present is None:
        hash, collisions = free_hash(daemon.metadata.name, daemon.spec.template, known, collisions)
        writes.append(Create(CONTROLLER_REVISIONS, _new(daemon, hash, highest + 1), exists_ok=True))
    else:
        meta = present.metadata
        hash = meta.labels.get(HASH_LABEL) or template_hash(daemon.spec.template, collisions)
        if present is not known[-1]:
            writes.append(Patch(CONTROLLER_REVISIONS, meta.namespace, meta.name, {"revision": highest + 1}))
    unused = [r.metadata for r in known if r is not present and r.metadata.labels.get(HASH_LABEL) not in live]
    dropped = unused[: max(0, len(unused) - daemon.spec.revision_history_limit)]
    writes += [Delete(CONTROLLER_REVISIONS, old.namespace, old.name, uid=old.uid) for old in dropped]
    return History(hash, collisions, tuple(writes))


def template_of(revision: ControllerRevision) -> Tree:
    """The template that a revision restores."""
    template: Tree = (revision.data.get("spec") or {}).get("template") or {}
    return {field: value for field, value in template.items() if field != "$patch"}


def restoring(template: Tree) -> Tree:
    """The patch that restores a template; clients compare its text, so its names are in order."""
    patch = {"spec": {"template": {**template, "$patch": "replace"}}}
    found: Tree = orjson.loads(orjson.dumps(patch, option=orjson.OPT_SORT_KEYS))
    return found


def free_hash(name: str, template: Tree, known: Iterable[ControllerRevision], collisions: int) -> tuple[str, int]:
    """A template's hash that no other template of the set of this name has, and how many were taken."""
    taken = {revision.metadata.name for revision in known}
    while f"{name}-{(hash := template_hash(template, collisions))}" in taken:
        collisions += 1
    return hash, collisions


def _new(daemon: DaemonSet, hash: str, number: int) -> Tree:
    meta = daemon.metadata
    labels = (daemon.spec.template.get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta.name}-{hash}",
            "namespace": meta.namespace,
            "labels": {**labels, HASH_LABEL: hash},
            "annotations": {"deprecated.daemonset.template.generation": str(meta.generation)},
            "ownerReferences": [owned_by(DAEMON_SETS, meta)],
        },
        "data": restoring(daemon.spec.template),
        "revision": number,
    }
