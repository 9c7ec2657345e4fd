"""A namespace that is deleted is emptied, then finalized.

Stage: plan.  In: a namespace, what is still in it, the time.  Out: deletions, then the last write.
Rules: pure; pods go before what they need; the namespace's own finalizer goes only when nothing is left in it; what
holds it up is told in its status.
Truth: kube-controller-manager's namespace controller, the finalize subresource, core/v1 NamespaceCondition, KEP-5080.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.client.names import NAMESPACES, PODS, ResourceRef
from clusterip.clock import rfc3339
from clusterip.controllers.model import Meta, Namespace
from clusterip.controllers.writes import DeleteAll, Outcome, Patch, Update, Write

FINALIZER = "kubernetes"
# conditions: type, whether it holds, reason, and words where they are always the same
WELL = (
    ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        False,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        False,
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
)
REMAINING = ("NamespaceContentRemaining", True, "SomeResourcesRemain")
HELD = ("NamespaceFinalizersRemaining", True, "SomeFinalizersRemain")

Content = Mapping[ResourceRef, Sequence[Meta]]


def reconcile(found: Namespace, content: Content, unseen: Sequence[ResourceRef], now: datetime) -> Outcome:
    """Delete the pods, then what is left and what nobody follows; when nothing is left, give the namespace free."""
    meta = found.metadata
    wanted = (PODS,) if PODS in content else (*content, *unseen)
    writes: list[Write] = [DeleteAll(ref, meta.name) for ref in wanted]
    if content:
        writes += _told(found, content, now)
    elif FINALIZER in found.spec.finalizers:
        tree = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "spec": {"finalizers": [name for name in found.spec.finalizers if name != FINALIZER]},
        }
        writes.append(Update(NAMESPACES, tree, "finalize"))
    return Outcome(tuple(writes))


def _told(found: Namespace, content: Content, now: datetime) -> list[Write]:
    """Conditions, once something holds the namespace up by a finalizer; else it is gone before anyone reads them."""
    finalizers = Counter(name for metas in content.values() for meta in metas for name in meta.finalizers)
    if not any(meta.is_terminating and meta.finalizers for metas in content.values() for meta in metas):
        return []
    remaining = sorted(f"{_dotted(ref)} has {len(metas)} resource instances" for ref, metas in content.items())
    held = sorted(f"{name} in {count} resource instances" for name, count in finalizers.items())
    wanted = [
        *(_condition(*each) for each in WELL),
        _condition(*REMAINING, f"Some resources are remaining: {', '.join(remaining)}"),
        _condition(*HELD, f"Some content in the namespace has finalizers remaining: {', '.join(held)}"),
    ]
    conditions = [_since(found, condition, now) for condition in wanted]
    if list(found.status.conditions) == conditions:
        return []
    return [Patch(NAMESPACES, "", found.metadata.name, {"status": {"conditions": conditions}}, "status")]


def _dotted(ref: ResourceRef) -> str:
    """As upstream names a resource: plural, dot, group (empty for the core)."""
    return f"{ref.plural}.{ref.group}"


def _condition(type: str, holds: bool, reason: str, message: str) -> Tree:
    return {"type": type, "status": "True" if holds else "False", "reason": reason, "message": message}


def _since(found: Namespace, condition: Tree, now: datetime) -> Tree:
    """The time stays while the status does."""
    for known in found.status.conditions:
        if known.get("type") == condition["type"] and known.get("status") == condition["status"]:
            return {**condition, "lastTransitionTime": known.get("lastTransitionTime")}
    return {**condition, "lastTransitionTime": rfc3339(now)}
