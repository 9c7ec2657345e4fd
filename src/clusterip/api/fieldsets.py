"""Sets of fields, in the form that managedFields keep them (FieldsV1), and what differs between two trees.

Stage: none; pure.  In: trees and the node that describes them.  Out: field sets.
A set is a tree of path elements: f:name, k:{"port":80}, v:"value".  A node is in the set when it is empty or has ".".
Rules: sets are never changed; every function gives a new one (which may share parts with the old), in the order in
which sets are written when those that it is made of are.
Truth: sigs.k8s.io/structured-merge-diff, fieldpath and typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from clusterip.api.meta import Tree
from clusterip.api.schema import Definition, Node, definition

Fields: TypeAlias = Tree
SELF: Final = "."
ABSENT: Final = object()

KEY_DEFAULTS: Final = {"protocol": "TCP"}
"""What a list item is known by when it does not say it: the schema's default."""


# --- sets ------------------------------------------------------------------------------------------------------------


def _is_member(node: Fields) -> bool:
    return not node or SELF in node


def union(left: Fields, right: Fields) -> Fields:
    """Fields of either; in order, when both are."""
    if not left or not right:
        return dict(left or right)
    out, more = dict(left), False
    for element, node in right.items():
        if element in out:
            out[element] = _either(out[element], node)
        else:
            out[element], more = node, True
    return dict(sorted(out.items())) if more else out


def _either(left: Fields, right: Fields) -> Fields:
    """One element of two sets: a leaf keeps being a member when the other set has fields below it."""
    if left is right or not (left or right):
        return left
    out = union(left, right)
    if SELF not in out and (_is_member(left) or _is_member(right)):
        return {SELF: {}, **out}
    return out


def difference(left: Fields, right: Fields) -> Fields:
    """Fields of the first that the second lacks. A field below a field that goes stays, unless it goes too.

    The first itself, when it loses nothing.
    """
    out: Fields | None = None
    for element, gone in right.items():
        node = left.get(element)
        if node is None or (rest := _without(node, gone)) is node:
            continue
        out = dict(left) if out is None else out
        if rest is None:
            del out[element]
        else:
            out[element] = rest
    return left if out is None else out


def _without(node: Fields, gone: Fields) -> Fields | None:
    member = _is_member(node)
    stays = member and not _is_member(gone)
    below = _below(node)
    rest = difference(below, _below(gone))
    if stays == member and rest is below and (rest or stays):
        return node
    if rest:
        return {SELF: {}, **rest} if stays else rest
    return {} if stays else None


def _below(node: Fields) -> Fields:
    return {element: child for element, child in node.items() if element != SELF} if SELF in node else node


def intersection(left: Fields, right: Fields) -> Fields:
    """Fields of both."""
    out: Fields = {}
    for element, node in left.items():
        if element != SELF and element in right:
            both = _is_member(node) and _is_member(right[element])
            rest = intersection(node, right[element])
            if both or rest:
                out[element] = {SELF: {}, **rest} if both and rest else rest
    return out


