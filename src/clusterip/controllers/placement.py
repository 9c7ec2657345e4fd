"""Whether a pod may be on a node: names, selectors, affinity, taints.

Stage: plan.  In: a pod's spec, a node.  Out: yes or no, or the taint in the way.
Rules: pure; resources are ledger.py's.
Truth: core/v1 NodeSelector and Toleration; kube-scheduler's NodeAffinity and TaintToleration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clusterip.api.meta import Tree
from clusterip.controllers.model import Node, PodSpec, Taint, Toleration

KEEPS_AWAY = ("NoSchedule", "NoExecute")
UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def untolerated(tolerations: Iterable[Toleration], taints: Iterable[Taint], effects: Iterable[str]) -> Taint | None:
    """The first taint of these effects that nothing tolerates."""
    known = tuple(tolerations)
    wanted = frozenset(effects)
    for taint in taints:
        if taint.effect in wanted and not any(tolerates(toleration, taint) for toleration in known):
            return taint
    return None


def is_cordoned(spec: PodSpec, node: Node) -> bool:
    """The node takes no new pods, and this pod does not tolerate that."""
    return node.spec.unschedulable and untolerated(spec.tolerations, [UNSCHEDULABLE], KEEPS_AWAY) is not None


def is_wanted_on(spec: PodSpec, node: Node) -> bool:
    """Node selector and required node affinity."""
    labels = node.metadata.labels
    if not spec.node_selector.items() <= labels.items():
        return False
    affinity = (spec.affinity or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_any(required.get("nodeSelectorTerms") or (), node)


def preference(spec: PodSpec, node: Node) -> int:
    """The weight of the preferred terms that the node meets."""
    affinity = (spec.affinity or {}).get("nodeAffinity") or {}
    terms = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(int(term.get("weight") or 0) for term in terms if _matches_term(term.get("preference") or {}, node))


def matches_any(terms: Iterable[Tree], node: Node) -> bool:
    """Terms are alternatives; an empty one matches nothing."""
    return any(_matches_term(term, node) for term in terms)


def _matches_term(term: Tree, node: Node) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    names = {"metadata.name": node.metadata.name}
    return all(_matches(entry, node.metadata.labels) for entry in expressions) and all(
        _matches(entry, names) for entry in fields
    )


def _matches(expression: Tree, values: Mapping[str, str]) -> bool:
    found = values.get(expression["key"])
    wanted = expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return found in wanted
        case "NotIn":
            return found not in wanted
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt":
            return _compare(found, wanted) > 0
        case "Lt":
            return _compare(found, wanted) < 0
    return False


def _compare(found: str | None, wanted: Iterable[str]) -> int:
    """The sign of found - wanted; 0 when either is no number."""
    try:
        difference = int(found or "") - int(next(iter(wanted)))
    except (ValueError, StopIteration):
        return 0
    return (difference > 0) - (difference < 0)
