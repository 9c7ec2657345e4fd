"""Custom resources in OpenAPI documents: their own schemas, with what every object has, in either version.

Stage: none; pure.  In: a record with a custom schema.  Out: two definitions, the kind's and its list's.
Rules: the schema is kept as the author wrote it, extensions included; version 2 lacks what its readers cannot read.
Truth: apiextensions-apiserver, pkg/controller/openapi (builder; v2/conversion).
"""

from __future__ import annotations

from typing import Any, Final

from clusterip.api import schema as schemas
from clusterip.api.meta import Tree
from clusterip.api.openapi_paths import LIST_META, V3, definition_of, list_definition_of
from clusterip.api.resource import Resource
from clusterip.api.structural import EMBEDDED, OBJECT_META, PRESERVE

TEXTS_OF: Final = "io.k8s.api.core.v1.Service"
"""A kind whose head is described in the words that most kinds use."""
JUNCTIONS: Final = ("allOf", "oneOf", "anyOf", "not")
CONVENTIONS: Final = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
EMBEDDED_TEXTS: Final = {
    "apiVersion": "apiVersion defines the versioned schema of this representation of an object. "
    f"More info: {CONVENTIONS}#resources",
    "kind": "kind is a string value representing the type of this object. In CamelCase. "
    f"More info: {CONVENTIONS}#types-kinds",
}
NEEDS: Final = (OBJECT_META, LIST_META)
"""The definitions that these two refer to."""


def definitions(resource: Resource, prefix: str) -> dict[str, Tree]:
    """The kind and its list, by name."""
    return {definition_of(resource): _kind(resource, prefix), list_definition_of(resource): _list(resource, prefix)}


def _kind(resource: Resource, prefix: str) -> Tree:
    given = resource.custom_schema or {}
    gvk = _gvk(resource, resource.kind)
    is_v2 = prefix != V3
    if given == {"type": "object", PRESERVE: True} or (is_v2 and given.get(PRESERVE)):
        return {"type": "object", **gvk, **_selectable(resource)}  # a reader of properties would refuse all others
    whole = _embedded(simplified(given) if is_v2 else given, prefix)
    return {**whole, "properties": {**whole.get("properties", {}), **_head(prefix)}, **gvk, **_selectable(resource)}


def _list(resource: Resource, prefix: str) -> Tree:
    name = resource.list_kind or resource.kind + "List"
    items = {
        "type": "array",
        "items": {"$ref": prefix + definition_of(resource)},
        "description": f"List of {resource.plural}. More info: {CONVENTIONS}",
    }
    return {
        "type": "object",
        "description": f"{name} is a list of {resource.kind}",
        "required": ["items"],
        "properties": {**_head(prefix, LIST_META, TEXTS_OF + "List"), "items": items},
        **_gvk(resource, name),
        **_selectable(resource),
    }


def _gvk(resource: Resource, kind: str) -> Tree:
    named = {"group": resource.group, "kind": kind, "version": resource.version}
    return {"x-kubernetes-group-version-kind": [named]}


def _selectable(resource: Resource) -> Tree:
    """The fields that selectors may name."""
    fields = [{"fieldPath": path} for path in resource.fields]
    return {"x-kubernetes-selectable-fields": fields} if fields else {}


def _head(prefix: str, metadata: str = OBJECT_META, texts_of: str = TEXTS_OF) -> Tree:
    """apiVersion, kind and metadata."""
    texts = schemas.descriptions(texts_of)
    reference: Tree = {"$ref": prefix + metadata}
    fields: Tree = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [reference]} if prefix == V3 else reference,
    }
    return {name: {**field, "description": texts.get(name, "")} for name, field in fields.items()}


def _embedded(schema: Tree, prefix: str) -> Tree:
    """The schema, whole objects inside it with their heads."""
    found = {**schema}
    if properties := schema.get("properties"):
        found["properties"] = {key: _embedded(inner, prefix) for key, inner in properties.items()}
    for field in ("items", "additionalProperties"):
        if isinstance(schema.get(field), dict):
            found[field] = _embedded(schema[field], prefix)
    is_open = prefix != V3 and schema.get(PRESERVE)
    if schema.get(EMBEDDED) and not is_open:
        head = _head(prefix)
        said = {name: {**head[name], "description": text} for name, text in EMBEDDED_TEXTS.items()}
        found["properties"] = {**found.get("properties", {}), **head, **said}
        found["required"] = list(dict.fromkeys([*schema.get("required", ()), "kind", "apiVersion"]))
    return found


# --- version 2 -------------------------------------------------------------------------------------------------------


def simplified(schema: Tree) -> Tree:
    """The schema without what readers of version 2 stumble over: junctions, null, types of what is kept as it is."""
    found = {key: value for key, value in schema.items() if key not in JUNCTIONS}
    is_nullable, is_open = bool(found.pop("nullable", False)), bool(schema.get(PRESERVE))
    if is_nullable or is_open:
        found.pop("items", None)
        found.pop("properties", None)
    kind = found.get("type")
    if is_nullable or (kind == "array" and "items" not in found) or (kind == "object" and is_open):
        found.pop("type", None)
    _without_null(found)
    return _below(found)


def _without_null(schema: Tree) -> None:
    """Nothing is required that may be null: readers would take null for missing."""
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and more.get("nullable"):
        schema.pop("required", None)
    properties: Tree = schema.get("properties") or {}
    required = [name for name in schema.get("required") or () if not properties.get(name, {}).get("nullable")]
    schema.pop("required", None)
    if required:
        schema["required"] = required


def _below(schema: Tree) -> Tree:
    found: dict[str, Any] = {**schema}
    if "properties" in found:
        found["properties"] = {key: simplified(inner) for key, inner in found["properties"].items()}
    for field in ("items", "additionalProperties"):
        if isinstance(found.get(field), dict):
            found[field] = simplified(found[field])
    return found
