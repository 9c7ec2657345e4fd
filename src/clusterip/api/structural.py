"""The structural schema of a custom resource at work: what it is made of, what is pruned, what is defaulted.

Stage: none; pure.  In: a schema as a CustomResourceDefinition says it (openAPIV3Schema), trees.
Out: Definitions of the same form as those of built-in kinds; trees changed in place; texts of unknown fields.
Rules: apiVersion, kind and metadata are every object's own; a schema that says otherwise is not heard.
Truth: KEP on structural schemas; apiextensions-apiserver, pkg/apiserver/schema (pruning, defaulting, objectmeta).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from clusterip.api import schema as schemas
from clusterip.api.decoding import Decoded, decode
from clusterip.api.meta import Tree, copied
from clusterip.api.schema import Definition, Node

OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
HEAD: Final = "clusterip.ObjectHead"
EVERY_OBJECT: Final = ("apiVersion", "kind", "metadata")
PRESERVE, EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
SCALARS: Final = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
DEDUCED: Final = Node(type="deduced", pointer=True)
TEXT: Final = Node(type="string")
METADATA: Final = Node(type="ref", ref=OBJECT_META)
HEAD_FIELDS: Final = {"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA}

schemas.define([Definition(HEAD, HEAD_FIELDS)])


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


def decoded(tree: Tree, schema: Tree) -> Decoded:
    """The tree, in place: its head has the right types, fields that the schema does not know are gone and told."""
    head = decode({key: tree[key] for key in EVERY_OBJECT if key in tree}, HEAD)
    if head.error:
        return Decoded(tree, head.unknown, head.error, head.conversion)
    for key in EVERY_OBJECT:
        tree.pop(key, None)
    unknown = list(pruned(tree, schema))
    tree.update(head.tree)
    return Decoded(tree, [*head.unknown, *unknown], "")


def pruned(value: Any, schema: Tree, path: str = "") -> Iterator[str]:
    """Take out what the schema does not know; a text for each: unknown field "spec.foo"."""
    if isinstance(value, list):
        if items := schema.get("items"):
            for index, item in enumerate(value):
                yield from pruned(item, items, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from _pruned_object(value, schema, path)


def _pruned_object(value: Tree, schema: Tree, path: str) -> Iterator[str]:
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    head = EVERY_OBJECT if schema.get(EMBEDDED) else ()
    for key in list(value):
        where = f"{path}.{key}" if path else key
        if key in head:
            continue
        if key in properties:
            yield from pruned(value[key], properties[key], where)
        elif isinstance(more, dict):
            yield from pruned(value[key], more, where)
        elif not more and not schema.get(PRESERVE):
            del value[key]
            yield f'unknown field "{where}"'


# --- defaults --------------------------------------------------------------------------------------------------------


def fill(value: Any, schema: Tree) -> None:
    """Set what is not there and has a default; null counts as not there where it is not allowed."""
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
        for key, held in value.items():
            if key in properties:
                fill(held, properties[key])
            elif isinstance(more, dict):
                fill(held, more)
