"""The metadata that every kind has: at creation, at updates."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.meta import Tree, copied
from clusterip.api.resources.core import CONFIG_MAP, NODE
from clusterip.api.resources.services import SERVICE
from clusterip.api.validation import (
    creation_errors,
    metadata_errors,
    metadata_update_errors,
    status_errors,
    update_errors,
)

OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


def made(**meta: Any) -> Tree:
    return {"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "1", **meta}}


REFUSED: list[tuple[Tree, str]] = [
    ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
    ({"name": "A"}, 'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain'),
    ({"name": "a/b"}, 'metadata.name: Invalid value: "a/b": a lowercase RFC 1123 subdomain'),
    ({"name": "a" * 254}, "must be no more than 253 characters"),
    ({"generateName": "AB-"}, 'metadata.generateName: Invalid value: "AB-"'),
    ({"namespace": "a.b"}, 'metadata.namespace: Invalid value: "a.b": must not contain dots'),
    ({"namespace": ""}, "metadata.namespace: Required value"),
    ({"labels": {"a": "b c"}}, 'metadata.labels: Invalid value: "b c": a valid label must be an empty string or'),
    ({"labels": {"a/b/c": ""}}, 'metadata.labels: Invalid value: "a/b/c": a valid label key must consist of'),
    ({"annotations": {"A b": ""}}, 'metadata.annotations: Invalid value: "A b": name part must consist of'),
    ({"annotations": {"a": "x" * 262144}}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
    ({"finalizers": ["a b"]}, 'metadata.finalizers: Invalid value: "a b": name part must consist of'),
    ({"finalizers": ["orphan", "foregroundDeletion"]}, "finalizer orphan and foregroundDeletion cannot be both set"),
    ({"generation": -1}, "metadata.generation: Invalid value: -1: must be greater than or equal to 0"),
    ({"ownerReferences": [{}]}, 'metadata.ownerReferences.uid: Invalid value: "": must not be empty'),
    ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, "/v1, Kind=Event is disallowed from being an owner"),
    (
        {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "q", "controller": True}]},
        'Only one reference can have Controller set to true. Found "true" in references for Pod/p and Pod/q',
    ),
]


@pytest.mark.parametrize(("meta", "text"), REFUSED, ids=[text[:50] for _, text in REFUSED])
def test_refuses(meta: Tree, text: str) -> None:
    found = list(map(str, metadata_errors(CONFIG_MAP, made(**meta))))
    assert any(text in error for error in found), found


def test_accepts() -> None:
    meta = {
        "generateName": "web-",
        "labels": {"app.kubernetes.io/name": "x"},
        "annotations": {"Example.com/Any": "text"},
        "finalizers": ["kubernetes", "example.com/hold"],
        "ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "q"}],
    }
    assert metadata_errors(CONFIG_MAP, made(**meta)) == []


def test_a_kind_has_its_own_rule_for_names() -> None:
    assert [e.field for e in metadata_errors(SERVICE, made(name="a.b"))] == ["metadata.name"]
    assert [e.field for e in metadata_errors(NODE, made(name="a.b"))] == ["metadata.namespace"]


def test_creation_judges_both() -> None:
    tree = {**made(name="A"), "data": {"a b": ""}}
    assert [e.field for e in creation_errors(CONFIG_MAP, tree)] == ["metadata.name", "data[a b]"]


IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp")


@pytest.mark.parametrize("field", IMMUTABLE)
def test_what_identifies_an_object_stays(field: str) -> None:
    (error,) = metadata_update_errors(made(**{field: "b"}), made(**{field: "a"}))
    assert str(error) == f'metadata.{field}: Invalid value: "b": field is immutable'


def test_the_generation_does_not_go_back() -> None:
    (error,) = metadata_update_errors(made(generation=1), made(generation=2))
    assert error.detail == "must not be decremented"


def test_nothing_more_holds_what_is_deleted() -> None:
    old = made(deletionTimestamp="t", finalizers=["a.b/c"])
    new = copied(old)
    new["metadata"]["finalizers"] = ["a.b/c", "a.b/e", "a.b/d"]
    found = update_errors(CONFIG_MAP, new, old)
    assert {error.detail for error in found} == {
        'no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.b/d", "a.b/e"}'
    }
    assert len(found) == 2  # as upstream, which asks twice


def test_a_status_is_judged_with_its_metadata() -> None:
    found = status_errors(CONFIG_MAP, made(labels={"a b": ""}), made())
    assert [error.field for error in found] == ["metadata.labels"] * 2
