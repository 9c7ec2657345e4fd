"""Devices that drivers offer and pods claim: defaults, rules, what a table shows, what a status may say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.meta import Tree, copied
from clusterip.api.resources.devices import DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EXACTLY: Tree = {"name": "gpu", "exactly": {"deviceClassName": "gpus"}}
CHOICE: Tree = {"name": "any", "firstAvailable": [{"name": "big", "deviceClassName": "a"}]}
SLICE: Tree = {"driver": "d.example.com", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}


def claim(*requests: Tree, **more: Any) -> Tree:
    tree: Tree = {"metadata": {"name": "a"}, "spec": {"devices": {"requests": list(copied(list(requests))), **more}}}
    RESOURCE_CLAIM.default(tree)
    return tree


def wrong(tree: Tree) -> list[str]:
    return [error.field for error in RESOURCE_CLAIM.validate(tree)]


def test_one_device_is_asked_for_unless_it_is_said_how_many():
    requests = claim(EXACTLY, CHOICE)["spec"]["devices"]["requests"]
    assert requests[0]["exactly"] == {"deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1}
    assert requests[1]["firstAvailable"][0]["count"] == 1
    template: Tree = {"spec": {"spec": {"devices": {"requests": [copied(EXACTLY)]}}}}
    RESOURCE_CLAIM_TEMPLATE.default(template)
    assert template["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] == 1


@pytest.mark.parametrize(
    ("requests", "more", "fields"),
    [
        ([EXACTLY, CHOICE], {}, []),
        ([EXACTLY, EXACTLY], {}, ["spec.devices.requests[1].name"]),
        ([{"name": "x"}], {}, ["spec.devices.requests[0]"]),
        ([{**EXACTLY, **CHOICE}], {}, ["spec.devices.requests[0]"]),
        ([{"name": "X", "exactly": {}}], {}, [
            "spec.devices.requests[0].name", "spec.devices.requests[0].exactly.deviceClassName"]),
        ([{"name": "x", "exactly": {"deviceClassName": "a", "allocationMode": "All", "count": 2}}], {},
         ["spec.devices.requests[0].exactly.count"]),
        ([{"name": "x", "exactly": {"deviceClassName": "a", "allocationMode": "Some"}}], {},
         ["spec.devices.requests[0].exactly.allocationMode"]),
        ([CHOICE], {"constraints": [{"requests": ["any/big"], "matchAttribute": "d/a"}]}, []),
        ([CHOICE], {"constraints": [{"requests": ["any/small"], "matchAttribute": "d/a"}]},
         ["spec.devices.constraints[0].requests[0]"]),
        ([EXACTLY], {"constraints": [{}]}, ["spec.devices.constraints[0]"]),
        ([EXACTLY], {"config": [{"opaque": {"driver": "d.e"}}]}, ["spec.devices.config[0].opaque.parameters"]),
        ([EXACTLY], {"config": [{}]}, ["spec.devices.config[0].opaque"]),
    ],
)  # fmt: skip
def test_what_a_claim_may_ask_for(requests, more, fields):
    assert wrong(claim(*requests, **more)) == fields


def test_a_claim_s_spec_stays():
    old, new = claim(EXACTLY), claim(CHOICE)
    assert [error.field for error in RESOURCE_CLAIM.validate_update(new, old)] == ["spec"]
    assert not RESOURCE_CLAIM.validate_update(old, copied(old))


def status_of(**status: Any) -> Tree:
    return {**claim(EXACTLY), "status": status}


USER: Tree = {"resource": "pods", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("new", "old", "fields"),
    [
        (status_of(allocation={}), status_of(), []),
        (status_of(allocation={}, reservedFor=[USER]), status_of(allocation={}), []),
        (status_of(reservedFor=[USER]), status_of(allocation={}), ["status.allocation"]),
        (status_of(allocation={}, reservedFor=[USER, USER]), status_of(), ["status.reservedFor[1].uid"]),
        (status_of(allocation={"devices": {"results": [{}]}}), status_of(allocation={}), ["status.allocation"]),
        (status_of(), status_of(allocation={}), []),
    ],
)
def test_what_a_claim_s_status_may_say(new, old, fields):
    assert [error.field for error in RESOURCE_CLAIM.validate_status(new, old)] == fields


def test_a_claim_that_is_given_back_forgets_what_drivers_said():
    new = status_of(devices=[{"driver": "d", "pool": "p", "device": "x"}])
    RESOURCE_CLAIM.prepare_status(new, status_of(allocation={}))
    assert "devices" not in new["status"]


@pytest.mark.parametrize(
    ("status", "metadata", "state"),
    [
        ({}, {}, "pending"),
        ({"allocation": {}}, {}, "allocated"),
        ({"allocation": {}, "reservedFor": [USER]}, {"deletionTimestamp": "x"}, "deleted,allocated,reserved"),
        ({}, {"deletionTimestamp": "x"}, "deleted"),
    ],
)
def test_the_state_of_a_claim(status, metadata, state):
    column = next(column for column in RESOURCE_CLAIM.columns if column.name == "State")
    assert column.cell({"metadata": metadata, "status": status}, NOW) == state


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({**SLICE, "nodeName": "n"}, []),
        (SLICE, ["spec"]),
        ({**SLICE, "nodeName": "n", "allNodes": True}, ["spec"]),
        ({**SLICE, "allNodes": True, "driver": ""}, ["spec.driver"]),
        ({**SLICE, "allNodes": True, "pool": {}}, ["spec.pool.name", "spec.pool.resourceSliceCount"]),
        ({**SLICE, "allNodes": True, "devices": [{"name": "a"}, {"name": "a"}]}, ["spec.devices[1].name"]),
        ({**SLICE, "allNodes": True, "devices": [{"name": "A"}]}, ["spec.devices[0].name"]),
    ],
)
def test_what_a_slice_may_offer(spec, fields):
    tree: Tree = {"metadata": {"name": "a"}, "spec": spec}
    assert [error.field for error in RESOURCE_SLICE.validate(tree)] == fields


def test_a_slice_stays_on_its_node_and_is_found_by_it():
    old: Tree = {"metadata": {"generation": 1}, "spec": {**SLICE, "nodeName": "n"}}
    new: Tree = {"metadata": {"generation": 1}, "spec": {**SLICE, "nodeName": "m"}}
    assert [error.field for error in RESOURCE_SLICE.validate_update(new, old)] == ["spec.nodeName"]
    assert RESOURCE_SLICE.fields["spec.nodeName"](old) == "n"
    RESOURCE_SLICE.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("selector", "fields"),
    [
        ({"cel": {"expression": "false"}}, []),
        ({}, ["spec.selectors[0].cel"]),
        ({"cel": {}}, ["spec.selectors[0].cel.expression"]),
        ({"cel": {"expression": "x" * 10241}}, ["spec.selectors[0].cel.expression"]),
    ],
)
def test_what_a_class_may_select(selector, fields):
    tree: Tree = {"metadata": {"name": "a"}, "spec": {"selectors": [selector]}}
    assert [error.field for error in DEVICE_CLASS.validate(tree)] == fields
