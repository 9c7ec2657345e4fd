"""The former templates of a DaemonSet, kept so that it can be rolled back.

Stage: plan.  In: a DaemonSet, the hash of its template, its ControllerRevisions.  Out: writes.
Rules: pure; one revision a template; the present one has the highest number.
Truth: apps/v1 ControllerRevision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clusterip.api.meta import Tree
from clusterip.client.names import CONTROLLER_REVISIONS, DAEMON_SETS
from clusterip.controllers.model_workloads import ControllerRevision, DaemonSet
from clusterip.controllers.writes import Create, Delete, Patch, Write, owned_by

HASH_LABEL = "controller-revision-hash"


def history(
    daemon: DaemonSet, hash: str, revisions: Sequence[ControllerRevision], live: set[str | None]
) -> Iterable[Write]:
    """Make or raise the present revision, drop the oldest ones that no pod has."""
    known = sorted(revisions, key=lambda revision: revision.revision)
    present = next((revision for revision in known if revision.metadata.labels.get(HASH_LABEL) == hash), None)
    highest = known[-1].revision if known else 0
    if present is None:
        yield Create(CONTROLLER_REVISIONS, _new(daemon, hash, highest + 1), exists_ok=True)
    elif present.revision < highest:
        meta = present.metadata
        yield Patch(CONTROLLER_REVISIONS, meta.namespace, meta.name, {"revision": highest + 1})
    unused = [r for r in known if r is not present and r.metadata.labels.get(HASH_LABEL) not in live]
    for revision in unused[: max(0, len(unused) - daemon.spec.revision_history_limit)]:
        meta = revision.metadata
        yield Delete(CONTROLLER_REVISIONS, meta.namespace, meta.name, uid=meta.uid)


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
        "data": {"spec": {"template": {**daemon.spec.template, "$patch": "replace"}}},
        "revision": number,
    }
