"""Objects in Kubernetes' protobuf form, read into trees: clients of built-in kinds send it and do not fall back.

Stage: none; pure.  In: bytes, a definition's name.  Out: a tree as JSON would have given it, not yet checked.
Rules: the structure comes from schema.json, the numbers from protonumbers.txt, both read at first use; what is unknown
       is passed over, as protobuf wants it; lengths are checked, so that no message reads beyond its end.
Truth: k8s.io/apimachinery runtime/serializer/protobuf (envelope), protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from clusterip.api.meta import Tree
from clusterip.api.protobuf_wire import BYTES, FIXED32, FIXED64, VARINT
from clusterip.api.schema import Definition, Node, definition

MAGIC: Final = b"k8s\0"
EXTENSIONS: Final = "io.k8s.apiextensions-apiserver.pkg.apis."
ROOTS: Final = {
    "meta": "io.k8s.apimachinery.pkg.apis.",
    "apiextensions": EXTENSIONS,
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.",
}
SCHEMA: Final = EXTENSIONS + "apiextensions.v1.JSONSchemaProps"
ALWAYS_SENT: Final = frozenset(
    {"id", "$schema", "description", "type", "format", "title", "pattern", "exclusiveMaximum", "exclusiveMinimum"}
    | {"uniqueItems", "nullable", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"}
)
"""What a schema has on the wire where JSON leaves it out."""
DEEPEST: Final = 100

Value: TypeAlias = "int | bytes"
Read: TypeAlias = Callable[[Value, int], Any]
"""What reads one field's value; the number is how deep it lies."""


class ProtobufError(ValueError):
    """Bytes that are no such message."""


class Envelope(NamedTuple):
    """What is around every object."""

    api_version: str
    kind: str
    raw: bytes


def open_envelope(body: bytes) -> Envelope:
    """The object inside and what it says it is."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    outer = dict(fields(body[len(MAGIC) :]))
    kind = dict(fields(_bytes(outer.get(1, b""))))
    return Envelope(_text(kind.get(1, b"")), _text(kind.get(2, b"")), _bytes(outer.get(2, b"")))


def message(raw: bytes, name: str) -> Tree:
    """One message of a definition."""
    tree: Tree = {}
    _fill(tree, raw, structure(name), 0)
    return tree


# --- the wire --------------------------------------------------------------------------------------------------------


def fields(raw: bytes) -> Iterator[tuple[int, Value]]:
    """Numbers and values, in order."""
    position, end = 0, len(raw)
    while position < end:
        key, position = _varint(raw, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value: Value
            value, position = _varint(raw, position)
        else:
            if kind == BYTES:
                size, position = _varint(raw, position)
            elif kind in (FIXED64, FIXED32):
                size = 8 if kind == FIXED64 else 4
            else:
                raise ProtobufError(f"proto: illegal wireType {kind}")
            if position + size > end:
                raise ProtobufError("unexpected EOF")
            value, position = raw[position : position + size], position + size
        yield number, value


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(raw):
            raise ProtobufError("unexpected EOF")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ProtobufError("proto: integer overflow")


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 0")
    return value


def _text(value: Value) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError(f"string field contains invalid UTF-8: {error.reason}") from None


def _signed(value: Value, depth: int = 0) -> int:
    if not isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 2")
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


# --- structures ------------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """What a number means: a name, how its value is read, and how several of them are kept."""

    name: str
    read: Read
    shape: str = ""
    """list, map, inline, or one value."""


Structure: TypeAlias = "dict[int, Field]"


def _fill(tree: Tree, raw: bytes, known: Structure, depth: int) -> None:
    if depth > DEEPEST:
        raise ProtobufError("too deep")
    for number, value in fields(raw):
        field = known.get(number)
        if field is None:
            continue
        if field.shape == "list":
            tree.setdefault(field.name, []).append(field.read(value, depth))
        elif field.shape == "map":
            key, item = field.read(value, depth)
            tree.setdefault(field.name, {})[key] = item
        elif field.shape == "inline":
            tree.update(field.read(value, depth))
        else:
            tree[field.name] = field.read(value, depth)


@cache
def numbers() -> dict[str, list[tuple[str, int]]]:
    """The words of protonumbers.txt, by full name."""
    found = {}
    for line in (Path(__file__).parent / "protonumbers.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, *words = line.split(" ")
        pairs = (word.rpartition("=") for word in words if word)
        found[ROOTS.get(name.partition(".")[0], "io.k8s.api.") + name] = [
            (left, int(right)) for left, _, right in pairs
        ]
    return found


@cache
def structure(name: str) -> Structure:
    """The numbers of a definition."""
    return _structure(name, definition(name))


def _structure(name: str, outer: Definition) -> Structure:
    """A message's numbers; the JSON fields are those of `outer`, which may be the structure around it."""
    found = {}
    for word, number in numbers().get(name, ()):
        if word.startswith("+"):
            inner = _structure(f"{name.rpartition('.')[0]}.{word[1:]}", outer)
            found[number] = Field("", _inline(inner), "inline")
        elif "~" in word:
            name_of_field, _, form = word.partition("~")
            read = _schema_or(form)
            is_map = outer.fields[name_of_field].type == "map"
            found[number] = Field(name_of_field, _pair(read) if is_map else read, "map" if is_map else "")
        elif word in outer.fields:
            found[number] = _field(word, outer.fields[word])
    return found


