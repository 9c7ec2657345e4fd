"""Compiled CEL expressions as trees.

Stage: none; pure.  In: an expression as the compiler writes it down (protobuf).  Out: nodes with what is known of them.
Truth: cel-spec, proto/cel/expr: syntax.proto and checked.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from clusterip.api.protobuf import Value, fields

PRIMITIVES: Final = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
WELL_KNOWN: Final = {1: "dyn", 2: "timestamp", 3: "duration"}
NULL, BOOL, INT, STRING, BYTES = 1, 2, 3, 6, 7


@dataclass(frozen=True, slots=True)
class Const:
    """A literal: a text or a number of bytes, else something of size 1."""

    id: int
    value: str | bytes | int | None


@dataclass(frozen=True, slots=True)
class Ident:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    id: int
    operand: Node
    field: str
    is_test: bool


@dataclass(frozen=True, slots=True)
class Call:
    id: int
    function: str
    target: Node | None
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    id: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    id: int
    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """What a macro becomes: a value that is built while a range is gone through."""

    id: int
    variable: str
    over: Node
    name: str
    first: Node
    condition: Node
    step: Node
    result: Node


Node: TypeAlias = Const | Ident | Select | Call | ListOf | MapOf | Fold


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression, the overloads that its calls may be, and the types of its nodes: `list/string`."""

    node: Node
    overloads: dict[int, tuple[str, ...]]
    types: dict[int, str]


def checked(serialized: bytes) -> Checked:
    """What the compiler found."""
    (outer,) = [_raw(value) for number, value in fields(serialized) if number == 2]
    parts = list(fields(outer))
    overloads = dict(_reference(_raw(value)) for number, value in parts if number == 2)
    types = dict(_typed(_raw(value)) for number, value in parts if number == 3)
    (expression,) = [_raw(value) for number, value in parts if number == 4]
    return Checked(_node(expression), overloads, types)


def _reference(raw: bytes) -> tuple[int, tuple[str, ...]]:
    entry = dict(fields(raw))
    found = fields(_raw(entry.get(2, b"")))
    return _number(entry.get(1, 0)), tuple(_text(value) for number, value in found if number == 3)


def _typed(raw: bytes) -> tuple[int, str]:
    entry = dict(fields(raw))
    return _number(entry.get(1, 0)), _type(_raw(entry.get(2, b"")))


def _type(raw: bytes) -> str:
    for number, value in fields(raw):
        if number in (3, 4):
            return PRIMITIVES.get(_number(value), "dyn")
        if number == 5:
            return WELL_KNOWN.get(_number(value), "dyn")
        if number in (6, 7):
            inner = dict(fields(_raw(value)))
            return f"{'list' if number == 6 else 'map'}/{_type(_raw(inner.get(number - 5, b'')))}"
        if number == 14:
            inner = dict(fields(_raw(value)))
            return f"optional/{_type(_raw(inner.get(2, b'')))}"
    return "dyn"


def _node(raw: bytes) -> Node:
    parts = dict(fields(raw))
    identity = _number(parts.pop(2, 0))
    for number, read in READERS.items():
        if number in parts:
            return read(identity, _raw(parts[number]))
    return Const(identity, None)


def _const(identity: int, raw: bytes) -> Node:
    for number, value in fields(raw):
        if number == STRING:
            return Const(identity, _text(value))
        if number in (BYTES, BOOL, INT):
            return Const(identity, value)
    return Const(identity, None)


def _ident(identity: int, raw: bytes) -> Node:
    return Ident(identity, _text(dict(fields(raw)).get(1, b"")))


def _select(identity: int, raw: bytes) -> Node:
    parts = dict(fields(raw))
    return Select(identity, _node(_raw(parts[1])), _text(parts.get(2, b"")), bool(parts.get(3)))


def _call(identity: int, raw: bytes) -> Node:
    parts = dict(fields(raw))
    target = _node(_raw(parts[1])) if 1 in parts else None
    return Call(identity, _text(parts.get(2, b"")), target, tuple(_all(raw, 3)))


def _list(identity: int, raw: bytes) -> Node:
    return ListOf(identity, tuple(_all(raw, 1)))


def _struct(identity: int, raw: bytes) -> Node:
    entries = [dict(fields(_raw(value))) for number, value in fields(raw) if number == 2]
    return MapOf(identity, tuple((_node(_raw(each.get(3, b""))), _node(_raw(each.get(4, b"")))) for each in entries))


def _fold(identity: int, raw: bytes) -> Node:
    parts = dict(fields(raw))
    over, first, condition, step, result = (_node(_raw(parts.get(number, b""))) for number in (2, 4, 5, 6, 7))
    variable, name = _text(parts.get(1, b"")), _text(parts.get(3, b""))
    return Fold(identity, variable, over, name, first, condition, step, result)


READERS: Final[dict[int, Callable[[int, bytes], Node]]] = {
    3: _const,
    4: _ident,
    5: _select,
    6: _call,
    7: _list,
    8: _struct,
    9: _fold,
}


def _all(raw: bytes, wanted: int) -> Iterator[Node]:
    return (_node(_raw(value)) for number, value in fields(raw) if number == wanted)


def _raw(value: Value) -> bytes:
    return b"" if isinstance(value, int) else value


def _text(value: Value) -> str:
    return _raw(value).decode()


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0
