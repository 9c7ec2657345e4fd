"""PriorityClass: which pods go first.

Stage: none; a record and its pure functions.
Truth: kube-apiserver's apis/scheduling validation and printer.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.checks import immutable, supported_if_set
from clusterip.api.errors import FieldError, forbidden
from clusterip.api.meta import Tree, name_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.strategy import first_generation
from clusterip.api.tables import AGE, NAME, at, fixed, number

PREEMPTION = ("Never", "PreemptLowerPriority")
HIGHEST, SYSTEM = 1_000_000_000, "system-"
SYSTEM_CLASSES = {
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
}


def system_classes() -> Iterator[Tree]:
    """The classes that every cluster begins with."""
    for name, (value, text) in SYSTEM_CLASSES.items():
        yield {"metadata": {"name": name}, "value": value, "description": text}


def _default(tree: Tree) -> None:
    tree["preemptionPolicy"] = tree.get("preemptionPolicy") or "PreemptLowerPriority"
    tree.setdefault("value", 0)


def _validate(tree: Tree) -> list[FieldError]:
    name, value = name_of(tree), tree.get("value") or 0
    found: list[FieldError] = []
    if name.startswith(SYSTEM):
        if SYSTEM_CLASSES.get(name, (None,))[0] != value or tree.get("globalDefault"):
            text = "priority class names with 'system-' prefix are reserved for system use only. error: "
            found.append(forbidden("metadata.name", text + f"{name} is not a known system priority class"))
    elif value > HIGHEST:
        text = f"maximum allowed value of a user defined priority is {HIGHEST}"
        found.append(forbidden("value", text))
    return found + supported_if_set("preemptionPolicy", tree.get("preemptionPolicy"), PREEMPTION)


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    found = []
    if new.get("value") != old.get("value"):
        found.append(forbidden("value", "may not be changed in an update."))
    return found + immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))


PRIORITY_CLASS = Resource(
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    singular="priorityclass",
    namespaced=False,
    short_names=("pc",),
    schema="io.k8s.api.scheduling.v1.PriorityClass",
    prepare_create=first_generation,
    columns=(
        NAME,
        Column("Value", number("value"), type="integer", says="@scheduling.v1.PriorityClass.value"),
        Column(
            "Global-Default",
            fixed(lambda tree: bool(at(tree, "globalDefault"))),
            type="boolean",
            says="@scheduling.v1.PriorityClass.globalDefault",
        ),
        AGE,
        Column(
            "PreemptionPolicy",
            fixed(lambda tree: at(tree, "preemptionPolicy") or ""),
            says="@scheduling.v1.PriorityClass.preemptionPolicy",
        ),
    ),
    default=_default,
    validate=_validate,
    validate_update=_validate_update,
    name_rule=name_is_subdomain,
)
