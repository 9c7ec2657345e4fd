"""Rules of schemas, judged and asked."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api import cel_rules
from clusterip.api.errors import required


def schema(rules: list[dict[str, Any]], **properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": rules}
    return {"type": "object", "properties": {"spec": spec}}


def told(rules: list[dict[str, Any]], spec: Any, old: Any = None, **properties: Any) -> list[str]:
    tree = {"metadata": {"name": "a"}, "spec": spec}
    before = None if old is None else {"metadata": {"name": "a"}, "spec": old}
    return [str(error) for error in cel_rules.errors(tree, before, schema(rules, **properties), [])]


INTEGER, STRING = {"type": "integer"}, {"type": "string"}
LESS = {"rule": "self.min <= self.max"}


def test_a_rule_refuses() -> None:
    numbers = {"min": INTEGER, "max": INTEGER}
    assert told([LESS], {"min": 1, "max": 2}, **numbers) == []
    assert told([LESS], {"min": 3, "max": 2}, **numbers) == ["spec: Invalid value: failed rule: self.min <= self.max"]
    assert told([{**LESS, "message": "min is too large "}], {"min": 3, "max": 2}, **numbers) == [
        "spec: Invalid value: min is too large"
    ]
    expression = {**LESS, "messageExpression": "'%d > %d'.format([self.min, self.max])"}
    assert told([expression], {"min": 3, "max": 2}, **numbers) == ["spec: Invalid value: 3 > 2"]
    assert told([LESS], {"min": 3}, **numbers) == [
        'spec: Invalid value: "object": no such key: max evaluating rule: self.min <= self.max'
    ]


def test_reason_and_field_path() -> None:
    rule = {**LESS, "message": "no", "fieldPath": ".min"}
    numbers = {"min": INTEGER, "max": INTEGER}
    for reason, text in (
        ("FieldValueForbidden", "spec.min: Forbidden: no"),
        ("FieldValueRequired", "spec.min: Required value: no"),
        ("FieldValueInvalid", "spec.min: Invalid value: no"),
    ):
        assert told([{**rule, "reason": reason}], {"min": 3, "max": 2}, **numbers) == [text]


def test_transitions() -> None:
    rule = [{"rule": "self == oldSelf", "message": "must not change"}]
    name = {**STRING, "x-kubernetes-validations": rule}
    assert told([], {"name": "a"}, name=name) == []
    assert told([], {"name": "a"}, {"name": "a"}, name=name) == []
    assert told([], {"name": "b"}, {"name": "a"}, name=name) == ['spec.name: Invalid value: "b": must not change']
    optional = [{"rule": "!oldSelf.hasValue() || self == oldSelf.value()", "optionalOldSelf": True, "message": "x"}]
    name = {**STRING, "x-kubernetes-validations": optional}
    assert told([], {"name": "a"}, name=name) == []
    assert told([], {"name": "b"}, {"name": "a"}, name=name) == ['spec.name: Invalid value: "b": x']


def test_what_did_not_change_is_not_asked_again() -> None:
    numbers = {"min": INTEGER, "max": INTEGER}
    assert told([LESS], {"min": 3, "max": 2}, {"min": 3, "max": 2}, **numbers) == []
    assert told([LESS], {"min": 4, "max": 2}, {"min": 3, "max": 2}, **numbers)


def test_items_are_found_by_their_keys() -> None:
    rule = [{"rule": "self.port == oldSelf.port", "message": "fixed"}]
    item = {"type": "object", "properties": {"name": STRING, "port": INTEGER}, "x-kubernetes-validations": rule}
    ports = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    old = {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}
    new = {"ports": [{"name": "b", "port": 2}, {"name": "a", "port": 5}, {"name": "c", "port": 9}]}
    assert told([], new, old, ports=ports) == ["spec.ports[1]: Invalid value: fixed"]


def test_names_numbers_and_what_the_schema_lacks() -> None:
    rules = [
        {"rule": "self.__namespace__ == 'x' && self.a__dash__b == 1"},
        {"rule": "self.number > 1.5 && !has(self.other)"},
        {"rule": "self.labels['a-b'] == 'c'"},
    ]
    more = {"type": "object", "additionalProperties": STRING}
    spec = {"namespace": "x", "a-b": 1, "number": 2, "other": 1, "labels": {"a-b": "c"}}
    properties = {"namespace": STRING, "a-b": INTEGER, "number": {"type": "number"}, "labels": more}
    assert told(rules, spec, **properties) == []


def test_the_root_sees_its_name_only() -> None:
    found = {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('b')"}]}
    errors = cel_rules.errors({"metadata": {"name": "a", "labels": {}}}, None, found, [])
    assert [str(error) for error in errors] == ["<nil>: Invalid value: failed rule: self.metadata.name.startsWith('b')"]


def test_a_broken_object_is_not_asked() -> None:
    (error,) = cel_rules.errors({"metadata": {}, "spec": {}}, None, schema([LESS]), [required("spec.min")])
    assert str(error) == f"<nil>: Invalid value: null: {cel_rules.NOT_CHECKED}"


@pytest.mark.parametrize(
    ("rule", "field", "text"),
    [
        ({"rule": " "}, "rule", "Required value: rule is not specified"),
        ({"rule": "true", "message": " "}, "message", "must be non-empty if specified"),
        ({"rule": "true\n"}, "", ""),
        ({"rule": "true &&\ntrue"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "true", "reason": "x"}, "reason", 'supported values: "FieldValueDuplicate", "FieldValueForbidden"'),
        ({"rule": "self."}, "rule", "compilation failed: ERROR: <input>:1:6: Syntax error"),
        ({"rule": "self.a"}, "rule", "undefined field 'a'"),
        ({"rule": "true", "fieldPath": ".a"}, "fieldPath", "must be a valid path"),
        ({"rule": "1"}, "rule", "cel expression must evaluate to a bool"),
        (
            {"rule": "true", "messageExpression": "1"},
            "messageExpression",
            "messageExpression must evaluate to a string",
        ),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    ],
)
def test_rules_are_judged(rule: dict[str, Any], field: str, text: str) -> None:
    found = list(cel_rules.faults(schema([rule]), "s"))
    assert [error.field for error in found] == (
        [f"s.properties[spec].x-kubernetes-validations[0].{field}"] if field else []
    )
    assert all(text in str(error) for error in found)


def test_times_and_lists() -> None:
    time, span = {**STRING, "format": "date-time"}, {**STRING, "format": "duration"}
    numbers = {"type": "array", "items": INTEGER}
    rules = [
        {"rule": "has(self.t) && self.t < timestamp('2030-01-01T00:00:00Z')"},
        {"rule": "self.d > duration('1s') && duration(self.d).getSeconds() == 2"},
        {"rule": "self.l.indexOf(2) == 1 && self.l.lastIndexOf(3) == -1 && self.s.indexOf('b') == 1"},
    ]
    spec = {"t": "2020-01-01T00:00:00Z", "d": "2s", "l": [1, 2], "s": "ab"}
    assert told(rules, spec, t=time, d=span, l=numbers, s=STRING) == []


def test_items_without_a_past_have_no_old_self() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    (error,) = cel_rules.faults({"type": "object", "properties": {"a": {"type": "array", "items": item}}}, "s")
    assert error.field == "s.properties[a].items.x-kubernetes-validations[0].rule"
    assert error.detail.endswith("uncorrelatable portion of the schema within s.properties[a]")
