"""Lists in the schemas of custom resources, judged: sets, and lists whose items have keys.

Stage: none; pure.  In: a schema.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree

TYPE, KEYS, MAP_TYPE = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"
TYPES: Final = ("atomic", "set", "map")
MUST_BE_ATOMIC: Final = "must be atomic as item of a list with x-kubernetes-list-type=set"
NEEDS_VALUE: Final = (
    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
)


def errors(schema: Tree, path: str) -> Iterator[FieldError]:
    """What is wrong with what a schema says of a list."""
    kind, keys, items = schema.get(TYPE), schema.get(KEYS) or [], schema.get("items")
    if kind is not None and schema.get("type") != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        yield invalid(f"{path}.type", schema["type"], text) if schema.get("type") else required(f"{path}.type", text)
    elif kind == "set" and isinstance(items, dict):
        yield from _set(items, f"{path}.items")
    if kind is not None and kind not in TYPES:
        yield not_supported(f"{path}.{TYPE}", kind, TYPES)
    if keys and kind != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield required(f"{path}.{TYPE}", text) if kind is None else invalid(f"{path}.{TYPE}", kind, text)
    if kind == "map":
        yield from _map(schema, keys, path)
    if kind in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when {TYPE} is {kind}")


def _set(items: Tree, path: str) -> Iterator[FieldError]:
    """Items are compared as wholes."""
    if items.get("type") == "array" and items.get(TYPE) not in (None, "atomic"):
        yield invalid(f"{path}.{TYPE}", items[TYPE], MUST_BE_ATOMIC)
    if items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
        yield invalid(f"{path}.{MAP_TYPE}", items.get(TYPE), MUST_BE_ATOMIC)


def _map(schema: Tree, keys: list[str], path: str) -> Iterator[FieldError]:
    items = schema.get("items")
    if not keys:
        yield required(f"{path}.{KEYS}", "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", text)
        return
    for index, key in enumerate(keys):
        yield from _key(schema, items, key, path)
        if key in keys[:index]:
            yield invalid(f"{path}.{KEYS}", keys, "must not contain duplicate entries")


def _key(schema: Tree, items: Tree, key: str, path: str) -> Iterator[FieldError]:
    """Every item has every key, and keys are plain values."""
    known = (items.get("properties") or {}).get(key)
    if known is None:
        yield invalid(f"{path}.{KEYS}", schema[KEYS], "entries must all be names of item properties")
        return
    where = f"{path}.items.properties[{key}]"
    if known.get("type") in ("array", "object"):
        text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{where}.type", items["type"], text)
    if key not in (items.get("required") or ()) and known.get("default") is None:
        yield required(f"{where}.default", NEEDS_VALUE)
    if known.get("nullable"):
        text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
        yield forbidden(f"{where}.nullable", text)
