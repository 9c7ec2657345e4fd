"""Values of custom resources, judged by their schema.

Stage: none; pure.  In: a tree that was pruned and defaulted, its schema.  Out: field errors in upstream's words.
Rules: an update is not refused for what it did not change; rules in CEL are not here.
Truth: kube-openapi's pkg/validation, apiextensions-apiserver's listtype; KEP-4008 (ratcheting).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from clusterip.api import formats, patterns
from clusterip.api.embedded import embedded_errors
from clusterip.api.errors import FieldError, duplicate, invalid, not_supported, required, too_long, too_many
from clusterip.api.meta import Tree
from clusterip.api.schema_walk import walk
from clusterip.api.structural import INT_OR_STRING

ABSENT: Final = object()
NOWHERE: Final = "<nil>"  # upstream's path of what several schemas together refuse
NEARLY: Final = 1e-9
MAX_WHOLE: Final = 2.0**63
_NAMED = re.compile(r'^"(.*?)" must |^Checked value must .* in (.*)$')
_PLACE = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def errors(tree: Tree, schema: Tree) -> list[FieldError]:
    """What is wrong with a new object."""
    return [*_errors(tree, schema, ""), *embedded_errors(tree, schema), *_lists(tree, schema)]


def value_errors(value: Any, schema: Tree) -> list[FieldError]:
    """What is wrong with a part of an object, a default for instance, but for its lists' keys."""
    return list(embedded_errors(value, schema)) or list(_errors(value, schema, ""))


def update_errors(new: Tree, old: Tree, schema: Tree) -> list[FieldError]:
    """What is wrong with an object and was not before."""
    found = [error for error in _errors(new, schema, "") if not _is_unchanged(error, new, old, schema)]
    return [*found, *embedded_errors(new, schema), *_lists(new, schema)]


def part_errors(new: Any, old: Any, schema: Tree, name: str) -> list[FieldError]:
    """What is wrong with a part of an object and was not before; texts name fields from the part on."""
    if new is None or new == old:
        return []
    found = [error for error in _errors(new, schema, "") if not _is_unchanged(error, new, old, schema)]
    found += [*embedded_errors(new, schema), *_lists(new, schema)]
    return [
        error if error.field == NOWHERE else replace(error, field=f"{name}.{error.field}" if error.field else name)
        for error in found
    ]


def _is_unchanged(error: FieldError, new: Tree, old: Tree, schema: Tree) -> bool:
    """Whether what an error judges is as it was: the value itself, or what holds a field that is not there."""
    path = error.field
    if path == NOWHERE:
        named = _NAMED.search(error.detail)
        path = (named[1] or named[2]) if named else ""
    elif error.type == "FieldValueRequired":
        path = path.rpartition(".")[0]
    before: Any = old
    value: Any = new
    steps = _PLACE.findall(path)
    for name, index in steps:
        value, before, schema = _step(value, before, schema, name, index)
        if before is ABSENT or value is ABSENT:
            return False
        if value == before:
            return True
    return not steps and bool(value == before)


def _step(value: Any, before: Any, schema: Tree, name: str, index: str) -> tuple[Any, Any, Tree]:
    """What lies below a value, what was there, and its schema; items of lists are the same by their keys."""
    if index:
        inner = schema.get("items") or {}
        item = value[int(index)] if isinstance(value, list) and int(index) < len(value) else ABSENT
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        if schema.get("x-kubernetes-list-type") != "map" or not isinstance(before, list) or item is ABSENT:
            return item, ABSENT, inner
        wanted = [item.get(key) for key in keys] if isinstance(item, dict) else None
        same = (each for each in before if isinstance(each, dict) and [each.get(key) for key in keys] == wanted)
        return item, next(same, ABSENT), inner
    more = schema.get("additionalProperties")
    inner = (schema.get("properties") or {}).get(name) or (more if isinstance(more, dict) else {})
    now, then = (each.get(name, ABSENT) if isinstance(each, dict) else ABSENT for each in (value, before))
    return now, then, inner


# --- types -----------------------------------------------------------------------------------------------------------


def type_of(value: Any) -> str:
    """JSON's name of a value's type."""
    if isinstance(value, bool):
        return "boolean"
    if not _is_small(value):
        return "number"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number", type(None): "null"}
    return names[type(value)]


def _is_of(value: Any, kind: str) -> bool:
    found = type_of(value)
    return (
        (found == kind and _is_small(value))
        or (kind == "number" and found == "integer")
        or (kind == "integer" and _is_whole(value))
    )


def _is_small(value: Any) -> bool:
    """Integers of more than 64 bits are none: Go reads them as other numbers."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _is_whole(value: Any) -> bool:
    """As Go's library has it: nearly whole is whole."""
    return (
        isinstance(value, float) and abs(value) < MAX_WHOLE and abs(value - round(value)) <= NEARLY * max(1, abs(value))
    )


