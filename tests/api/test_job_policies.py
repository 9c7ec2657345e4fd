"""What a Job makes of pods that fail, and when it has succeeded."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.job_policies import counted, failure_errors, success_errors

POD = {"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}}
CODES = {"operator": "In", "values": [1, 2]}


def told(rule: dict[str, Any], **spec: Any) -> list[str]:
    policy = {"template": POD, "podFailurePolicy": {"rules": [rule]}, **spec}
    return [f"{error.field.removeprefix('p.rules[0]')}: {error.detail}" for error in failure_errors("p", policy)]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"action": "FailJob", "onExitCodes": {**CODES, "containerName": "i"}}, []),
        ({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}, []),
        ({"onExitCodes": CODES}, ['.action: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]']),
        ({"action": "Stop", "onExitCodes": CODES}, [".action: supported values: "]),
        ({"action": "FailIndex", "onExitCodes": CODES}, [".action: requires the backoffLimitPerIndex to be set"]),
        ({"action": "Count"}, [": specifying one of OnExitCodes and OnPodConditions is required"]),
        (
            {"action": "Count", "onExitCodes": CODES, "onPodConditions": [{"type": "A", "status": "True"}]},
            [": specifying both OnExitCodes and OnPodConditions is not supported"],
        ),
        (
            {"action": "Count", "onExitCodes": {"containerName": "x", "values": []}},
            ['.onExitCodes.operator: valid values: ["In" "NotIn"]', ".onExitCodes.containerName: must be one of", ""],
        ),
        (
            {"action": "Count", "onExitCodes": {"operator": "In", "values": [2, 0, 2]}},
            [".onExitCodes.values[1]: must not be 0", ".onExitCodes.values[2]: ", ".onExitCodes.values: must be ord"],
        ),
        (
            {"action": "Count", "onExitCodes": {"operator": "In", "values": list(range(1, 300))}},
            [".onExitCodes.values"],
        ),
        ({"action": "Count", "onPodConditions": [{"type": "A"}]}, [".onPodConditions[0].status: valid values: "]),
    ],
)
def test_failures(rule: dict[str, Any], found: list[str]) -> None:
    texts = told(rule)
    assert len(texts) == len(found)
    assert all(text.startswith(start) for text, start in zip(texts, found, strict=True)), texts


def test_a_value_that_is_left_out_is_not_shown() -> None:
    error = failure_errors("p", {"podFailurePolicy": {"rules": [{"action": "Count"}]}})[0]
    assert error.message().startswith("Invalid value: specifying one of")


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"succeededIndexes": "0,2-3", "succeededCount": 3}, []),
        ({}, ["at least one of succeededCount or succeededIndexes must be specified"]),
        ({"succeededCount": 6}, ["must be less than or equal to 5 (the number of specified completions)"]),
        ({"succeededIndexes": "1", "succeededCount": 2}, ["must be less than or equal to 1 (the number of indexes"]),
        ({"succeededIndexes": "9"}, ['error parsing succeededIndexes: too large index: "9"']),
        ({"succeededCount": -1}, ["must be greater than or equal to 0"]),
    ],
)
def test_success(rule: dict[str, Any], found: list[str]) -> None:
    spec = {"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [rule]}}
    errors = success_errors("p", spec)
    assert [error.detail[: len(text)] for error, text in zip(errors, found, strict=True)] == found


def test_success_of_jobs_without_indexes() -> None:
    policy = {"rules": [{"succeededCount": 1}]}
    (error,) = success_errors("p", {"completionMode": "NonIndexed", "successPolicy": policy})
    assert error.value == {"Rules": [{"SucceededIndexes": None, "SucceededCount": 1}]}
    (none,) = success_errors("p", {"completionMode": "Indexed", "successPolicy": {}})
    assert none.field == "p.rules"


@pytest.mark.parametrize("text", ["a", "1-a", "3-2", "2,1", "1-2-3", "5", "0-5", "0,0"])
def test_lists_of_indexes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"index|order|fragment"):
        counted(text, 5)


def test_lists_of_indexes() -> None:
    assert [counted(text, 5) for text in ("", "0", "0-4", "1,3-4")] == [0, 1, 5, 3]
