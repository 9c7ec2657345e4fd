"""Structural schemas at work: structures, pruning, defaults, values."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api import schema as schemas
from clusterip.api.fieldsets import compare
from clusterip.api.structural import PRESERVE, decoded, definitions, fill
from clusterip.api.structural_validation import errors, update_errors

SPEC = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1, "exclusiveMinimum": True, "multipleOf": 2},
        "mode": {"type": "string", "default": "a", "maxLength": 3},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "free": {"type": "object", PRESERVE: True},
        "byName": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"v": {"type": "number"}}},
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 2, "items": {"type": "string"}},
        "rules": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {
                "type": "object",
                "properties": {"k": {"type": "string"}, "v": {"type": "string", "default": "d"}},
            },
        },
        "one": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        "ip": {"type": "string", "format": "ipv4"},
        "maybe": {"type": "string", "nullable": True},
    },
}
SCHEMA = {"type": "object", "properties": {"spec": SPEC}}


def told(tree: dict[str, Any]) -> list[tuple[str, str]]:
    return [(error.field, error.message()) for error in errors(tree, SCHEMA)]


def test_pruning_tells_what_it_took() -> None:
    tree = {
        "apiVersion": "a/v1",
        "kind": "K",
        "metadata": {"name": "x", "odd": 1},
        "spec": {"free": {"any": 1}, "byName": {"x": {"v": 1, "w": 2}}, "rules": [{"k": "a", "z": 1}], "more": 1},
        "extra": {},
    }
    found = decoded(tree, {**SCHEMA, "x-kubernetes-embedded-resource": True})
    assert sorted(found.unknown) == [
        'unknown field "extra"',
        'unknown field "metadata.odd"',
        'unknown field "spec.byName.x.w"',
        'unknown field "spec.more"',
        'unknown field "spec.rules[0].z"',
    ]
    assert found.tree["spec"] == {"free": {"any": 1}, "byName": {"x": {"v": 1}}, "rules": [{"k": "a"}]}


def test_a_head_of_wrong_types_is_refused() -> None:
    assert decoded({"metadata": {"name": 1}}, SCHEMA).error


def test_defaults_reach_into_lists_and_replace_nulls() -> None:
    tree: dict[str, Any] = {"spec": {"rules": [{"k": "a"}], "mode": None, "maybe": None}}
    fill(tree, SCHEMA)
    assert tree == {"spec": {"rules": [{"k": "a", "v": "d"}], "mode": "a", "maybe": None}}


ONLY_ONE = 'Invalid value: "": "spec.one" must validate one and only one schema (oneOf). '
WRONG = 'Invalid value: "{0}": {1} in body must be of type {2}: "{0}"'


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"n": 1}, "spec.n", "Invalid value: 1: spec.n in body should be greater than 1"),
        ({"n": 3}, "spec.n", "Invalid value: 3: spec.n in body should be a multiple of 2"),
        ({"n": "x"}, "spec.n", WRONG.format("string", "spec.n", "integer")),
        ({"mode": "long"}, "spec.mode", "Too long: may not be more than 3 bytes"),
        ({"port": True}, "spec.port", WRONG.format("boolean", "spec.port", "integer,string")),
        ({"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
        ({"tags": ["a", "b", "c"]}, "spec.tags", "Too many: 3: must have at most 2 items"),
        ({"rules": [{"k": "a"}, {"k": "a"}]}, "spec.rules[1]", 'Duplicate value: {"k":"a"}'),
        ({"one": {}}, "<nil>", ONLY_ONE + "Found none valid"),
        ({"one": {"a": "", "b": ""}}, "<nil>", ONLY_ONE + "Found 2 valid alternatives"),
        ({"ip": "1.2.3"}, "spec.ip", WRONG.format("1.2.3", "spec.ip", "ipv4")),
        ({"byName": {"x": {"v": "y"}}}, "spec.byName.x.v", WRONG.format("string", "spec.byName.x.v", "number")),
        ({"mode": None}, "spec.mode", WRONG.format("null", "spec.mode", "string")),
    ],
)
def test_what_is_refused(spec: dict[str, Any], field: str, message: str) -> None:
    assert told({"spec": spec})[0] == (field, message)


RIGHT = [{"n": 4}, {"n": 4.0}, {"port": 1}, {"port": "http"}, {"one": {"a": ""}}, {"maybe": None}]


@pytest.mark.parametrize("spec", RIGHT)
def test_what_is_right(spec: dict[str, Any]) -> None:
    assert told({"spec": spec}) == []


def test_an_update_is_not_refused_for_what_was_wrong_before() -> None:
    old = {"spec": {"n": 1, "mode": "long"}}
    new = {"spec": {"n": 1, "mode": "longer"}}
    assert [error.field for error in update_errors(new, old, SCHEMA)] == ["spec.mode"]


def test_the_structures_of_a_schema_own_fields_as_built_in_ones_do() -> None:
    made = definitions(SCHEMA, "test/structures")
    schemas.define(made)
    old = {"spec": {"rules": [{"k": "a", "v": "1"}], "free": {"x": {"y": 1}}}}
    new = {"spec": {"rules": [{"k": "a", "v": "2"}, {"k": "b"}], "free": {"x": {"y": 2}}}}
    found = compare(old, new, schemas.definition("test/structures"))
    assert found.modified == {"f:spec": {"f:rules": {'k:{"k":"a"}': {"f:v": {}}}, "f:free": {"f:x": {"f:y": {}}}}}
    assert found.added == {"f:spec": {"f:rules": {'k:{"k":"b"}': {".": {}, "f:k": {}}}}}
