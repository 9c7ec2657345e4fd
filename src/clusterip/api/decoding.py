"""Decode a tree as kube-apiserver does, and complete it as Go writes it.

Stage: none; pure.  In: a tree fresh from JSON (it is changed in place) and its definition.
Out: the tree with known fields of the right types only, the unknown fields by path, and the first type error.
Rules: one closure a field, made once; the usual case (a string, a bool) costs one look-up.  What is empty and left out
by Go (no pointer, omitempty) is left out here, so that equal objects are equal trees.
Truth: Go's encoding/json and sigs.k8s.io/json, whose error texts these are; recorded answers.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from clusterip.api import quantity, times
from clusterip.api.faults import Found, Path
from clusterip.api.meta import Tree
from clusterip.api.schema import Definition, Node, definition

Decoder: TypeAlias = "Callable[[Any, Path, Found, str], Any]"
"""Takes a value, its path, where to note what is wrong and the structure around it; gives what to keep, or ABSENT."""

ABSENT: Final = object()
INT_RANGES: Final = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
LOW, HIGH = INT_RANGES["int32"]  # what any integer field holds


class Decoded(NamedTuple):
    """A tree, and what was wrong with it."""

    tree: Tree
    unknown: list[str]
    """Texts of strict errors: unknown field "spec.foo"."""
    error: str
    """Upstream's text of the first type error; the tree is then good for nothing."""
    conversion: str = ""
    """The same error as upstream tells it of a tree that never was text: what a strategic merge patch made."""


def decode(tree: Tree, name: str, but: Collection[str] = ()) -> Decoded:
    """Decode a tree in place, by its definition's name; `but` are fields that are decoded already."""
    found = Found()
    if but:
        _decode_others(tree, structure(name), found, but)
    else:
        structure(name)(tree, None, found, "")
    return Decoded(tree, found.unknown, found.error, found.conversion)


def _decode_others(tree: Tree, decoder: Decoder, found: Found, but: Collection[str]) -> None:
    others = {key: value for key, value in tree.items() if key not in but}
    decoder(others, None, found, "")
    for key in [key for key in tree if key not in but and key not in others]:
        del tree[key]
    tree.update(others)


# --- structures ------------------------------------------------------------------------------------------------------


@cache
def structure(name: str) -> Decoder:
    """The decoder of a definition; those it refers to are made with it."""
    known = definition(name)
    if known.node is not None:
        return _decoder(known.node)
    _being_made.add(name)
    try:
        return of_definition(known)
    finally:
        _being_made.discard(name)


_being_made: Final[set[str]] = set()
"""A structure that holds itself is looked up when it is met."""


def of_definition(known: Definition) -> Decoder:
    """The decoder of a structure, whoever made the definition."""
    plain = {key: _plain_type(node) for key, node in known.fields.items() if _plain_type(node)}
    others = {key: _field(key, node) for key, node in known.fields.items()}
    go, name = known.go, known.kind

    def decode_structure(tree: Any, path: Path, found: Found, outer: str) -> Any:
        if tree.__class__ is not dict:
            if tree is not None:
                found.mismatch(tree, path, outer, go, "struct")
            return ABSENT
        changes = None
        for key, value in tree.items():
            if value and (kind := value.__class__) is plain.get(key) and (kind is not int or LOW <= value <= HIGH):
                continue
            decoder = others.get(key)
            if decoder is None:
                found.unknown_field(path, key)
                kept = ABSENT
            else:
                kept = decoder(value, (path, key), found, name)
            if kept is not value:
                changes = changes or {}
                changes[key] = kept
        if changes:
            _change(tree, changes)
        return tree

    return decode_structure


def _change(tree: Tree, changes: Tree) -> None:
    for key, kept in changes.items():
        if kept is ABSENT:
            del tree[key]
        else:
            tree[key] = kept


PLAIN_TYPES: Final = {"string": str, "bool": bool, "int32": int, "int64": int}


def _plain_type(node: Node) -> type | None:
    """The Python type whose values need no second look when they are true."""
    return PLAIN_TYPES.get(node.type)


def _field(key: str, node: Node) -> Decoder:
    """The decoder of a field: its type's, and whether an empty value stays."""
    inner = _decoder(node)
    if node.pointer or node.written or node.type not in OMITTED_WHEN_EMPTY:
        return inner

    def decode_omitting(value: Any, path: Path, found: Found, outer: str) -> Any:
        kept = inner(value, path, found, outer)
        return kept if kept else ABSENT

    return decode_omitting


OMITTED_WHEN_EMPTY: Final = frozenset({"string", "bool", "int32", "int64", "double", "bytes", "list", "map"})


def _decoder(node: Node) -> Decoder:
    if node.type == "ref":
        return _reference(node)
    if node.type == "list":
        return _list(node)
    if node.type == "map":
        return _map(node)
    if node.type in INT_RANGES:
        return _integer(node)
    return BY_TYPE[node.type](node)


def _reference(node: Node) -> Decoder:
    if node.ref not in _being_made:
        return structure(node.ref)

    def decode_recursively(value: Any, path: Path, found: Found, outer: str) -> Any:
        return structure(node.ref)(value, path, found, outer)

    return decode_recursively


# --- lists and maps --------------------------------------------------------------------------------------------------

ZEROS: Final[dict[str, Any]] = {
    "string": "",
    "bytes": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "double": 0,
    "intstr": 0,
    "quantity": "0",
}


