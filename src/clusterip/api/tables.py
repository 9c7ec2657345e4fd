"""What `kubectl get` shows: ages, and the cells that several kinds share.

Stage: none; pure.  In: an object and the moment.  Out: cells.
Rules: a cell never fails on an object that passed validation or lacks a status.
Truth: kube-apiserver's printers and apimachinery's duration, as recorded from 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from clusterip.api.meta import Tree, metadata_of, name_of
from clusterip.api.resource import Cell, Column

NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"
SHOWN = 3
MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


# --- time ------------------------------------------------------------------------------------------------------------


def human_duration(seconds: float) -> str:
    """A duration as kubectl says it: two units where they matter, one where they do not."""
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    whole = int(seconds)
    for limit, unit, size, lesser, part in (
        (2 * MINUTE, "s", 1, "", 1),
        (10 * MINUTE, "m", MINUTE, "s", 1),
        (3 * HOUR, "m", MINUTE, "", 1),
        (8 * HOUR, "h", HOUR, "m", MINUTE),
        (2 * DAY, "h", HOUR, "", 1),
        (8 * DAY, "d", DAY, "h", HOUR),
        (2 * YEAR, "d", DAY, "", 1),
        (8 * YEAR, "y", YEAR, "d", DAY),
    ):
        if whole < limit:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest}{lesser}" if lesser and rest else "")
    return f"{whole // YEAR}y"


def since(text: str | None, now: datetime) -> str:
    """How long ago a timestamp is."""
    return human_duration((now - datetime.fromisoformat(text)).total_seconds()) if text else UNKNOWN


def age(tree: Tree, now: datetime) -> str:
    return since(metadata_of(tree).get("creationTimestamp"), now)


# --- columns that every kind has -------------------------------------------------------------------------------------

NAME = Column("Name", lambda tree, now: name_of(tree), format="name", says="@meta.v1.ObjectMeta.name")
AGE = Column("Age", age, says="@meta.v1.ObjectMeta.creationTimestamp")
CREATED = Column(
    "Created At",
    lambda tree, now: metadata_of(tree).get("creationTimestamp"),
    type="date",
    says="@meta.v1.ObjectMeta.creationTimestamp",
)
"""Of kinds that have no columns of their own upstream."""
UNNAMED_AGE = Column("", age)
"""A cell more than there are columns, as upstream's rows of IPAddresses have."""
ANY = (NAME, AGE)


def fixed(read: Callable[[Tree], Any]) -> Cell:
    """A cell that the moment does not change."""
    return lambda tree, now: read(tree)


def number(*path: str) -> Cell:
    """A count at a path, 0 when it is not there."""
    return fixed(lambda tree: at(tree, *path) or 0)


def text(*path: str, otherwise: str = "") -> Cell:
    return fixed(lambda tree: at(tree, *path) or otherwise)


def at(tree: Tree, *path: str) -> Any:
    """What is at a path, or None."""
    found: Any = tree
    for key in path:
        found = (found or {}).get(key)
    return found


# --- texts -----------------------------------------------------------------------------------------------------------


def labels_text(labels: Tree | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Tree | None) -> str:
    """A label selector as one writes it for -l; `<none>` for none."""
    return selector_expression(selector) or NONE


def selector_expression(selector: Tree | None) -> str:
    """A label selector as one writes it for -l, its requirements sorted by key."""
    found = [(key, f"{key}={value}") for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    found += [(r.get("key", ""), _requirement_text(r)) for r in (selector or {}).get("matchExpressions") or ()]
    return ",".join(expression for _key, expression in sorted(found))


def _requirement_text(requirement: Tree) -> str:
    key, operator = requirement.get("key", ""), requirement.get("operator")
    if operator == "Exists":
        return str(key)
    if operator == "DoesNotExist":
        return f"!{key}"
    word = "in" if operator == "In" else "notin"
    return f"{key} {word} ({','.join(sorted(requirement.get('values') or ()))})"


def with_more(values: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    listed = list(values)
    shown = ",".join(listed[:SHOWN])
    return shown if len(listed) <= SHOWN else f"{shown} + {len(listed) - SHOWN} more..."


# --- columns of what has a pod template ------------------------------------------------------------------------------


def containers(tree: Tree) -> list[Tree]:
    found: list[Tree] = at(tree, "spec", "template", "spec", "containers") or []
    return found


CONTAINERS = Column(
    "Containers",
    fixed(lambda tree: ",".join(container.get("name", "") for container in containers(tree))),
    says="Names of each container in the template.",
    priority=1,
)
IMAGES = Column(
    "Images",
    fixed(lambda tree: ",".join(container.get("image", "") for container in containers(tree))),
    says="Images referenced by each container in the template.",
    priority=1,
)


def selector(says: str) -> Column:
    """The label selector of a controller of pods."""
    return Column("Selector", fixed(lambda tree: selector_text(at(tree, "spec", "selector"))), says=says, priority=1)


def template_columns(says: str) -> tuple[Column, ...]:
    return (CONTAINERS, IMAGES, selector(says))