def _errors(value: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    if value is None and schema.get("nullable"):
        return
    kinds = ("integer", "string") if schema.get(INT_OR_STRING) else (schema["type"],) if schema.get("type") else ()
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        text = f"{path} in body must be of type {','.join(kinds)}: {orjson.dumps(type_of(value)).decode()}"
        yield FieldError("FieldValueTypeInvalid", path, text, type_of(value))
        if value is None:
            return
    yield from _junctors(value, schema, path)
    yield from _value(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list) and (items := schema.get("items")):
        for index, item in enumerate(value):
            yield from _errors(item, items, f"{path}[{index}]")


def _object(value: Tree, schema: Tree, path: str) -> Iterator[FieldError]:
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        if key in properties:
            yield from _errors(inner, properties[key], where)
        elif isinstance(more, dict):
            yield from _errors(inner, more, where)
    for key in schema.get("required") or ():
        if key not in value:
            yield required(f"{path}.{key}" if path else key)


# --- lists -----------------------------------------------------------------------------------------------------------


def _lists(tree: Any, schema: Tree) -> Iterator[FieldError]:
    """Items that are there twice where that cannot be."""
    for value, known, path in walk(tree, schema):
        if isinstance(value, list):
            yield from _doubles(value, known, path)


def _doubles(value: list[Any], schema: Tree, path: str) -> Iterator[FieldError]:
    """The second of equal items, each once."""
    keys, kind = schema.get("x-kubernetes-list-map-keys") or (), schema.get("x-kubernetes-list-type")
    seen: dict[bytes, int] = {}
    for index, item in enumerate(value) if kind in ("set", "map") else ():
        known = {key: item[key] for key in keys if key in item} if kind == "map" and isinstance(item, dict) else item
        written = orjson.dumps(known, option=orjson.OPT_SORT_KEYS)
        seen[written] = seen.get(written, 0) + 1
        if seen[written] == 2:
            yield duplicate(f"{path}[{index}]", orjson.loads(written))


# --- values ----------------------------------------------------------------------------------------------------------


def _value(value: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _fit(value, schema, path)
        yield from (invalid(path, value, f"{path} in body {text}") for text in _number(value, schema))
    elif isinstance(value, str):
        yield from _text(value, schema, path)
    elif isinstance(value, list):
        yield from _length(value, schema, path, "Items", "items")
        if schema.get("uniqueItems") and any(item in value[:index] for index, item in enumerate(value)):
            yield invalid(path, "", f"{path} in body shouldn't contain duplicates")
    if "enum" in schema and value not in schema["enum"]:
        allowed = [each if isinstance(each, str) else orjson.dumps(each).decode() for each in schema["enum"]]
        yield not_supported(path, value, allowed)
    if isinstance(value, dict):
        yield from _length(value, schema, path, "Properties", "properties")


def _fit(value: float, schema: Tree, path: str) -> Iterator[FieldError]:
    kind, form = schema.get("type") or "", schema.get("format") or ""
    if kind in formats.NUMBERS and not formats.number_fits(value, kind, form):
        named = f"with format {form}" if form in formats.NUMBERS[kind] else "(default format)"
        yield invalid(NOWHERE, "", f"Checked value must be of type {kind} {named} in {path}")


def _number(value: float, schema: Tree) -> Iterator[str]:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        yield f"should be less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{_shown(high)}"
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        yield f"should be greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{_shown(low)}"
    if step and step > 0 and not _is_whole(1 / step * value if step < 1 else value / step):
        yield f"should be a multiple of {_shown(step)}"


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _text(value: str, schema: Tree, path: str) -> Iterator[FieldError]:
    if (longest := schema.get("maxLength")) is not None and len(value) > longest:
        yield too_long(path, longest)
    if (shortest := schema.get("minLength")) is not None and len(value) < shortest:
        yield invalid(path, value, f"{path} in body should be at least {shortest} chars long")
    if (pattern := schema.get("pattern")) and not patterns.compiled(pattern).search(value):
        yield invalid(path, value, f"{path} in body should match '{pattern}'")
    if schema.get("format") and schema.get("type", "string") == "string" and not formats.fits(value, schema["format"]):
        text = f"{path} in body must be of type {schema['format']}: {orjson.dumps(value).decode()}"
        yield FieldError("FieldValueTypeInvalid", path, text, value)


def _length(value: Any, schema: Tree, path: str, word: str, plural: str) -> Iterator[FieldError]:
    most, least = schema.get(f"max{word}"), schema.get(f"min{word}")
    if most is not None and len(value) > most:
        yield too_many(path, len(value), most)
    if least is not None and len(value) < least:
        yield invalid(path, len(value), f"{path} in body should have at least {least} {plural}")


# --- schemas together ------------------------------------------------------------------------------------------------


def _junctors(value: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    name = orjson.dumps(path).decode()
    if branches := schema.get("anyOf"):
        found = [list(_errors(value, branch, path)) for branch in branches]
        if all(found):
            yield invalid(NOWHERE, "", f"{name} must validate at least one schema (anyOf)")
            yield from min(found, key=len)
    if branches := schema.get("oneOf"):
        found = [list(_errors(value, branch, path)) for branch in branches]
        right = found.count([])
        if right != 1:
            many = f"Found {right} valid alternatives" if right else "Found none valid"
            yield invalid(NOWHERE, "", f"{name} must validate one and only one schema (oneOf). {many}")
            yield from min(found, key=len)
    if branches := schema.get("allOf"):
        found = [list(_errors(value, branch, path)) for branch in branches]
        right = found.count([])
        if right != len(found):
            none = ". None validated" if not right else ""
            for each in found:
                yield from each
            yield invalid(NOWHERE, "", f"{name} must validate all the schemas (allOf){none}")
    if (refused := schema.get("not")) is not None and not any(_errors(value, refused, path)):
        yield invalid(NOWHERE, "", f"{name} must not validate the schema (not)")
