"""How large what schemas describe can be."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.cel_rules import escaped
from clusterip.api.cel_sizes import REQUEST, at_most, declared, times

STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "kind", "most", "least"),
    [
        (STRING, "string", REQUEST - 2, 2),
        ({**STRING, "maxLength": 5}, "string", 20, 2),
        ({**STRING, "enum": ["a", "bcd"]}, "string", 3, 2),
        ({**STRING, "format": "date-time"}, "timestamp", 32, 21),
        ({**STRING, "format": "byte", "maxLength": 5}, "bytes", 5, 2),
        ({"type": "integer"}, "int", 0, 1),
        ({"x-kubernetes-int-or-string": True}, "dyn", REQUEST - 2, 1),
        ({"type": "array", "items": STRING}, "list", (REQUEST - 2) // 3, 2),
        ({"type": "array", "items": STRING, "maxItems": 7}, "list", 7, 2),
        ({"type": "object", "additionalProperties": STRING}, "map", (REQUEST - 2) // 8, 2),
        ({"type": "object", "properties": {"name": STRING}, "required": ["name"]}, "object", 0, 12),
    ],
)
def test_sizes(schema: dict[str, Any], kind: str, most: int, least: int) -> None:
    found = declared(schema, escaped)
    assert found is not None
    assert (found.kind, found.most, found.least) == (kind, most, least)


def test_what_no_rule_sees_has_no_type() -> None:
    kept = {"x-kubernetes-preserve-unknown-fields": True}
    assert declared(kept, escaped) is None
    assert declared({"type": "array", "items": kept}, escaped) is None
    found = declared({"type": "object", "properties": {"a": kept, "b-c": STRING}}, escaped)
    assert found is not None
    assert list(found.fields) == ["b__dash__c"]


def test_how_often_a_value_can_be_there() -> None:
    assert times(3, {"type": "array", "maxItems": 5}) == 15
    assert times(3, {"type": "array"}) is None
    assert times(None, {"type": "array", "maxItems": 5}) is None
    assert times(3, {"type": "object", "additionalProperties": STRING, "maxProperties": 2}) == 6
    assert times(3, {"type": "object", "maxProperties": 2}) == 3
    text = declared(STRING, escaped)
    assert text is not None
    assert at_most(text) == REQUEST // 3