def _inline(inner: Structure) -> Read:
    def read(value: Value, depth: int) -> Tree:
        tree: Tree = {}
        _fill(tree, _bytes(value), inner, depth + 1)
        return tree

    return read


def _field(name: str, node: Node) -> Field:
    if node.type == "list":
        assert node.of is not None
        return Field(name, _reader(node.of), "list")
    if node.type == "map":
        assert node.of is not None
        return Field(name, _entry(node.of), "map")
    return Field(name, _reader(node))


def _entry(node: Node) -> Read:
    """One entry of a map: a message of a key and a value."""
    return _pair(_items(node.of) if node.type == "list" and node.of else _reader(node))


def _pair(read: Read) -> Read:
    def entry(value: Value, depth: int) -> tuple[str, Any]:
        pair = dict(fields(_bytes(value)))
        return _text(pair.get(1, b"")), read(pair.get(2, b""), depth + 1)

    return entry


def _items(node: Node) -> Read:
    """A list that protobuf needs a message for, to be a map's value."""
    read = _reader(node)
    return lambda value, depth: [read(item, depth + 1) for number, item in fields(_bytes(value)) if number == 1]


def _reader(node: Node) -> Read:
    if node.type == "ref":
        return _reference(node.ref)
    return SCALARS[node.type]


def _reference(name: str) -> Read:
    known = definition(name)
    if known.node is not None:
        return _reader(known.node)

    def read(value: Value, depth: int) -> Tree:
        tree: Tree = {}
        _fill(tree, _bytes(value), structure(name), depth + 1)
        return tree if name != SCHEMA else _without_zeros(tree)

    return read


def _without_zeros(schema: Tree) -> Tree:
    """A JSON schema as JSON has it: it may lie where nothing is known of its structure, so nobody else tidies it."""
    return {name: value for name, value in schema.items() if value or name not in ALWAYS_SENT}


def _schema_or(form: str) -> Read:
    """A JSON schema, or what may stand in its place: a bool, several schemas, several names; or a message of names."""

    def read(value: Value, depth: int) -> Any:
        parts = list(fields(_bytes(value)))
        if form == "Verbs":
            return [_text(part) for _, part in parts]
        given = [part for number, part in parts if number == (2 if form == "Bool" else 1)]
        if given and not (form == "Bool" and isinstance(given[-1], int)):
            return _reference(SCHEMA)(given[-1], depth)
        if form == "Bool":
            return any(_signed(part) for number, part in parts if number == 1)
        others = [part for number, part in parts if number == 2]
        return [_text(part) if form == "StringArray" else _reference(SCHEMA)(part, depth) for part in others] or None

    return read


# --- scalars ---------------------------------------------------------------------------------------------------------


def _time(value: Value, depth: int) -> str | None:
    return _moment(value, "-%m-%dT%H:%M:%SZ")


def _micro_time(value: Value, depth: int) -> str | None:
    return _moment(value, "-%m-%dT%H:%M:%S.%fZ")


def _moment(value: Value, form: str) -> str | None:
    """Seconds and nanoseconds, the year written by us (C leaves out its zeros); an empty message is no time at all."""
    parts = dict(fields(_bytes(value)))
    if not parts:
        return None
    try:
        moment = datetime.fromtimestamp(_signed(parts.get(1, 0)), UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ProtobufError(f"not a time: {error}") from None
    moment = moment.replace(microsecond=_signed(parts.get(2, 0)) // 1000 % 1_000_000)
    return f"{moment.year:04}{moment.strftime(form)}"


def _quantity(value: Value, depth: int) -> str:
    return _text(dict(fields(_bytes(value))).get(1, b""))


def _int_or_string(value: Value, depth: int) -> int | str:
    parts = dict(fields(_bytes(value)))
    return _text(parts.get(3, b"")) if parts.get(1, 0) else _signed(parts.get(2, 0))


def _json(value: Value, depth: int) -> Any:
    """JSON inside a message (RawExtension, FieldsV1, JSON)."""
    raw = _bytes(dict(fields(_bytes(value))).get(1, b""))
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise ProtobufError(f"no JSON inside: {error}") from None


def _double(value: Value, depth: int) -> float:
    raw = _bytes(value)
    if len(raw) != 8:
        raise ProtobufError("proto: wrong wireType")
    found: float = struct.unpack("<d", raw)[0]
    return found


SCALARS: Final[dict[str, Read]] = {
    "string": lambda value, depth: _text(value),
    "bytes": lambda value, depth: base64.b64encode(_bytes(value)).decode(),
    "bool": lambda value, depth: bool(_signed(value)),
    "int32": _signed,
    "int64": _signed,
    "double": _double,
    "time": _time,
    "microtime": _micro_time,
    "quantity": _quantity,
    "intstr": _int_or_string,
    "raw": _json,
    "any": _json,
}
