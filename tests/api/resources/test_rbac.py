"""Roles and bindings that are refused, defaulted, shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.resources.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, GROUP, ROLE, ROLE_BINDING


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, []),
        ({"apiGroups": [""], "resources": ["pods"]}, ["rules[0].verbs"]),
        ({"verbs": ["get"]}, ["rules[0].apiGroups", "rules[0].resources"]),
        ({"verbs": ["get"], "nonResourceURLs": ["/x"]}, ["rules[0].nonResourceURLs"]),
    ],
)
def test_rules(rule: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in ROLE.validate({"rules": [rule]})] == fields


def test_cluster_roles_may_speak_of_paths_but_not_of_both() -> None:
    assert CLUSTER_ROLE.validate({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}) == []
    both = {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}
    assert [error.field for error in CLUSTER_ROLE.validate({"rules": [both]})] == ["rules[0].nonResourceURLs"]
    aggregated = {"aggregationRule": {"clusterRoleSelectors": []}}
    assert [error.field for error in CLUSTER_ROLE.validate(aggregated)] == ["aggregationRule.clusterRoleSelectors"]


def binding(*subjects: dict[str, Any], **reference: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns"},
        "roleRef": {"kind": "Role", "name": "r", **reference},
        "subjects": list(subjects),
    }


def test_defaults() -> None:
    tree = binding({"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "a"})
    ROLE_BINDING.default(tree)
    assert tree["roleRef"]["apiGroup"] == GROUP
    assert tree["subjects"] == [
        {"kind": "User", "name": "u", "apiGroup": GROUP},
        {"kind": "ServiceAccount", "name": "a"},
    ]


@pytest.mark.parametrize(
    ("tree", "fields"),
    [
        (binding(), []),
        (binding(kind="Thing"), ["roleRef.kind"]),
        (binding(name=""), ["roleRef.name"]),
        (binding({"kind": "User"}), ["subjects[0].name"]),
        (binding({"kind": "Group", "name": "g", "namespace": "x"}), ["subjects[0].namespace"]),
        (binding({"kind": "ServiceAccount", "name": "Bad!"}), ["subjects[0].name"]),
        (binding({"kind": "Robot", "name": "r"}), ["subjects[0].kind"]),
    ],
)
def test_bindings(tree: dict[str, Any], fields: list[str]) -> None:
    ROLE_BINDING.default(tree)
    assert [error.field for error in ROLE_BINDING.validate(tree)] == fields


def test_a_cluster_binding_needs_a_cluster_role_and_namespaces() -> None:
    tree = binding({"kind": "ServiceAccount", "name": "a"})
    del tree["metadata"]["namespace"]
    CLUSTER_ROLE_BINDING.default(tree)
    assert [error.field for error in CLUSTER_ROLE_BINDING.validate(tree)] == ["roleRef.kind", "subjects[0].namespace"]


def test_what_is_shown() -> None:
    tree = binding(
        {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "name": "a"}
    )
    ROLE_BINDING.default(tree)
    cells = [column.cell(tree, datetime(2026, 1, 1, tzinfo=UTC)) for column in ROLE_BINDING.columns]
    assert cells[1] == "Role/r"
    assert cells[3:] == ["u, v", "", "/a"]
