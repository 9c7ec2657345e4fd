"""PodDisruptionBudgets and PriorityClasses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.resources.policy import POD_DISRUPTION_BUDGET
from clusterip.api.resources.scheduling import PRIORITY_CLASS, system_classes

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"minAvailable": 1}, []),
        ({"maxUnavailable": "50%"}, []),
        ({"minAvailable": 1, "maxUnavailable": 1}, ["spec"]),
        ({"minAvailable": "101%"}, ["spec.minAvailable"]),
        ({"maxUnavailable": -1}, ["spec.maxUnavailable"]),
        ({"unhealthyPodEvictionPolicy": "Never"}, ["spec.unhealthyPodEvictionPolicy"]),
    ],
)
def test_budgets(spec: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in POD_DISRUPTION_BUDGET.validate({"spec": spec})] == fields


def test_what_a_budget_shows() -> None:
    tree = {"metadata": {"name": "a"}, "spec": {"maxUnavailable": "50%"}, "status": {"disruptionsAllowed": 2}}
    assert [column.cell(tree, NOW) for column in POD_DISRUPTION_BUDGET.columns][:4] == ["a", "N/A", "50%", 2]


def priority(name: str = "high", value: int = 1, **more: Any) -> dict[str, Any]:
    tree = {"metadata": {"name": name}, "value": value, **more}
    PRIORITY_CLASS.default(tree)
    return tree


@pytest.mark.parametrize(
    ("tree", "fields"),
    [
        (priority(), []),
        (priority(value=1_000_000_001), ["value"]),
        (priority("system-mine"), ["metadata.name"]),
        (priority(preemptionPolicy="Maybe"), ["preemptionPolicy"]),
    ],
)
def test_classes(tree: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in PRIORITY_CLASS.validate(tree)] == fields


def test_the_systems_own_classes_are_right() -> None:
    for tree in system_classes():
        PRIORITY_CLASS.default(tree)
        assert PRIORITY_CLASS.validate(tree) == []


def test_a_class_keeps_its_value() -> None:
    assert [error.field for error in PRIORITY_CLASS.validate_update(priority(value=2), priority())] == ["value"]