def without_subtrees(fields: Fields, paths: Iterator[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> Fields:
    """A set without some fields and all below them; a path is of field names."""
    for path in paths:
        fields = _pruned(fields, path)
    return fields


def _pruned(fields: Fields, path: tuple[str, ...]) -> Fields:
    element = f"f:{path[0]}"
    if element not in fields:
        return fields
    if len(path) == 1:
        return {key: node for key, node in fields.items() if key != element}
    node = fields[element]
    inner = _pruned(_below(node), path[1:])
    if _is_member(node):
        inner = {SELF: {}, **inner} if inner else {}
    elif not inner:
        return {key: node for key, node in fields.items() if key != element}
    return {**fields, element: inner}


def ordered(fields: Fields) -> Fields:
    """The same set, as it is written."""
    return {element: ordered(node) for element, node in sorted(fields.items())}


# --- what differs ----------------------------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """Three sets."""

    added: Fields
    modified: Fields
    removed: Fields


def compare(old: Tree, new: Tree, known: Definition | None) -> Comparison:
    """How new differs from old. Without a definition lists are atomic and maps are not."""
    added, modified, removed = _fields(_members(old, new, known))
    return Comparison(added or {}, modified or {}, removed or {})


def gained(old: Tree, new: Tree, known: Definition | None) -> Fields:
    """What new adds or changes."""
    return _gained(_members(old, new, known)) or {}


def _gained(children: Iterator[Child]) -> Fields | None:
    out: Fields = {}
    for element, left, right, node in children:
        if left is ABSENT:
            out[element] = whole(right, node)
        elif right is not ABSENT and left is not right and left != right:
            more = _gain(left, right, node)
            if more is not None:
                out[element] = more
    return out or None


def _gain(old: Any, new: Any, node: Node | None) -> Fields | None:
    if _is_leaf(old, new, node):
        return {}
    if not old and (found := whole(new, node)):
        return {element: inner for element, inner in found.items() if element != SELF} or None
    children = _children(old, new, node)
    return _gained(children) if children is not None else {}


Difference: TypeAlias = "tuple[Fields | None, Fields | None, Fields | None]"
"""Added, modified, removed: None when empty, {} when the place itself."""
Child: TypeAlias = "tuple[str, Any, Any, Node | None]"


def _fields(children: Iterator[Child]) -> Difference:
    added: Fields = {}
    modified: Fields = {}
    removed: Fields = {}
    for element, left, right, node in children:
        if left is ABSENT:
            added[element] = whole(right, node)
        elif right is ABSENT:
            removed[element] = whole(left, node)
        elif left is not right and left != right:
            more, other, less = _differs(left, right, node)
            if more is not None:
                added[element] = more
            if other is not None:
                modified[element] = other
            if less is not None:
                removed[element] = less
    return added or None, modified or None, removed or None


def _differs(old: Any, new: Any, node: Node | None) -> Difference:
    """How two values at one place differ."""
    if not _is_leaf(old, new, node) and (children := _children(old, new, node)) is not None:
        return _fields(children)
    return None, {}, None


def whole(value: Any, node: Node | None) -> Fields:
    """A place and all that is below it: what comes or goes as one."""
    owner = _owner(node)
    return owner(value) if owner else {}


def _is_leaf(old: Any, new: Any, node: Node | None) -> bool:
    """Owned as a whole: scalars, what is atomic, and what is empty on both sides."""
    if not (isinstance(old, (dict, list)) or isinstance(new, (dict, list))):
        return True
    if _is_empty(old) and _is_empty(new):
        return True
    if node is None or node.type == "deduced":
        return isinstance(old, list) or isinstance(new, list)
    return node.type not in ("ref", "map", "list") or node.is_atomic


def _is_empty(value: Any) -> bool:
    return value is ABSENT or value is None or value == {} or value == []


def _children(old: Any, new: Any, node: Node | None) -> Iterator[Child] | None:
    """The elements of both sides; None when their forms do not agree."""
    kind = list if node is not None and node.type == "list" else dict
    if not all(_is_empty(side) or isinstance(side, kind) for side in (old, new)):
        return None
    old, new = (kind() if _is_empty(side) else side for side in (old, new))
    if kind is list:
        assert node is not None
        return _items(old, new, node)
    if node is not None and node.type == "ref":
        return _members(old, new, definition(node.ref))
    return _entries(old, new, node.of if node else None)


def _members(old: Tree, new: Tree, known: Definition | None) -> Iterator[Child]:
    for key in sorted({**old, **new}):
        yield f"f:{key}", old.get(key, ABSENT), new.get(key, ABSENT), known.fields.get(key) if known else None


def _entries(old: Tree, new: Tree, element: Node | None) -> Iterator[Child]:
    for key in sorted({**old, **new}):
        yield f"f:{key}", old.get(key, ABSENT), new.get(key, ABSENT), element


def _items(old: list[Any], new: list[Any], node: Node) -> Iterator[Child]:
    """List items by what they are known by; items that share it are compared as one."""
    left, right = _by_element(old, node), _by_element(new, node)
    for element in sorted({**left, **right}):
        yield element, _single(left.get(element)), _single(right.get(element)), node.of


def _by_element(items: list[Any], node: Node) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for item in items:
        out.setdefault(element_of(item, node), []).append(item)
    return out


def _single(items: list[Any] | None) -> Any:
    if items is None:
        return ABSENT
    return items[0] if len(items) == 1 else items


def element_of(item: Any, node: Node) -> str:
    """What a list item is known by: k:{"port":80,"protocol":"TCP"} or v:"value"."""
    if node.list_type == "map" and isinstance(item, dict):
        keys = {key: value for key in node.keys if (value := item.get(key, KEY_DEFAULTS.get(key, ""))) is not None}
        return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()
    return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()


# --- what comes or goes as one ---------------------------------------------------------------------------------------

Owner: TypeAlias = "Callable[[Any], Fields]"
"""Gives the fields of a value, in order."""

_owners: Final[dict[str, tuple[Definition, Owner]]] = {}
"""Of structures, by the definition that each was made of."""


def _owner(node: Node | None) -> Owner | None:
    """How a type's values are told; None when they are owned as a whole."""
    if node is None or node.type == "deduced":
        return _deduced
    if node.type not in ("ref", "map", "list") or node.is_atomic:
        return None
    if node.type == "ref":
        name = node.ref
        return lambda value: _structure(name)(value)
    return _each_item(node) if node.type == "list" else _each_value(_owner(node.of))


def _structure(name: str) -> Owner:
    known, made = definition(name), _owners.get(name)
    if made is None or made[0] is not known:
        made = _owners[name] = known, _of_structure(known)
    return made[1]


def _of_structure(known: Definition) -> Owner:
    fields = {key: (f"f:{key}", _owner(node)) for key, node in known.fields.items()}

    def own_structure(value: Any) -> Fields:
        if not value or value.__class__ is not dict:
            return {}
        out: Fields = {SELF: {}}
        for key in sorted(value):
            element, owner = fields.get(key) or (f"f:{key}", _deduced)
            out[element] = owner(value[key]) if owner else {}
        return out

    return own_structure


def _each_item(node: Node) -> Owner:
    owner = _owner(node.of)

    def own_items(value: Any) -> Fields:
        if not value or value.__class__ is not list:
            return {}
        found = _by_element(value, node)
        return {SELF: {}, **{element: owner(_single(found[element])) if owner else {} for element in sorted(found)}}

    return own_items


def _each_value(owner: Owner | None) -> Owner:
    return lambda value: _own_values(value, owner)


def _own_values(value: Any, owner: Owner | None) -> Fields:
    if not value or value.__class__ is not dict:
        return {}
    return {SELF: {}, **{f"f:{key}": owner(value[key]) if owner else {} for key in sorted(value)}}


def _deduced(value: Any) -> Fields:
    """What nobody has described: lists are one value, maps are not."""
    return _own_values(value, _deduced)
