"""A namespace that is deleted is emptied, then finalized.

Stage: plan.  In: a namespace, which resources still have objects in it.  Out: deletions, then the last write.
Rules: pure; the namespace's own finalizer goes only when nothing is left in it.
Truth: kube-controller-manager's namespace controller, the finalize subresource.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.client.names import NAMESPACES, ResourceRef
from clusterip.controllers.model import Namespace
from clusterip.controllers.writes import DeleteAll, Outcome, Update

FINALIZER = "kubernetes"


def reconcile(found: Namespace, left: Iterable[ResourceRef], *, is_empty: bool) -> Outcome:
    """Delete what is left; when nothing that could be seen is, give the namespace free."""
    meta = found.metadata
    deletions = tuple(DeleteAll(ref, meta.name) for ref in left)
    if not is_empty or FINALIZER not in found.spec.finalizers:
        return Outcome(deletions)
    tree = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
        "spec": {"finalizers": [name for name in found.spec.finalizers if name != FINALIZER]},
    }
    return Outcome((*deletions, Update(NAMESPACES, tree, "finalize")))
