"""OpenAPI version 2 in protobuf: the only form in which kubectl asks for that document.

Stage: none; pure.  In: the tree of a version 2 document.  Out: the bytes of an openapi.v2.Document.
Rules: one table says which key of which structure has which number; keys that are not in it do not exist there.
Extensions travel as text: JSON, which is YAML too.
Truth: field numbers of github.com/google/gnostic, openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from clusterip.api.meta import Tree
from clusterip.api.protobuf_wire import FIXED64, block, tag, word

Write = Callable[[Any], bytes]


def document(tree: Tree) -> bytes:
    """The whole document."""
    return _message(tree, "Document")


# --- messages --------------------------------------------------------------------------------------------------------


def _message(tree: Mapping[str, Any], name: str) -> bytes:
    """A structure by its table; what begins with x- is an extension."""
    known, extension = MESSAGES[name], EXTENSIONS.get(name, 0)
    parts: list[bytes] = []
    for key, value in tree.items():
        if key in known:
            number, kind = known[key]
            parts.extend(_field(number, kind, value))
        elif extension and key.startswith("x-"):
            parts.append(block(extension, _named(key, _any(value))))
    return b"".join(parts)


def _field(number: int, kind: str, value: Any) -> Iterator[bytes]:
    if kind.startswith("*"):
        for item in value:
            yield from _field(number, kind[1:], item)
    elif kind in ("bool", "int"):
        yield word(number, int(value))
    elif kind == "double":
        yield tag(number, FIXED64) + struct.pack("<d", float(value))
    else:
        writer = WRITERS.get(kind)
        yield block(number, writer(value) if writer else _message(value, kind))


def _named(name: str, payload: bytes) -> bytes:
    """A key with its value, as maps are written."""
    return block(1, name.encode()) + block(2, payload)


def _any(value: Any) -> bytes:
    return block(2, orjson.dumps(value))


def _map(kind: str, field: int = 1) -> Write:
    """A map of messages: a message of named ones."""
    writer = WRITERS.get(kind) or (lambda value: _message(value, kind))
    return lambda tree: b"".join(block(field, _named(name, writer(value))) for name, value in tree.items())


def _type(value: str | list[str]) -> bytes:
    return b"".join(block(1, each.encode()) for each in ([value] if isinstance(value, str) else value))


def _items(value: Tree | list[Tree]) -> bytes:
    return b"".join(block(1, _message(each, "Schema")) for each in (value if isinstance(value, list) else [value]))


def _additional(value: Tree | bool) -> bytes:
    return word(2, int(value)) if isinstance(value, bool) else block(1, _message(value, "Schema"))


def _parameter(tree: Tree) -> bytes:
    """A body, or one of the others by its place; each in its wrapping."""
    if tree["in"] == "body":
        return block(1, block(1, _message(tree, "Body")))
    return block(1, block(2, block(PLACES[tree["in"]], _message(tree, tree["in"]))))


WRITERS: Final[dict[str, Write]] = {
    "text": lambda value: value.encode(),
    "any": _any,
    "type": _type,
    "items": _items,
    "additional": _additional,
    "parameter": _parameter,
    "schema": lambda value: block(1, _message(value, "Schema")),
    "response": lambda value: block(1, _message(value, "Response")),
}
WRITERS["properties"] = _map("Schema")
WRITERS["paths"] = _map("Path", 2)
WRITERS["responses"] = _map("response")

PLACES: Final = {"header": 1, "formData": 2, "query": 3, "path": 4}
_PARAMETER: Final = {
    "required": (1, "bool"),
    "in": (2, "text"),
    "description": (3, "text"),
    "name": (4, "text"),
}
MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "Document": {
        "swagger": (1, "text"),
        "info": (2, "Info"),
        "paths": (8, "paths"),
        "definitions": (9, "properties"),
    },
    "Info": {"title": (1, "text"), "version": (2, "text")},
    "Path": {
        "get": (2, "Operation"),
        "put": (3, "Operation"),
        "post": (4, "Operation"),
        "delete": (5, "Operation"),
        "patch": (8, "Operation"),
        "parameters": (9, "*parameter"),
    },
    "Operation": {
        "tags": (1, "*text"),
        "description": (3, "text"),
        "operationId": (5, "text"),
        "produces": (6, "*text"),
        "consumes": (7, "*text"),
        "parameters": (8, "*parameter"),
        "responses": (9, "responses"),
    },
    "Body": {
        "description": (1, "text"),
        "name": (2, "text"),
        "in": (3, "text"),
        "required": (4, "bool"),
        "schema": (5, "Schema"),
    },
    "query": {**_PARAMETER, "type": (6, "text"), "format": (7, "text"), "uniqueItems": (20, "bool")},
    "path": {**_PARAMETER, "type": (5, "text"), "format": (6, "text"), "uniqueItems": (19, "bool")},
    "Response": {"description": (1, "text"), "schema": (2, "schema")},
    "Schema": {
        "$ref": (1, "text"),
        "format": (2, "text"),
        "title": (3, "text"),
        "description": (4, "text"),
        "default": (5, "any"),
        "multipleOf": (6, "double"),
        "maximum": (7, "double"),
        "exclusiveMaximum": (8, "bool"),
        "minimum": (9, "double"),
        "exclusiveMinimum": (10, "bool"),
        "maxLength": (11, "int"),
        "minLength": (12, "int"),
        "pattern": (13, "text"),
        "maxItems": (14, "int"),
        "minItems": (15, "int"),
        "uniqueItems": (16, "bool"),
        "maxProperties": (17, "int"),
        "minProperties": (18, "int"),
        "required": (19, "*text"),
        "enum": (20, "*any"),
        "additionalProperties": (21, "additional"),
        "type": (22, "type"),
        "items": (23, "items"),
        "allOf": (24, "*Schema"),
        "properties": (25, "properties"),
        "example": (30, "any"),
    },
}
"""Structure -> key -> number and kind; a star says that there are several."""
EXTENSIONS: Final = {"Info": 7, "Path": 10, "Operation": 13, "Body": 6, "query": 23, "path": 22, "Schema": 31}
