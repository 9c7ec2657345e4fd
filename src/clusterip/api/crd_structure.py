"""Schemas of custom resources, judged: whether they are structural.

Stage: none; pure.  In: a schema.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation; KEP-1979.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from clusterip.api import structural_validation
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree
from clusterip.api.structural import EMBEDDED, INT_OR_STRING, PRESERVE
from clusterip.api.structural_validation import expression

TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
AT_LEVEL: Final = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
OF_SEVERAL: Final = ("allOf", "anyOf", "oneOf")
INT_OR_STRING_FORM: Final = [{"type": "integer"}, {"type": "string"}]
QUADRATIC: Final = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"


FORBIDDEN_BELOW: Final[dict[str, tuple[str, Any]]] = {
    "type": ("must be empty to be structural", ""),
    "additionalProperties": ("must be undefined to be structural", None),
    "description": ("must be empty to be structural", ""),
    "title": ("must be empty to be structural", ""),
    "default": ("must be undefined to be structural", None),
    "nullable": ("must be false to be structural", False),
    PRESERVE: ("must be false to be structural", False),
    EMBEDDED: ("must be false to be structural", False),
    INT_OR_STRING: ("must be false to be structural", False),
}


def errors(schema: Tree, path: str, level: str) -> Iterator[FieldError]:
    """Every value has a type, and what several schemas say together adds no structure of its own."""
    kind, more = schema.get("type") or "", schema.get("additionalProperties")
    if schema.get("$ref"):
        yield forbidden(f"{path}.$ref", "$ref is not supported")
        return
    yield from _type(schema, kind, path, level)
    yield from _extensions(schema, kind, path, level)
    if kind == "array" and schema.get("items") is None:
        yield required(f"{path}.items", "must be specified")
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if schema.get("uniqueItems"):
        yield forbidden(f"{path}.uniqueItems", QUADRATIC)
    if isinstance(schema.get("items"), dict):
        yield from errors(schema["items"], f"{path}.items", "item")
    for key, inner in (schema.get("properties") or {}).items():
        if level == "root" and key == "metadata":
            yield from _metadata(inner, f"{path}.properties[metadata]")
        else:
            yield from errors(inner, f"{path}.properties[{key}]", "field")
    if more is not None and more is not False and level == "root":
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(more, dict):
        yield from errors(more, f"{path}.additionalProperties", "field")
    if more and schema.get("properties"):
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if schema.get(INT_OR_STRING) and schema.get(PRESERVE):
        yield invalid(f"{path}.{PRESERVE}", True, "must be false if x-kubernetes-int-or-string is true")
    yield from _list_type(schema, path)
    yield from _junctors(schema, path)


def _extensions(schema: Tree, kind: str, path: str, level: str) -> Iterator[FieldError]:
    """What the extensions of a schema ask of it, and of its default."""
    maps, items = schema.get("x-kubernetes-map-type"), schema.get("items")
    if maps is not None and maps not in ("atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", maps, ("atomic", "granular"))
    elif maps is not None and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object if x-kubernetes-map-type is specified")
    if schema.get(PRESERVE) is False:
        yield invalid(f"{path}.{PRESERVE}", False, "must be true or undefined")
    if schema.get(EMBEDDED) and kind == "object" and not schema.get(PRESERVE) and not schema.get("properties"):
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        yield required(f"{path}.properties", text)
    if level == "root" and schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    if schema.get("x-kubernetes-list-type") == "set" and isinstance(items, dict) and items.get("type") == "object":
        held = items.get("x-kubernetes-map-type")
        if held != "atomic":
            text = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield invalid(f"{path}.items.x-kubernetes-map-type", held, text)
    if level != "root" and schema.get("default") is not None:
        for error in structural_validation.value_errors(schema["default"], schema):
            yield replace(error, field=f"{path}.default" + (f".{error.field}" if error.field else ""))


def _type(schema: Tree, kind: str, path: str, level: str) -> Iterator[FieldError]:
    if kind and kind not in TYPES:
        yield not_supported(f"{path}.type", kind, TYPES)
    elif schema.get(EMBEDDED) and kind != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{path}.type", f"must not be empty {AT_LEVEL[level]}")
    elif level == "root" and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")


def _metadata(schema: Tree, path: str) -> Iterator[FieldError]:
    """A schema may narrow the names, nothing else."""
    if schema.get("type") != "object":
        yield invalid(f"{path}.type", schema.get("type") or "", "must be object")
    more = set(schema) - {"type", "properties", "description"} or set(schema.get("properties") or ()) - {
        "name",
        "generateName",
    }
    if more:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(path, text)


def _list_type(schema: Tree, path: str) -> Iterator[FieldError]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if kind is not None and schema.get("type") != "array":
        yield invalid(f"{path}.type", schema.get("type") or "", "must be array if x-kubernetes-list-type is specified")
    if kind is not None and kind not in ("atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "set", "map"))
    if kind == "map" and not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", text)
    if keys and kind != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield invalid(f"{path}.x-kubernetes-list-type", kind or "", text)
    items = schema.get("items")
    properties = items.get("properties") or {} if kind == "map" and isinstance(items, dict) else {}
    for where, key in each(f"{path}.x-kubernetes-list-map-keys", keys if kind == "map" else ()):
        if key not in properties:
            yield invalid(where, key, "entries must all be names of item properties")


def _junctors(schema: Tree, path: str) -> Iterator[FieldError]:
    for word in OF_SEVERAL:
        if word == "anyOf" and schema.get(INT_OR_STRING) and schema.get(word) == INT_OR_STRING_FORM:
            continue
        for where, inner in each(f"{path}.{word}", schema.get(word)):
            yield from _nested(inner, where, is_special=bool(schema.get(INT_OR_STRING)))
    if schema.get("not") is not None:
        yield from _nested(schema["not"], f"{path}.not")
    if pattern := schema.get("pattern"):
        try:
            expression(pattern)
        except re.error as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", pattern, text)


def _nested(schema: Tree, path: str, *, is_special: bool = False) -> Iterator[FieldError]:
    """What stands under allOf, anyOf, oneOf or not judges values only."""
    if is_special and schema.get("anyOf") == INT_OR_STRING_FORM:
        schema = {key: value for key, value in schema.items() if key != "anyOf"}
    for field, (text, empty) in FORBIDDEN_BELOW.items():
        if field in schema and schema[field] != empty:
            yield forbidden(f"{path}.{field}", text)
    for key, inner in (schema.get("properties") or {}).items():
        yield from _nested(inner, f"{path}.properties[{key}]")
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    yield from _junctors(schema, path)
