"""What is wrong with a pod's wishes for a node: tolerations, affinities, spreading.

Stage: none; pure checks.  In: parts of a pod's spec with their paths.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, label_selector, reasons
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def toleration_errors(path: str, tolerations: list[Tree]) -> list[FieldError]:
    found = []
    for where, toleration in each(path, tolerations):
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        effect, value = toleration.get("effect") or "", toleration.get("value") or ""
        if key:
            found += reasons(f"{where}.key", key, names.qualified_name)
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(invalid(f"{where}.operator", operator, detail))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            found.append(
                invalid(f"{where}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
            )
        if operator in ("", "Equal"):
            found += reasons(f"{where}.operator", value, names.label_value)
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                found.append(invalid(f"{where}.operator", _shown(toleration), detail))
        else:
            found.append(not_supported(f"{where}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            found.append(not_supported(f"{where}.effect", effect, EFFECTS))
    return found


def _shown(toleration: Tree) -> Tree:
    """A toleration as upstream's message shows it."""
    fields = ("key", "operator", "value", "effect")
    shown: Tree = {name.title(): toleration.get(name) or "" for name in fields}
    return {**shown, "TolerationSeconds": toleration.get("tolerationSeconds")}


NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def affinity_errors(path: str, affinity: Tree) -> list[FieldError]:
    node = affinity.get("nodeAffinity") or {}
    where = f"{path}.nodeAffinity"
    found = []
    needed = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        found += node_selector_errors(f"{where}.requiredDuringSchedulingIgnoredDuringExecution", needed)
    preferred = node.get("preferredDuringSchedulingIgnoredDuringExecution")
    for spot, term in each(f"{where}.preferredDuringSchedulingIgnoredDuringExecution", preferred):
        found += _weight(spot, term) + _node_term(f"{spot}.preference", term.get("preference") or {})
    for kind in ("podAffinity", "podAntiAffinity"):
        found += _pod_affinity(f"{path}.{kind}", affinity.get(kind) or {})
    return found


def node_selector_errors(path: str, selector: Tree) -> list[FieldError]:
    """Nodes of which one term at least must hold."""
    place, terms = f"{path}.nodeSelectorTerms", selector.get("nodeSelectorTerms") or []
    found = [] if terms else [required(place, "must have at least one node selector term")]
    for where, term in each(place, terms):
        found += _node_term(where, term)
    return found


def _weight(path: str, term: Tree) -> list[FieldError]:
    weight = term.get("weight") or 0
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_term(path: str, term: Tree) -> list[FieldError]:
    found = []
    for where, requirement in each(f"{path}.matchExpressions", term.get("matchExpressions")):
        operator, values = requirement.get("operator") or "", requirement.get("values") or []
        if operator in ("In", "NotIn") and not values:
            found.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden(f"{where}.values", detail))
        elif operator in ("Gt", "Lt") and len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            found.append(required(f"{where}.values", detail))
        elif operator not in NODE_OPERATORS:
            found.append(invalid(f"{where}.operator", operator, "not a valid selector operator"))
        found += reasons(f"{where}.key", requirement.get("key") or "", names.qualified_name)
    return found


def _pod_affinity(path: str, affinity: Tree) -> list[FieldError]:
    found = []
    needed = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    for where, term in each(f"{path}.requiredDuringSchedulingIgnoredDuringExecution", needed):
        found += _pod_term(where, term)
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution")
    for where, term in each(f"{path}.preferredDuringSchedulingIgnoredDuringExecution", preferred):
        found += _weight(where, term) + _pod_term(f"{where}.podAffinityTerm", term.get("podAffinityTerm") or {})
    return found


def _pod_term(path: str, term: Tree) -> list[FieldError]:
    found = label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    found += label_selector(f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for name in term.get("namespaces") or ():
        found += reasons(f"{path}.namespace", name, names.label)
    key = term.get("topologyKey") or ""
    found += [] if key else [required(f"{path}.topologyKey", "can not be empty")]
    return found + reasons(f"{path}.topologyKey", key, names.qualified_name)


def spread_errors(path: str, constraints: list[Tree]) -> list[FieldError]:
    found = []
    seen: set[tuple[Any, Any]] = set()
    for where, constraint in each(path, constraints):
        skew, key = constraint.get("maxSkew") or 0, constraint.get("topologyKey") or ""
        action = constraint.get("whenUnsatisfiable") or ""
        if skew <= 0:
            found.append(invalid(f"{where}.maxSkew", skew, "must be greater than zero"))
        found += (
            reasons(f"{where}.topologyKey", key, names.qualified_name)
            if key
            else [required(f"{where}.topologyKey", "can not be empty")]
        )
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            allowed = ("DoNotSchedule", "ScheduleAnyway")
            found.append(not_supported(f"{where}.whenUnsatisfiable", action, allowed))
        if (key, action) in seen:
            found.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.add((key, action))
        found += label_selector(f"{where}.labelSelector", constraint.get("labelSelector"))
    return found
