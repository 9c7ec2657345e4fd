"""The structural schema of a custom resource at work: what it is made of, what is pruned, what is defaulted.

Stage: none; pure.  In: a schema as a CustomResourceDefinition says it (openAPIV3Schema), trees.
Out: Definitions of the same form as those of built-in kinds; trees changed in place; texts of unknown fields.
Rules: apiVersion, kind and metadata are every object's own; a schema that says otherwise is not heard.
Truth: KEP on structural schemas; apiextensions-apiserver, pkg/apiserver/schema (pruning, defaulting, objectmeta).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from clusterip.api import embedded
from clusterip.api.decoding import Decoded
from clusterip.api.errors import invalid
from clusterip.api.meta import Tree, copied
from clusterip.api.schema import Definition, Node

EVERY_OBJECT: Final = ("apiVersion", "kind", "metadata")
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
EMBEDDED: Final = embedded.EMBEDDED
OBJECT_META: Final = embedded.OBJECT_META
INT_OR_STRING = "x-kubernetes-int-or-string"
SCALARS: Final = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
DEDUCED: Final = Node(type="deduced", pointer=True)
TEXT: Final = Node(type="string")
METADATA: Final = Node(type="ref", ref=OBJECT_META, pointer=True)
HEAD_FIELDS: Final = {"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA}


# --- what it is made of ----------------------------------------------------------------------------------------------


def definitions(schema: Tree, name: str) -> list[Definition]:
    """The structures of a schema; the first one, called `name`, is the whole object's."""
    found: list[Definition] = []
    root = _structure({**schema, EMBEDDED: True}, name, found)
    return [root, *(each for each in found if each is not root)]


def _structure(schema: Tree, name: str, found: list[Definition]) -> Definition:
    """A structure; it and those below it are put into `found`."""
    properties = schema.get("properties") or {}
    fields = {key: _node(inner, f"{name}.{key}", found) for key, inner in properties.items()}
    if schema.get(EMBEDDED):
        fields = {**fields, **HEAD_FIELDS}
    map_type = schema.get("x-kubernetes-map-type") or "granular"
    made = Definition(name, fields, map_type=map_type, is_open=bool(schema.get(PRESERVE)))
    found.append(made)
    return made


def _node(schema: Tree, name: str, found: list[Definition]) -> Node:
    kind = schema.get("type")
    if schema.get(INT_OR_STRING):
        return Node(type="intstr", pointer=True)
    if kind == "array":
        return Node(
            type="list",
            of=_node(schema.get("items") or {PRESERVE: True}, f"{name}[]", found),
            list_type=schema.get("x-kubernetes-list-type") or "atomic",
            keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
            pointer=True,
        )
    if kind == "object":
        return _object(schema, name, found)
    return Node(type=SCALARS[kind], pointer=True) if kind in SCALARS else DEDUCED


def _object(schema: Tree, name: str, found: list[Definition]) -> Node:
    more = schema.get("additionalProperties")
    if more:
        of = _node(more, f"{name}{{}}", found) if isinstance(more, dict) else DEDUCED
        return Node(type="map", of=of, map_type=schema.get("x-kubernetes-map-type") or "granular", pointer=True)
    if not schema.get("properties") and not schema.get(EMBEDDED) and "x-kubernetes-map-type" not in schema:
        return DEDUCED if schema.get(PRESERVE) else Node(type="map", of=DEDUCED, map_type="granular", pointer=True)
    _structure(schema, name, found)
    return Node(type="ref", ref=name, pointer=True)


# --- decoding --------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """An object inside that says of itself what cannot be."""


def decoded(tree: Tree, schema: Tree) -> Decoded:
    """The tree, in place: its head has the right types, fields that the schema does not know are gone and told."""
    head = embedded.metadata(tree.get("metadata"))
    if head.error:
        return Decoded(tree, head.unknown, head.error, head.conversion)
    kept: Tree = {key: tree.pop(key) for key in EVERY_OBJECT if key in tree}
    unknown = [text.replace('"', '"metadata.', 1) for text in head.unknown]
    try:
        unknown += _read_inside(tree, schema, "")
    except _Refused as error:
        return Decoded(tree, unknown, str(error), str(error))
    unknown += pruned(tree, schema)
    if kept.get("metadata") is None:
        kept.pop("metadata", None)
    tree.update(kept)
    return Decoded(tree, sorted(unknown), "")


def _read_inside(value: Any, schema: Tree, path: str) -> Iterator[str]:
    """The metadata of objects inside as every object has it; a text for each field of theirs that is not kept."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _read_inside(item, schema.get("items") or {}, f"{path}[{index}]")
    elif isinstance(value, dict):
        if schema.get(EMBEDDED) and path:
            yield from _read_head(value, path)
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, inner in value.items():
            if key in properties:
                yield from _read_inside(inner, properties[key], f"{path}.{key}" if path else key)
            elif isinstance(more, dict):
                yield from _read_inside(inner, more, f"{path}.{key}" if path else key)


def _read_head(value: Tree, path: str) -> Iterator[str]:
    for field in ("apiVersion", "kind"):
        if field in value and not isinstance(value[field], str):
            raise _Refused(str(invalid(f"{path}.{field}", value[field], "must be a string")))
    given = value.get("metadata")
    shown = copied(given)
    found = embedded.metadata(given)
    if found.error:
        raise _Refused(str(invalid(f"{path}.metadata", shown, found.error)))
    yield from (text.replace('"', f'"{path}.metadata.', 1) for text in found.unknown)


def pruned(value: Any, schema: Tree | None, path: str = "") -> Iterator[str]:
    """Take out what the schema does not know; a text for each: unknown field "spec.foo"."""
    if isinstance(value, list):
        items = (schema or {}).get("items")
        if items or not (schema or {}).get(PRESERVE):
            for index, item in enumerate(value):
                yield from pruned(item, items, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from _pruned_object(value, schema or {}, path)


def _pruned_object(value: Tree, schema: Tree, path: str) -> Iterator[str]:
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    head = EVERY_OBJECT if schema.get(EMBEDDED) else ()
    for key in list(value):
        where = f"{path}.{key}" if path else key
        if key in head:
            continue
        if key in properties:
            yield from pruned(value[key], properties[key], where)
        elif more is not None:
            yield from pruned(value[key], more if isinstance(more, dict) else None, where)
        elif not schema.get(PRESERVE):
            del value[key]
            yield f'unknown field "{where}"'


# --- defaults --------------------------------------------------------------------------------------------------------


def fill(value: Any, schema: Tree) -> None:
    """Set what is not there and has a default; null where it is not allowed counts as not there."""
    if isinstance(value, list):
        if items := schema.get("items"):
            for item in value:
                fill(item, items)
    elif isinstance(value, dict):
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, inner in properties.items():
            missing = key not in value or (value[key] is None and not inner.get("nullable"))
            if missing and inner.get("default") is not None:
                value[key] = copied(inner["default"])
        for key, held in list(value.items()):
            inner = properties.get(key, more)
            if not isinstance(inner, dict):
                continue
            if held is None and not inner.get("nullable"):
                del value[key]
            else:
                fill(held, inner)
