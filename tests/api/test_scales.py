"""The numbers that a custom resource is scaled by."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.resource import ScalePaths
from clusterip.api.scales import errors

SCALE = ScalePaths(("spec", "r"), ("status", "r"), ("status", "sel"))


@pytest.mark.parametrize(
    ("tree", "faults"),
    [
        ({}, []),
        ({"spec": {"r": 3}, "status": {"r": 0, "sel": "a=b"}}, []),
        ({"spec": {"r": -1}}, [".spec.r: Invalid value: -1: should be a non-negative integer"]),
        ({"spec": {"r": 2**31}}, [f".spec.r: Invalid value: {2**31}: should be less than or equal to {2**31 - 1}"]),
        (
            {"spec": {"r": "x"}},
            [".spec.r: Invalid value: 0: .spec.r accessor error: x is of the type string, expected int64"],
        ),
        (
            {"status": {"r": 1, "sel": 5}},
            ['.status.sel: Invalid value: "": .status.sel accessor error: 5 is of the type int64, expected string'],
        ),
    ],
)
def test_what_is_refused(tree: dict[str, Any], faults: list[str]) -> None:
    assert [str(error) for error in errors(tree, SCALE, ("spec", "status"))] == faults


def test_a_status_alone_is_judged_alone() -> None:
    assert errors({"spec": {"r": -1}}, SCALE, ("status",)) == []
    assert errors({"spec": {"r": -1}}, None, ("spec",)) == []
