"""Values of custom resources, judged by their schema.

Stage: none; pure.  In: a tree that was pruned and defaulted, its schema.  Out: field errors in upstream's words.
Rules: an update is not refused for what it did not change; rules in CEL are not here.
Truth: kube-openapi's pkg/validation, apiextensions-apiserver's listtype; KEP-4008 (ratcheting).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from uuid import UUID

import orjson

from clusterip.api.errors import FieldError, duplicate, invalid, not_supported, required, too_long, too_many
from clusterip.api.meta import Tree
from clusterip.api.structural import EMBEDDED, EVERY_OBJECT, INT_OR_STRING

ABSENT: Final = object()
NOWHERE: Final = "<nil>"  # upstream's path of what several schemas together refuse
_PLACE = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def errors(tree: Tree, schema: Tree) -> list[FieldError]:
    """What is wrong with a new object."""
    return list(_errors(tree, {**schema, EMBEDDED: True}, ""))


def value_errors(value: Any, schema: Tree) -> list[FieldError]:
    """What is wrong with a part of an object, a default for instance."""
    return list(_errors(value, schema, ""))


def update_errors(new: Tree, old: Tree, schema: Tree) -> list[FieldError]:
    """What is wrong with an object and was not before."""
    return [error for error in errors(new, schema) if not _is_unchanged(error.field, new, old)]


def _is_unchanged(path: str, new: Tree, old: Tree) -> bool:
    if path == NOWHERE:
        return bool(new.get("spec") == old.get("spec"))
    return bool(_at(new, path) == _at(old, path))


def _at(tree: Any, path: str) -> Any:
    for name, index in _PLACE.findall(path):
        if index:
            tree = tree[int(index)] if isinstance(tree, list) and int(index) < len(tree) else ABSENT
        else:
            tree = tree.get(name, ABSENT) if isinstance(tree, dict) else ABSENT
    return tree


# --- types -----------------------------------------------------------------------------------------------------------


def type_of(value: Any) -> str:
    """JSON's name of a value's type."""
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number", type(None): "null"}
    return names[type(value)]


def _is_of(value: Any, kind: str) -> bool:
    found = type_of(value)
    return found == kind or (kind == "number" and found == "integer") or (kind == "integer" and _is_whole(value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _errors(value: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    if value is None and schema.get("nullable"):
        return
    kinds = ("integer", "string") if schema.get(INT_OR_STRING) else (schema["type"],) if schema.get("type") else ()
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        text = f"{path} in body must be of type {','.join(kinds)}: {orjson.dumps(type_of(value)).decode()}"
        yield FieldError("FieldValueTypeInvalid", path, text, type_of(value))
        return
    yield from _value(value, schema, path)
    yield from _junctors(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)


def _object(value: Tree, schema: Tree, path: str) -> Iterator[FieldError]:
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    head = EVERY_OBJECT if schema.get(EMBEDDED) else ()
    for key in schema.get("required") or ():
        if key not in value:
            yield required(f"{path}.{key}" if path else key)
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        if key in properties and key not in head:
            yield from _errors(inner, properties[key], where)
        elif isinstance(more, dict) and key not in head:
            yield from _errors(inner, more, where)


def _list(value: list[Any], schema: Tree, path: str) -> Iterator[FieldError]:
    if items := schema.get("items"):
        for index, item in enumerate(value):
            yield from _errors(item, items, f"{path}[{index}]")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    kind = schema.get("x-kubernetes-list-type")
    seen: list[Any] = []
    for index, item in enumerate(value) if kind in ("set", "map") else ():
        known = {key: item[key] for key in keys if key in item} if kind == "map" and isinstance(item, dict) else item
        if known in seen:
            yield duplicate(f"{path}[{index}]", known)
        seen.append(known)


# --- values ----------------------------------------------------------------------------------------------------------


def _value(value: Any, schema: Tree, path: str) -> Iterator[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = [each if isinstance(each, str) else orjson.dumps(each).decode() for each in schema["enum"]]
        yield not_supported(path, value, allowed)
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield from (invalid(path, value, f"{path} in body {text}") for text in _number(value, schema))
    elif isinstance(value, str):
        yield from _text(value, schema, path)
    elif isinstance(value, list):
        yield from _length(value, schema, path, "Items", "items")
        if schema.get("uniqueItems") and any(item in value[:index] for index, item in enumerate(value)):
            yield invalid(path, "", f"{path} in body shouldn't contain duplicates")
    elif isinstance(value, dict):
        yield from _length(value, schema, path, "Properties", "properties")


def _number(value: float, schema: Tree) -> Iterator[str]:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        yield f"should be less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{_shown(high)}"
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        yield f"should be greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{_shown(low)}"
    if step and value % step:
        yield f"should be a multiple of {_shown(step)}"


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _text(value: str, schema: Tree, path: str) -> Iterator[FieldError]:
    if (longest := schema.get("maxLength")) is not None and len(value) > longest:
        yield too_long(path, longest)
    if (shortest := schema.get("minLength")) is not None and len(value) < shortest:
        yield invalid(path, value, f"{path} in body should be at least {shortest} chars long")
    if (pattern := schema.get("pattern")) and not expression(pattern).search(value):
        yield invalid(path, value, f"{path} in body should match '{pattern}'")
    check = FORMATS.get(schema.get("format") or "")
    if check is not None and not check(value):
        text = f"{path} in body must be of type {schema['format']}: {orjson.dumps(value).decode()}"
        yield FieldError("FieldValueTypeInvalid", path, text, value)


def _length(value: Any, schema: Tree, path: str, word: str, plural: str) -> Iterator[FieldError]:
    most, least = schema.get(f"max{word}"), schema.get(f"min{word}")
    if most is not None and len(value) > most:
        yield too_many(path, len(value), most)
    if least is not None and len(value) < least:
        yield invalid(path, len(value), f"{path} in body should have at least {least} {plural}")


@lru_cache(maxsize=1024)
def expression(pattern: str) -> re.Pattern[str]:
    """Go's regular expressions, of which Python's are nearly a superset."""
    return re.compile(pattern.replace(r"\z", r"\Z"))


def _parses(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return check


_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_DURATION = r"-?(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w|min|hour|hours|day|days|week|weeks|sec|second|seconds|minutes?))+"
FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "ipv4": _parses(IPv4Address),
    "ipv6": _parses(IPv6Address),
    "ip": _parses(ip_address),
    "cidr": _parses(lambda text: ip_network(text if "/" in text else "-", strict=False)),
    "uuid": _parses(UUID),
    "date": lambda text: bool(re.fullmatch(_DATE, text)),
    "date-time": lambda text: bool(re.fullmatch(_DATE + r"[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)", text)),
    "duration": lambda text: bool(re.fullmatch(_DURATION, text)),
    "byte": lambda text: bool(re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text)),
    "email": lambda text: bool(re.fullmatch(r"[^@\s]+@[^@\s]+", text)),
    "uri": lambda text: bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+|/\S*", text)),
    "hostname": lambda text: bool(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,252}[A-Za-z0-9])?", text)),
    "mac": lambda text: bool(re.fullmatch(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", text)),
}


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
