"""Schemas of custom resources, judged: whether they are structural.

Stage: none; pure.  In: a schema.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation; KEP-1979.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from clusterip.api import cel_rules, crd_lists, formats, patterns, structural, structural_validation
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, copied
from clusterip.api.structural import EMBEDDED, INT_OR_STRING, PRESERVE

TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
EMPTY_EMBEDDED: Final = (
    "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
)
AT_LEVEL: Final = {
    "root": "at the root",
    "item": "for specified array items",
    "field": "for specified object fields",
    "meta": "for specified object fields",
}
OF_SEVERAL: Final = ("allOf", "anyOf", "oneOf")
INT_OR_STRING_FORM: Final = [{"type": "integer"}, {"type": "string"}]
QUADRATIC: Final = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"


UNSUPPORTED: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies")
TOP_META: Final = ("apiVersion", "kind", "metadata")
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
    "x-kubernetes-list-map-keys": ("must be empty to be structural", []),
    "x-kubernetes-list-type": ("must be undefined to be structural", None),
    "x-kubernetes-map-type": ("must be undefined to be structural", None),
    "x-kubernetes-validations": ("must be empty to be structural", []),
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
    yield from (
        forbidden(f"{path}.{word}", f"{word} is not supported")
        for word in UNSUPPORTED
        if schema.get(word, "") not in ("", None, {})
    )
    if isinstance(schema.get("items"), dict):
        yield from errors(schema["items"], f"{path}.items", "item")
    yield from _properties(schema, path, level)
    if more is not None and level == "root":
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(more, dict):
        yield from errors(more, f"{path}.additionalProperties", "field")
    if more is not None and more is not True and schema.get("properties"):
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    yield from crd_lists.errors(schema, path)
    yield from _junctors(schema, path)


def _properties(schema: Tree, path: str, level: str) -> Iterator[FieldError]:
    is_object = level == "root" or bool(schema.get(EMBEDDED))
    for key, inner in (schema.get("properties") or {}).items():
        where = f"{path}.properties[{key}]"
        if is_object and key in ("apiVersion", "kind") and inner.get("type") != "string":
            yield invalid(f"{where}.type", inner.get("type") or "", "must be string")
        if is_object and key == "metadata" and inner.get("type") != "object":
            yield invalid(f"{where}.type", inner.get("type") or "", "must be object")
        if level == "root" and key in TOP_META:
            text = f"must not be set in top-level {key}"
            yield from (forbidden(f"{place}.default", text) for place in _defaults(inner, where))
        if level == "root" and key == "metadata":
            yield from _metadata(inner, where)
        yield from errors(inner, where, "meta" if level in ("root", "meta") and key in TOP_META else "field")


def _defaults(schema: Tree, path: str) -> Iterator[str]:
    """The places of all defaults."""
    if schema.get("default") is not None:
        yield path
    for key, inner in (schema.get("properties") or {}).items():
        yield from _defaults(inner, f"{path}.properties[{key}]")


def _extensions(schema: Tree, kind: str, path: str, level: str) -> Iterator[FieldError]:
    """What the extensions of a schema ask of it, and of its default."""
    maps = schema.get("x-kubernetes-map-type")
    if maps is not None and kind != "object":
        text = "must be object if x-kubernetes-map-type is specified"
        yield invalid(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    if maps is not None and maps not in ("atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", maps, ("atomic", "granular"))
    if schema.get(PRESERVE) is False:
        yield invalid(f"{path}.{PRESERVE}", False, "must be true or undefined")
    if schema.get(EMBEDDED):
        yield from _embedded(schema, path)
    if schema.get(INT_OR_STRING):
        text = "must be false if x-kubernetes-int-or-string is true"
        yield from (invalid(f"{path}.{word}", True, text) for word in (PRESERVE, EMBEDDED) if schema.get(word))
    if level == "root" and schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    if level == "field" or level == "item":
        yield from _default(schema, f"{path}.default")


def _embedded(schema: Tree, path: str) -> Iterator[FieldError]:
    if not schema.get(PRESERVE) and not schema.get("properties"):
        yield required(f"{path}.properties", EMPTY_EMBEDDED)
    if schema.get("additionalProperties") is not None:
        text = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden(f"{path}.additionalProperties", text)


def _default(schema: Tree, path: str) -> Iterator[FieldError]:
    """A default is whole: nothing of it is pruned, and it fits its own schema and its rules."""
    if (default := schema.get("default")) is None:
        return
    if list(structural.pruned(copied(default), schema)):
        yield invalid(path, default, "must not have unknown fields")
    found = structural_validation.value_errors(default, schema)
    for error in found or cel_rules.default_errors(default, schema):
        if error.field == structural_validation.NOWHERE:
            yield replace(error, field=path)
        else:
            yield replace(error, field=path + (f".{error.field}" if error.field else ""))


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
    more = set(schema) - {"type", "properties", "description", "default"} or set(schema.get("properties") or ()) - {
        "name",
        "generateName",
    }
    if more:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(path, text)


def _junctors(schema: Tree, path: str) -> Iterator[FieldError]:
    for word in OF_SEVERAL:
        if word == "anyOf" and schema.get(word) == INT_OR_STRING_FORM:
            continue
        for where, inner in each(f"{path}.{word}", schema.get(word)):
            yield from _nested(inner, where, is_special=word == "allOf" and where.endswith("[0]"))
    if schema.get("not") is not None:
        yield from _nested(schema["not"], f"{path}.not")
    if pattern := schema.get("pattern"):
        try:
            patterns.compiled(pattern)
        except patterns.PatternError as error:
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
    if "metadata" in (schema.get("properties") or {}):
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    yield from _junctors(schema, path)


def unknown_formats(schema: Tree) -> Iterator[str]:
    """The formats of a schema, and of all below it, that mean nothing."""
    form, kind = schema.get("format") or "", schema.get("type") or ""
    if form and kind in ("", "string", *formats.NUMBERS) and not formats.is_known(form, kind):
        yield form
    below = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    below += [inner for word in OF_SEVERAL for inner in schema.get(word) or ()]
    for inner in (*below, schema.get("not")):
        if isinstance(inner, dict):
            yield from unknown_formats(inner)