def _zero(node: Node) -> Any:
    """What Go keeps of a null among the elements of a list or map."""
    return {} if node.type == "ref" else ZEROS.get(node.type)


def _list(node: Node) -> Decoder:
    assert node.of is not None
    element, inner, go = node.of, _decoder(node.of), node.go
    plain = _plain_type(element)

    def decode_list(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value.__class__ is not list:
            if value is not None:
                found.mismatch(value, path, outer, go, "slice")
            return ABSENT
        for index, item in enumerate(value):
            if item.__class__ is plain and plain is not int:
                continue
            kept = inner(item, (path, index), found, outer)
            if kept is not item:
                value[index] = _zero(element) if kept is ABSENT else kept
        return value

    return decode_list


def _map(node: Node) -> Decoder:
    assert node.of is not None
    element, inner, go = node.of, _decoder(node.of), node.go
    plain = _plain_type(element)

    def decode_map(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value.__class__ is not dict:
            if value is not None:
                found.mismatch(value, path, outer, go, "map")
            return ABSENT
        for key, item in value.items():
            if item.__class__ is plain:
                continue
            kept = inner(item, (path, (key,)), found, outer)
            if kept is not item:
                value[key] = _zero(element) if kept is ABSENT else kept
        return value

    return decode_map


# --- scalars ---------------------------------------------------------------------------------------------------------


def _integer(node: Node) -> Decoder:
    low, high = INT_RANGES[node.type]
    go, kind = node.go, node.type

    def decode_integer(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value.__class__ is int and low <= value <= high:
            return value
        if value is not None:
            found.mismatch(value, path, outer, go, kind)
        return ABSENT

    return decode_integer


def _exactly(*types: type) -> Callable[[Node], Decoder]:
    """Decoders of a type that Go holds as it is."""

    def make(node: Node) -> Decoder:
        go, kind = node.go, "float64" if node.type == "double" else node.type

        def decode_exactly(value: Any, path: Path, found: Found, outer: str) -> Any:
            if value.__class__ in types:
                return value
            if value is not None:
                found.mismatch(value, path, outer, go, kind)
            return ABSENT

        return decode_exactly

    return make


def _anything(node: Node) -> Decoder:
    return lambda value, path, found, outer: ABSENT if value is None else value


def _from_text(convert: Callable[[str], str]) -> Callable[[Node], Decoder]:
    """Decoders of a type that reads its own text; what it refuses of a text is told without the field, as upstream."""

    def decode_text(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value is None:
            return ABSENT
        if value.__class__ is not str:
            found.mismatch(value, path, outer, "string")
            return ABSENT
        try:
            return convert(value)
        except ValueError as error:
            found.refuse(str(error))
            return ABSENT

    return lambda node: decode_text


def _quantity(node: Node) -> Decoder:
    def decode_quantity(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value is None:
            return ABSENT
        text = value if value.__class__ is str else "" if isinstance(value, (bool, dict, list)) else repr(value)
        try:
            return quantity.canonical(text)
        except quantity.QuantityError as error:
            found.refuse(str(error))
            return ABSENT

    return decode_quantity


def _int_or_string(node: Node) -> Decoder:
    low, high = INT_RANGES["int32"]

    def decode_int_or_string(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value.__class__ is str or (value.__class__ is int and low <= value <= high):
            return value
        if value is not None:
            found.mismatch(value, path, outer, "int32")
        return ABSENT

    return decode_int_or_string


def _bytes(node: Node) -> Decoder:
    def decode_bytes(value: Any, path: Path, found: Found, outer: str) -> Any:
        if value.__class__ is not str:
            if value is not None:
                found.mismatch(value, path, outer, "[]uint8", "slice")
            return ABSENT
        text = value.replace("\r", "").replace("\n", "")
        try:
            binascii.a2b_base64(text, strict_mode=True) if text else b""
        except ValueError:
            found.refuse(f"illegal base64 data at input byte {_first_illegal(value)}")
            return ABSENT
        return text

    return decode_bytes


def _first_illegal(text: str) -> int:
    """Where Go's decoder stops: it reads four characters at a time and names the first it cannot use."""
    digits = 0
    for position, char in enumerate(text):
        if char in "\r\n":
            continue
        if char == "=":
            return _illegal_padding(text, position, digits % 4)
        if not (char.isascii() and (char.isalnum() or char in "+/")):
            return len(text[:position].encode())
        digits += 1
    return len(text) - digits % 4 if digits % 4 else len(text)


def _illegal_padding(text: str, position: int, digits: int) -> int:
    """Padding stands after two digits (twice) or three (once), and nothing follows it."""
    if digits < 2:
        return position
    rest = [i for i in range(position + 1, len(text)) if text[i] not in "\r\n"]
    if digits == 2:
        if not rest:
            return len(text)
        if text[rest[0]] != "=":
            return rest[0] - 1
        rest = rest[1:]
    return rest[0] if rest else len(text)


BY_TYPE: Final[dict[str, Callable[[Node], Decoder]]] = {
    "string": _exactly(str),
    "bool": _exactly(bool),
    "double": _exactly(float, int),
    "bytes": _bytes,
    "time": _from_text(times.time_text),
    "microtime": _from_text(times.micro_time_text),
    "quantity": _quantity,
    "intstr": _int_or_string,
    "raw": _anything,
    "any": _anything,
}
