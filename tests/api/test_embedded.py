"""Objects inside custom resources."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.embedded import embedded_errors, metadata
from clusterip.api.structural import decoded

KEEPS = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
SCHEMA = {"type": "object", "properties": {"spec": KEEPS, "many": {"type": "array", "items": KEEPS}}}


@pytest.mark.parametrize(
    ("spec", "faults"),
    [
        ({"apiVersion": "v1", "kind": "Pod"}, []),
        ({}, ["spec.apiVersion: Required value", "spec.kind: Required value"]),
        ({"apiVersion": "v1", "kind": ""}, ['spec.kind: Invalid value: "": must not be empty']),
        (
            {"apiVersion": "a/b/c", "kind": "x"},
            ['spec.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'],
        ),
    ],
)
def test_what_an_object_says_of_itself(spec: dict[str, Any], faults: list[str]) -> None:
    assert [str(error) for error in embedded_errors({"spec": spec}, SCHEMA)] == faults


def test_metadata_of_an_object_inside_is_judged() -> None:
    inside = {"apiVersion": "v1", "kind": "x", "metadata": {"name": "B_d", "namespace": "X", "labels": {"a b": "c"}}}
    found = [error.field for error in embedded_errors({"many": [inside]}, SCHEMA)]
    assert found == ["many[0].metadata.namespace", "many[0].metadata.labels"]


def test_of_metadata_only_what_every_object_has_is_kept() -> None:
    spec = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "foo": 1, "creationTimestamp": None}, "z": 1}
    found = decoded({"metadata": {"name": "a"}, "spec": spec, "bar": 1}, SCHEMA)
    assert found.tree["spec"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "z": 1}
    assert found.unknown == ['unknown field "bar"', 'unknown field "spec.metadata.foo"']


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"apiVersion": 5}, "spec.apiVersion: Invalid value: 5: must be a string"),
        (
            {"metadata": 5},
            "spec.metadata: Invalid value: 5: json: cannot unmarshal number into Go value of type v1.ObjectMeta",
        ),
    ],
)
def test_what_cannot_be_read(spec: dict[str, Any], why: str) -> None:
    assert decoded({"metadata": {"name": "a"}, "spec": spec}, SCHEMA).error == why


def test_metadata_that_is_none() -> None:
    assert metadata("x").error == "json: cannot unmarshal string into Go value of type v1.ObjectMeta"
    assert metadata(None) == (None, [], "", "")
