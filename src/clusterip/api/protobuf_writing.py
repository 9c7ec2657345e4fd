"""Trees written in Kubernetes' protobuf form, for clients that take nothing else.

Stage: none; pure.  In: a tree as JSON has it, a definition's name.  Out: bytes.
Rules: the tables are those of protobuf.py.  As Go writes it: numbers ascend, what is no pointer is written when it is
       empty too, a map's keys are sorted; what is not in the tables is left out.
Truth: k8s.io/apimachinery runtime/serializer/protobuf (envelope), protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from clusterip.api.meta import GroupVersionKind, Tree
from clusterip.api.protobuf import MAGIC, SCHEMA, ProtobufError, numbers
from clusterip.api.protobuf_wire import BYTES, FIXED64, VARINT, block, sized, tag, varint, word
from clusterip.api.schema import Definition, Node, definition, kinds

Write: TypeAlias = Callable[[Any], bytes]
"""What writes one value, with its length where it has one, without its number."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EMPTY: Final = b"\0"
META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
META_KINDS: Final = ("Status", "APIVersions", "APIGroupList", "APIGroup", "APIResourceList")
"""Kinds that belong to no group in particular."""
PARTIAL: Final = "PartialObjectMetadata"


class Part(NamedTuple):
    """One field: where it is in the tree ("": all of it), how it is written, what stands for nothing."""

    name: str
    write: Write
    absent: Write | None = None


def whole(tree: Tree) -> bytes:
    """An object, or a list of objects, of a kind that is built in, with what says what it is."""
    version, kind = tree.get("apiVersion") or "", tree.get("kind") or ""
    if "items" not in tree:
        return enveloped(version, kind, _writer(version, kind)(tree))
    metadata = message(tree.get("metadata") or {}, META + "ListMeta")
    items = map(_writer(version, kind.removesuffix("List")), tree["items"] or ())
    return enveloped(version, kind, listed(metadata, items))


@cache
def _writer(version: str, kind: str) -> Callable[[Tree], bytes]:
    """What writes the objects of a kind."""
    if kind == PARTIAL:
        return lambda tree: block(1, message(tree["metadata"], META + "ObjectMeta"))
    group, _, version = version.rpartition("/")
    name = META + kind if kind in META_KINDS else kinds().get(GroupVersionKind(group, version, kind))
    if name is None:
        raise ProtobufError(f"no kind {kind} of {group}/{version} is built in")
    parts = _parts(name)
    return lambda tree: _joined(tree, parts)


def enveloped(api_version: str, kind: str, raw: bytes) -> bytes:
    """An object with what says what it is around it."""
    head = block(1, api_version.encode()) + block(2, kind.encode())
    return MAGIC + block(1, head) + block(2, raw) + block(3, b"") + block(4, b"")


def message(tree: Tree, name: str) -> bytes:
    """One message of a definition."""
    return _joined(tree, _parts(name))


def listed(metadata: bytes, items: Iterable[bytes]) -> bytes:
    """A list of messages; its own metadata is a message too."""
    return b"".join([block(1, metadata), *(block(2, item) for item in items)])


def event(kind: str, raw: bytes) -> bytes:
    """One event of a watch, after its length; `raw` has its envelope."""
    made = block(1, kind.encode()) + block(2, block(1, raw))
    return struct.pack(">I", len(made)) + made


# --- structures ------------------------------------------------------------------------------------------------------


def _joined(tree: Tree, parts: tuple[Part, ...]) -> bytes:
    found = []
    for name, write, absent in parts:
        value = tree.get(name) if name else tree
        if value is not None:
            found.append(write(value))
        elif absent is not None:
            found.append(absent(value))
    return b"".join(found)


@cache
def _parts(name: str) -> tuple[Part, ...]:
    """How the fields of a definition are written."""
    return _of(name, definition(name))


def _of(name: str, outer: Definition) -> tuple[Part, ...]:
    """The same; the JSON fields are those of `outer`, which may be the structure around it."""
    found: list[Part] = []
    for told, number in sorted(numbers().get(name, ()), key=lambda pair: pair[1]):
        if told.startswith("+"):
            found.append(Part("", _inline(number, _of(f"{name.rpartition('.')[0]}.{told[1:]}", outer))))
        elif "~" in told:
            field, _, form = told.partition("~")
            found.append(_one_of(field, number, form, outer.fields[field]))
        elif told in outer.fields:
            found.append(_part(told, number, outer.fields[told]))
    return tuple(found)


def _inline(number: int, parts: tuple[Part, ...]) -> Write:
    return lambda tree: block(number, _joined(tree, parts))


def _part(name: str, number: int, node: Node) -> Part:
    if node.type == "list":
        assert node.of is not None
        return Part(name, _repeated(number, node.of))
    if node.type == "map":
        assert node.of is not None
        return Part(name, _map(number, _value(node.of)))
    write = _tagged(number, node)
    return Part(name, write, None if node.pointer or _is_optional(node) else _zero(number, node))


