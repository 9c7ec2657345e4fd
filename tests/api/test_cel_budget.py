"""Rules that are too dear to be kept."""

from __future__ import annotations

from typing import Any

from clusterip.api.cel_rules import RULES, faults
from clusterip.api.crd_validation import errors, update_errors
from clusterip.api.meta import copied

HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are"
AT = "spec.validation.openAPIV3Schema"
TEXT: dict[str, Any] = {"type": "string", "maxLength": 40}


def ruled(schema: dict[str, Any], *rules: str) -> dict[str, Any]:
    return {**schema, RULES: [{"rule": rule} for rule in rules]}


def many(schema: dict[str, Any], limit: int | None) -> dict[str, Any]:
    items: dict[str, Any] = {"type": "array", "items": schema}
    return items if limit is None else {**items, "maxItems": limit}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def told(schema: dict[str, Any]) -> list[str]:
    return [str(each) for each in faults(schema, AT)]


def test_one_rule() -> None:
    schema = of(x=many(ruled({"type": "string"}, "self.matches('^a')"), None))
    assert told(schema) == [
        f"{AT}.properties[x].items.{RULES}[0].rule: Forbidden: estimated rule cost exceeds budget by factor of "
        f"more than 100x {HINT} declared)",
        f"{AT}.properties[x].items.{RULES}[0].rule: Forbidden: contributed to estimated rule cost total exceeding "
        "cost limit for entire OpenAPIv3 schema",
        f"{AT}: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds "
        f"budget by factor of more than 100x {HINT} declared)",
    ]
    assert told(of(x=many(ruled(TEXT, "self.matches('^a')"), 100))) == []


def test_a_factor_near_one_is_told_exactly() -> None:
    schema = of(x=many(ruled({**TEXT, "maxLength": 100}, "self == 'abcdefghijklmnopqrstuvwxyz'"), 3_000_000))
    assert [each.partition("factor of ")[2].partition(" ")[0] for each in told(schema)] == ["1.200000x"]


def test_all_rules_together() -> None:
    rule = "self.startsWith('" + "x" * 200 + "')"
    schema = of(**{f"x{n}": many(ruled(TEXT, *[rule] * 8), 400_000) for n in range(4)})
    found = told(schema)
    assert len(found) == 5
    assert found[-1].startswith(f"{AT}: Forbidden: x-kubernetes-validations estimated rule cost total for entire")
    assert "2.7x" in found[-1]


def test_a_message_is_made_once() -> None:
    rule = {"rule": "true", "messageExpression": "self.l.join(',')"}
    schema = of(x={**of(l=many({"type": "string"}, None)), RULES: [rule]})
    assert f"{AT}.properties[x].{RULES}[0].messageExpression: Forbidden: estimated messageExpression cost" in str(
        told(schema)
    )


def test_what_a_definition_had_already_may_stay() -> None:
    schema = of(x=many(ruled(TEXT, "self == 'abcdefgh'"), 9_000_000))
    names = {"plural": "pools", "singular": "pool", "kind": "Pool", "listKind": "PoolList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]}
    tree = {"metadata": {"name": "pools.example.com"}, "spec": {**spec, "conversion": {"strategy": "None"}}}
    assert [each.type for each in errors(tree)] == ["FieldValueForbidden"]
    assert update_errors(copied(tree), tree) == []
    new = copied(tree)
    new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "changed"
    assert [each.type for each in update_errors(new, tree)] == ["FieldValueForbidden"]
