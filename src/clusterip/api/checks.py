"""Small checks that most kinds share, each giving field errors at a path.

Stage: none; pure.  In: a path and a value.  Out: field errors, in upstream's words.
Rules: a check that only one kind needs lives with that kind.
Truth: apimachinery's validation and apis/core/validation, as recorded from 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from clusterip.api import names
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree

T = TypeVar("T")


def each(path: str, values: Iterable[T] | None) -> list[tuple[str, T]]:
    """The members of a list with their paths."""
    return [(f"{path}[{index}]", value) for index, value in enumerate(values or ())]


def reasons(path: str, value: T, check: Callable[[T], list[str]]) -> list[FieldError]:
    """The reasons of a check as errors of a field."""
    found = check(value)
    return [invalid(path, value, reason) for reason in found] if found else []


def supported(path: str, value: Any, allowed: Sequence[str]) -> list[FieldError]:
    """A value out of a few; none at all is missing."""
    if value in (None, ""):
        return [required(path)]
    return [] if value in allowed else [not_supported(path, value, allowed)]


def supported_if_set(path: str, value: Any, allowed: Sequence[str]) -> list[FieldError]:
    """A value that need not be there, but is one of a few where it is: an empty text is none of them."""
    return [] if value is None or value in allowed else [not_supported(path, value, allowed)]


def qualified(path: str, value: str) -> list[FieldError]:
    return reasons(path, value, names.qualified_name)


def number_or_name(path: str, value: Any) -> list[FieldError]:
    """A port by number or by name."""
    return reasons(path, value, names.port_name if isinstance(value, str) else names.port_number)


def not_negative(path: str, value: Any) -> list[FieldError]:
    """An absent value is no error."""
    return [invalid(path, value, names.NOT_NEGATIVE)] if value is not None and value < 0 else []


def label_map(path: str, labels: Tree) -> list[FieldError]:
    """Keys and values of labels, all told at the map's own path."""
    found = []
    for key, value in labels.items():
        found += [invalid(path, key, reason) for reason in names.qualified_name(key)]
        found += [invalid(path, value, reason) for reason in names.label_value(value)]
    return found


def label_selector(path: str, selector: Tree | None) -> list[FieldError]:
    if selector is None:
        return []
    found = label_map(f"{path}.matchLabels", selector.get("matchLabels") or {})
    for where, requirement in each(f"{path}.matchExpressions", selector.get("matchExpressions")):
        found += _requirement(where, requirement)
    return found


def _requirement(path: str, requirement: Tree) -> list[FieldError]:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    found = []
    if operator in ("In", "NotIn"):
        if not values:
            found.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden(f"{path}.values", detail))
    else:
        found.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    found += reasons(f"{path}.key", requirement.get("key") or "", names.qualified_name)
    for where, value in each(f"{path}.values", values):
        found += reasons(where, value, names.label_value)
    return found


def selects_everything(selector: Tree | None) -> bool:
    """A selector without a requirement."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def immutable(path: str, new: Any, old: Any) -> list[FieldError]:
    """Absent and empty are the same."""
    return [] if (new or None) == (old or None) else [invalid(path, new, names.IMMUTABLE)]