def _is_optional(node: Node) -> bool:
    """What Go has no empty value for but nil."""
    inner = _plain(node)
    return inner.type in ("bytes", "raw", "any") or inner.type in ("list", "map")


def _plain(node: Node) -> Node:
    """What a node is that only has another name."""
    while node.type == "ref" and (known := definition(node.ref).node) is not None:
        node = known
    return node


def _zero(number: int, node: Node) -> Write:
    """Nothing, where Go writes what is empty."""
    inner = _plain(node)
    if inner.type == "ref":
        write = _tagged(number, inner)
        return lambda value: write({})
    made = tag(number, _kind(inner)) + ZEROS.get(inner.type, EMPTY)
    return lambda value: made


def _tagged(number: int, node: Node) -> Write:
    head, write = tag(number, _kind(node)), _value(node)
    return lambda value: head + write(value)


def _repeated(number: int, node: Node) -> Write:
    head, write = tag(number, _kind(node)), _value(node)
    return lambda values: b"".join([head + write(value) for value in values])


def _map(number: int, write: Write, kind: int = BYTES) -> Write:
    """Entries are messages of a key and a value, sorted."""

    def entries(values: Tree) -> bytes:
        pairs = sorted((key.encode(), value) for key, value in values.items()) if values else ()
        return b"".join([block(number, block(1, key) + tag(2, kind) + write(value)) for key, value in pairs])

    return entries


def _value(node: Node) -> Write:
    inner = _plain(node)
    if inner.type == "ref":
        name = inner.ref
        return lambda tree: sized(_joined(tree, _parts(name)))
    if inner.type == "list":  # as a map's value: a message of its own
        assert inner.of is not None
        write = _repeated(1, inner.of)
        return lambda values: sized(write(values))
    return SCALARS[inner.type]


def _kind(node: Node) -> int:
    return KINDS.get(_plain(node).type, BYTES)


# --- schemas ---------------------------------------------------------------------------------------------------------


def _one_of(name: str, number: int, form: str, node: Node) -> Part:
    """A JSON schema or what may stand in its place; a list of names that is a message."""
    write = FORMS[form]
    return Part(name, _map(number, write) if node.type == "map" else lambda value: tag(number, BYTES) + write(value))


def _schema(tree: Tree) -> bytes:
    return _joined(tree, _parts(SCHEMA))


def _schema_or_bool(value: Any) -> bytes:
    if isinstance(value, dict):
        return sized(word(1, True) + block(2, _schema(value)))
    return sized(word(1, bool(value)))


def _schema_or_list(value: Any) -> bytes:
    if isinstance(value, dict):
        return sized(block(1, _schema(value)))
    return sized(b"".join(block(2, _schema(each)) for each in value))


def _schema_or_names(value: Any) -> bytes:
    if isinstance(value, dict):
        return sized(block(1, _schema(value)))
    return sized(b"".join(block(2, each.encode()) for each in value))


FORMS: Final[dict[str, Write]] = {
    "Verbs": lambda value: sized(b"".join(block(1, each.encode()) for each in value)),
    "Bool": _schema_or_bool,
    "Array": _schema_or_list,
    "StringArray": _schema_or_names,
}


# --- scalars ---------------------------------------------------------------------------------------------------------


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _time(value: str | None) -> bytes:
    """The zero time, null in JSON (a disruption budget's pod), is a message of nothing."""
    if value is None:
        return sized(b"")
    seconds = (_moment(value) - EPOCH).total_seconds()
    return sized(word(1, int(seconds // 1)) + word(2, 0))


def _micro_time(value: str) -> bytes:
    moment = _moment(value)
    seconds = int((moment.replace(microsecond=0) - EPOCH).total_seconds())
    return sized(word(1, seconds) + word(2, moment.microsecond * 1000))


def _text(value: str) -> bytes:
    return sized(value.encode())


def _int_or_string(value: int | str) -> bytes:
    number, text = (value, "") if isinstance(value, int) else (0, value)
    return sized(word(1, not isinstance(value, int)) + word(2, number) + block(3, text.encode()))


SCALARS: Final[dict[str, Write]] = {
    "string": _text,
    "bytes": lambda value: sized(base64.b64decode(value)),
    "bool": lambda value: b"\1" if value else b"\0",
    "int32": varint,
    "int64": varint,
    "double": lambda value: struct.pack("<d", value),
    "time": _time,
    "microtime": _micro_time,
    "quantity": lambda value: sized(block(1, str(value).encode())),
    "intstr": _int_or_string,
    "raw": lambda value: sized(block(1, orjson.dumps(value))),
    "any": lambda value: sized(block(1, orjson.dumps(value))),
}
KINDS: Final = {"bool": VARINT, "int32": VARINT, "int64": VARINT, "double": FIXED64}
ZEROS: Final = {"double": bytes(8), "quantity": sized(block(1, b"0")), "intstr": _int_or_string(0)}
