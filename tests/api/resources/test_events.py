"""Events: two forms of one thing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.meta import Tree
from clusterip.api.resources.events import EVENT, NEW_EVENT, from_core, to_core

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ABOUT = {"kind": "Pod", "namespace": "ns", "name": "p", "fieldPath": "spec.containers{c}"}
OLD: Tree = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "ns"},
    "involvedObject": ABOUT,
    "reason": "Started",
    "message": " it runs \n",
    "type": "Normal",
    "source": {"component": "node", "host": "node-1"},
    "firstTimestamp": "2026-01-02T03:03:00Z",
    "lastTimestamp": "2026-01-02T03:04:00Z",
    "count": 3,
    "reportingComponent": "node",
}
NEW: Tree = {
    "metadata": {"name": "e", "namespace": "ns"},
    "regarding": ABOUT,
    "reason": "Started",
    "action": "Start",
    "type": "Normal",
    "eventTime": "2026-01-02T03:04:00.000000Z",
    "reportingController": "node",
    "reportingInstance": "node-1",
}


def cells(tree: Tree, columns: Any) -> dict[str, Any]:
    return {column.name: column.cell(tree, NOW) for column in columns}


def test_there_and_back() -> None:
    assert to_core(from_core(OLD)) == OLD
    assert from_core(OLD)["note"] == OLD["message"]
    assert from_core(OLD)["apiVersion"] == "events.k8s.io/v1"


def test_the_table_is_the_same_in_both_forms() -> None:
    old = cells(OLD, EVENT.columns)
    assert old == cells(from_core(OLD), NEW_EVENT.columns)
    assert (old["Last Seen"], old["First Seen"], old["Count"]) == ("5s", "65s", 3)
    assert (old["Object"], old["Subobject"], old["Message"]) == ("pod/p", "spec.containers{c}", "it runs")
    assert old["Source"] == "node, node-1"


def test_a_series_counts_for_itself() -> None:
    series = {"count": 7, "lastObservedTime": "2026-01-02T03:04:03.000000Z"}
    found = cells({**to_core(NEW), "series": series}, EVENT.columns)
    assert (found["Last Seen"], found["First Seen"], found["Count"]) == ("2s", "5s", 7)


def test_fields_are_selected_in_both_forms() -> None:
    assert EVENT.fields["involvedObject.name"](OLD) == "p"
    assert NEW_EVENT.fields["regarding.name"](from_core(OLD)) == "p"
    assert EVENT.fields["source"](OLD) == "node"


def test_right_ones() -> None:
    assert EVENT.validate(OLD) == []
    assert NEW_EVENT.validate(NEW) == []


REFUSED: list[tuple[Tree, list[str]]] = [
    ({"eventTime": None}, ["eventTime"]),
    ({"type": "Odd"}, ["type"]),
    ({"action": ""}, ["action"]),
    ({"reportingController": "a b"}, ["reportingController"]),
    ({"deprecatedCount": 2}, ["count"]),
    ({"series": {"count": 1}}, ["series.count", "series.lastObservedTime"]),
    ({"note": "x" * 1025}, ["message"]),
]


@pytest.mark.parametrize(("fields", "expected"), REFUSED)
def test_the_newer_group_is_strict(fields: Tree, expected: list[str]) -> None:
    assert [error.field for error in NEW_EVENT.validate({**NEW, **fields})] == expected


def test_an_event_is_where_its_object_is() -> None:
    (error,) = EVENT.validate({**OLD, "metadata": {"name": "e", "namespace": "other"}})
    assert str(error) == 'involvedObject.namespace: Invalid value: "ns": does not match event.namespace'


def test_only_the_series_of_a_newer_event_changes() -> None:
    series = {"count": 2, "lastObservedTime": "2026-01-02T03:04:03.000000Z"}
    assert NEW_EVENT.validate_update({**NEW, "series": series}, NEW) == []
    assert [e.field for e in NEW_EVENT.validate_update({**NEW, "reason": "Other"}, NEW)] == ["reason"]
