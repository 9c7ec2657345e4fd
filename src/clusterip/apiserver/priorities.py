"""Priority: what a pod's class means for it, and that one class alone is everybody's.

Stage: decide, inside the write path; look-ups in the transaction.  In: a pod or a class.  Out: the pod, completed; 403.
Truth: kube-apiserver's plugin/pkg/admission/priority of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, name_of
from clusterip.apiserver.cache import Collection
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.writes import Transaction


def prioritize(core: Core, transaction: Transaction, pod: Tree, spec: Tree) -> None:
    """The priority that a class's name means; without a name that of the default class, if there is one."""
    classes = core.registry.of("priorityclasses", "scheduling.k8s.io")
    name = spec.get("priorityClassName", "")
    entry = transaction.get(classes, name) if classes is not None and name else None
    if name and entry is None:
        why = f"no PriorityClass with name {name} was found"
        raise ApiError.forbidden("", "pods", pod["metadata"].get("name", ""), why)
    found = entry.tree() if entry else _default_class(classes)
    if found and not name:
        spec["priorityClassName"] = found["metadata"]["name"]
    policy = (found or {}).get("preemptionPolicy") or "PreemptLowerPriority"
    _computed(pod, "integer value of priority", spec.get("priority"), (found or {}).get("value") or 0)
    _computed(pod, "string value of PreemptionPolicy", spec.get("preemptionPolicy"), policy)
    spec["priority"], spec["preemptionPolicy"] = (found or {}).get("value") or 0, policy


def _computed(pod: Tree, what: str, given: Any, wanted: Any) -> None:
    """What a class decides may be said in the pod too, but not otherwise."""
    if given is not None and given != wanted:
        why = (
            f"the {what} ({given}) must not be provided in pod spec; "
            f"priority admission controller computed {wanted} from the given PriorityClass name"
        )
        raise ApiError.forbidden("", "pods", pod["metadata"].get("name", ""), why)


def check_default(core: Core, call: Call, transaction: Transaction, tree: Tree) -> None:
    """One class may be the default."""
    there = _default_class(call.served.collection)
    if tree.get("globalDefault") and there is not None and name_of(there) != name_of(tree):
        why = f"PriorityClass {name_of(there)} is already marked as default. Only one default can exist"
        raise ApiError.forbidden("scheduling.k8s.io", "priorityclasses", name_of(tree), why)


def _default_class(classes: Collection | None) -> Tree | None:
    """Of several default classes the one with the least value counts."""
    entries = classes.entries.values() if classes else ()
    found = [entry.tree() for entry in entries if b'"globalDefault":true' in entry.body]
    return min(found, key=lambda tree: tree.get("value") or 0, default=None)
