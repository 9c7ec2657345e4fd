"""Complete a tree with what Go writes even when it is empty.

Stage: none; pure.  In: a decoded and defaulted tree and its definition's name.
Out: the tree as kube-apiserver answers it: "resources": {}, "lastProbeTime": null, "divisor": "0", "status": {}.
Rules: nothing that is there is changed, but for empty lists of required fields, which are null after storage.
Truth: Go's encoding/json over upstream's types (gotypes.txt); every recorded object is complete already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Final, TypeAlias

from clusterip.api.meta import Tree
from clusterip.api.schema import Definition, Node, definition, is_known

Completer: TypeAlias = Callable[[Any], Any]
"""Gives a completed copy, whose parts that hold no structure are the very same."""

ZEROS: Final[dict[str, Any]] = {
    "string": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "double": 0,
    "quantity": "0",
    "intstr": 0,
}
NULL_WHEN_EMPTY: Final = frozenset({"time", "microtime", "list", "map", "bytes", "raw", "any"})
NULL_AFTER_STORAGE: Final = frozenset({"list", "map"})


def complete(tree: Tree, name: str, but: Collection[str] = ()) -> Tree:
    """The tree itself, completed; `but` are fields that are complete already."""
    if not but:
        tree.update(structure(name)(tree))
        return tree
    others = structure(name)({key: None if key in but else value for key, value in tree.items()})
    tree.update({key: value for key, value in others.items() if key not in but})
    return tree


@cache
def structure(name: str) -> Completer:
    """The completer of a definition."""
    _being_made.add(name)
    try:
        return of_definition(definition(name))
    finally:
        _being_made.discard(name)


def of_known(known: Definition) -> Completer:
    """The completer of a definition of ours, or of one made elsewhere."""
    return structure(known.name) if is_known(known.name) else of_definition(known)


def of_definition(known: Definition) -> Completer:
    """The completer of a structure, whoever made the definition."""
    absent = {key: _absent(node) for key, node in known.fields.items() if _is_always_written(node)}
    structures = [key for key in absent if known.fields[key].type == "ref" and not known.fields[key].pointer]
    nullable = [key for key, node in known.fields.items() if node.written and node.type in NULL_AFTER_STORAGE]
    inner = {key: child for key, node in known.fields.items() if (child := _inner(node))}
    for key in structures:
        del absent[key]

    def complete_structure(tree: Any) -> Any:
        if tree.__class__ is not dict:
            return tree
        out = dict(tree)
        for key, zero in absent.items():
            if key not in out:
                out[key] = zero
        for key in structures:
            if key not in out:
                out[key] = {}
        for key in nullable:
            if not out[key]:
                out[key] = None
        for key, value in out.items():
            if value.__class__ in CONTAINERS and (child := inner.get(key)):
                out[key] = child(value)
        return out

    return complete_structure


CONTAINERS: Final = frozenset({dict, list})


def _is_always_written(node: Node) -> bool:
    if node.omit_zero:
        return False
    if node.type in ("ref", "time", "microtime", "quantity", "intstr"):  # structures in Go: omitempty never applies
        return node.written or not node.pointer
    return node.written


def _absent(node: Node) -> Any:
    return None if node.pointer or node.type in NULL_WHEN_EMPTY else ZEROS.get(node.type)


def _inner(node: Node | None) -> Completer | None:
    """How to complete what a field holds; nothing for fields that hold no structure."""
    if node is None or node.type not in ("ref", "list", "map"):
        return None
    if node.type == "ref":
        return _reference(node.ref)
    element = _inner(node.of)
    if element is None:
        return None
    return _each_item(element) if node.type == "list" else _each_value(element)


def _reference(name: str) -> Completer:
    if name not in _being_made:
        return structure(name)
    return lambda value: structure(name)(value)


_being_made: Final[set[str]] = set()
"""A structure that holds itself is looked up when it is met."""


def _each_item(element: Completer) -> Completer:
    return lambda value: [element(item) for item in value] if value.__class__ is list else value


def _each_value(element: Completer) -> Completer:
    return lambda value: {key: element(item) for key, item in value.items()} if value.__class__ is dict else value
