"""Fields of metallb.io objects, read strictly: selectors, lists without doubles, Go's durations, addresses.

Stage: none; pure.  In: trees.  Out: values; ConfigError that names the field.
Truth: what MetalLB 0.16 refuses beyond its schemas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree, labels_of, name_of
from clusterip.api.metallb import Address, ConfigError
from clusterip.api.names import parse_address
from clusterip.api.selectors import LabelSelector, from_label_selector

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|us|µs|μs|ns|s)")


def texts(spec: Tree, field: str, title: str = "") -> tuple[str, ...]:
    """A list of texts in which none comes twice."""
    found = tuple(map(str, spec.get(field) or ()))
    for index, each in enumerate(found):
        if each in found[:index]:
            raise ConfigError(f"duplicate definition of {title or field} {quoted(each)}")
    return found


def selectors(spec: Tree, field: str) -> tuple[LabelSelector, ...]:
    """A list of label selectors in which none comes twice, and none says a thing twice."""
    found: list[LabelSelector] = []
    for tree in spec.get(field) or ():
        _check_expressions(tree.get("matchExpressions") or ())
        selector = selector_of(tree, field)
        if selector in found:
            raise ConfigError(f"duplicate definition of {field} {quoted(str(selector))}")
        found.append(selector)
    return tuple(found)


def selector_of(tree: Tree, field: str) -> LabelSelector:
    try:
        return from_label_selector(tree)
    except ValueError as error:
        raise ConfigError(f"invalid {field}: {error}") from None


def _check_expressions(expressions: Sequence[Tree]) -> None:
    seen = []
    for each in expressions:
        values = sorted(texts(each, "values", "match expression value in label selector"))
        mark = (each.get("key"), each.get("operator"), values)
        if mark in seen:
            raise ConfigError(f"duplicate definition of match expressions {quoted(str(each.get('key')))}")
        seen.append(mark)


def selected(objects: Iterable[Tree], choices: Sequence[LabelSelector]) -> frozenset[str]:
    """The names of the objects that any of the selectors matches."""
    return frozenset(name_of(each) for each in objects if any(choice.matches(labels_of(each)) for choice in choices))


def nodes_of(nodes: Iterable[Tree], choices: Sequence[LabelSelector]) -> frozenset[str]:
    """The names of the nodes selected; without selectors all of them."""
    return selected(nodes, choices or (LabelSelector(),))


def address_in(spec: Tree, field: str, title: str) -> Address | None:
    """An address, or None where none is given."""
    text = spec.get(field) or ""
    if not text:
        return None
    found = parse_address(text)
    if found is None:
        raise ConfigError(f"invalid {title} {quoted(text)}")
    return found


def seconds(text: str) -> float:
    """A duration as Go writes it: 90s, 1m30s, 500ms."""
    sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    found = list(PART.finditer(digits))
    if digits == "0":
        return 0.0
    if not found or "".join(part[0] for part in found) != digits:
        raise ConfigError(f"invalid duration {quoted(text)}: write it as 90s or 1m30s")
    return sign * sum(float(part[1]) * UNITS[part[2]] for part in found)
