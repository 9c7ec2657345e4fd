"""FlowSchemas and priority levels: defaults, what is refused in which words, and the fixed ones."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.flowdefaults import first_levels, first_schemas
from clusterip.api.meta import copied
from clusterip.api.resources.flowcontrol import FLOW_SCHEMA, PRIORITY_LEVEL

RULE: dict[str, Any] = {
    "subjects": [{"kind": "User", "user": {"name": "a"}}],
    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}],
}


def schema(**spec: Any) -> dict[str, Any]:
    spec = {"priorityLevelConfiguration": {"name": "l"}, "rules": [RULE], **spec}
    tree = {"metadata": {"name": "s"}, "spec": spec}
    FLOW_SCHEMA.default(tree)
    return tree


def level(**queuing: Any) -> dict[str, Any]:
    limited = {"limitResponse": {"type": "Queue", "queuing": queuing}}
    tree = {"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": limited}}
    PRIORITY_LEVEL.default(tree)
    return tree


def test_the_first_ones_are_valid_and_stay_as_they_are() -> None:
    for record, trees in ((FLOW_SCHEMA, first_schemas()), (PRIORITY_LEVEL, first_levels())):
        for tree in trees:
            before = copied(tree)
            record.default(tree)
            assert tree == before
            assert record.validate(tree) == []


def test_defaults() -> None:
    assert schema()["spec"]["matchingPrecedence"] == 1000
    assert level()["spec"]["limited"] == {
        "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}},
        "nominalConcurrencyShares": 30,
        "lendablePercent": 0,
    }


def rules(**changes: Any) -> list[dict[str, Any]]:
    return [{**RULE, **changes}]


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (schema(matchingPrecedence=-1), "must be a positive value"),
        (schema(matchingPrecedence=10001), "must not be greater than 10000"),
        (schema(matchingPrecedence=1), "only the schema named 'exempt' may have matchingPrecedence 1"),
        (schema(distinguisherMethod={"type": "ByName"}), "spec.distinguisherMethod.type: Unsupported value"),
        (schema(priorityLevelConfiguration={}), "must reference a priority level"),
        (schema(rules=rules(subjects=[])), "subjects must contain at least one value"),
        (schema(rules=rules(nonResourceRules=[])), "at least one of resourceRules and nonResourceRules"),
        (schema(rules=rules(subjects=[{"kind": "Dog"}])), "spec.rules[0].subjects[0].kind: Unsupported value"),
        (schema(rules=rules(subjects=[{"kind": "User"}])), "user is required when subject kind is 'User'"),
        (
            schema(rules=rules(nonResourceRules=[{"verbs": ["get", "*"], "nonResourceURLs": ["/a*b"]}])),
            "if '*' is present, must not specify other verbs",
        ),
        (
            schema(rules=rules(nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": ["/a*b"]}])),
            "wildcard can only do suffix matching",
        ),
        (
            schema(rules=rules(resourceRules=[{"verbs": ["see"], "apiGroups": ["*"], "resources": ["*"]}])),
            'spec.rules[0].resourceRules[0].verbs: Unsupported value: ["see"]',
        ),
        ({**schema(), "metadata": {"name": "exempt"}}, "spec of 'exempt' must equal the fixed value"),
    ],
)
def test_what_no_schema_may_be(tree: dict[str, Any], told: str) -> None:
    assert told in "; ".join(map(str, FLOW_SCHEMA.validate(tree)))


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (level(queues=-1), "spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive"),
        (level(queues=4, handSize=5), "should not be greater than queues (4)"),
        (level(queues=1024, handSize=8), "required entropy bits of deckSize 1024 and handSize 8"),
        ({"metadata": {"name": "l"}, "spec": {"type": "Exempt"}}, "must be 'Exempt' if and only if `name` is 'exempt'"),
        ({"metadata": {"name": "l"}, "spec": {"type": "Limited"}}, "must not be empty when type is Limited"),
        ({"metadata": {"name": "l"}, "spec": {"type": "Some"}}, "spec.type: Unsupported value"),
        ({**level(), "metadata": {"name": "catch-all"}}, "spec of 'catch-all' must equal the fixed value"),
    ],
)
def test_what_no_level_may_be(tree: dict[str, Any], told: str) -> None:
    assert told in "; ".join(map(str, PRIORITY_LEVEL.validate(tree)))
