"""Configuration, namespaces, nodes: defaults, rules and cells beyond the recorded answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.meta import Tree, copied
from clusterip.api.resource import Resource
from clusterip.api.resources.core import CONFIG_MAP, NAMESPACE, NODE, SECRET

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made(resource: Resource, **fields: Any) -> Tree:
    tree: Tree = {"metadata": {"name": "a"}, **fields}
    resource.default(tree)
    resource.prepare_create(tree)
    return tree


def texts(resource: Resource, **fields: Any) -> list[str]:
    return sorted(map(str, resource.validate(made(resource, **fields))))


def cells(resource: Resource, tree: Tree) -> dict[str, Any]:
    return {column.name: column.cell(tree, NOW) for column in resource.columns}


# --- ConfigMap and Secret --------------------------------------------------------------------------------------------


def test_a_key_is_in_one_place() -> None:
    found = texts(CONFIG_MAP, data={"k": "v"}, binaryData={"k": "YQ=="})
    assert found == ['binaryData[k]: Invalid value: "k": duplicate of key present in data']


def test_a_megabyte_at_most() -> None:
    (only,) = texts(CONFIG_MAP, data={"k": "x" * (1024 * 1024 + 1)})
    assert only.endswith("Too long: may not be more than 1048576 bytes")


def test_immutable_is_for_ever() -> None:
    old = made(CONFIG_MAP, immutable=True, data={"a": "b"})
    new = {**copied(old), "immutable": False, "data": {}}
    assert sorted(e.field for e in CONFIG_MAP.validate_update(new, old)) == ["data", "immutable"]
    assert CONFIG_MAP.validate_update({**copied(old), "metadata": {"name": "a", "labels": {"x": "y"}}}, old) == []


def test_texts_of_a_secret_become_data() -> None:
    tree = made(SECRET, data={"a": "YQ==", "b": "YQ=="}, stringData={"b": "c"})
    assert tree["data"] == {"a": "YQ==", "b": "Yw=="}
    assert tree["type"] == "Opaque"
    assert "stringData" not in tree
    assert (cells(SECRET, tree)["Data"], cells(SECRET, tree)["Type"]) == (2, "Opaque")


SECRETS: list[tuple[str, Tree, list[str]]] = [
    ("kubernetes.io/tls", {"tls.crt": "", "tls.key": ""}, []),
    ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]: Required value"]),
    (
        "kubernetes.io/basic-auth",
        {},
        ["data[password]: Required value", "data[username]: Required value"],
    ),
    ("kubernetes.io/basic-auth", {"username": "YQ=="}, []),
    ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "e30="}, []),
    (
        "kubernetes.io/service-account-token",
        {},
        ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    ),
]


@pytest.mark.parametrize(("kind", "contents", "expected"), SECRETS)
def test_types_of_secrets(kind: str, contents: Tree, expected: list[str]) -> None:
    assert texts(SECRET, type=kind, data=contents) == expected


# --- Namespace -------------------------------------------------------------------------------------------------------


def test_a_new_namespace() -> None:
    tree = made(NAMESPACE)
    assert tree["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert tree["spec"] == {"finalizers": ["kubernetes"]}
    assert tree["status"] == {"phase": "Active"}


def test_finalizers_of_a_namespace_stay_in_an_update() -> None:
    old = made(NAMESPACE)
    new = {**copied(old), "spec": {}}
    NAMESPACE.prepare_update(new, old)
    assert new["spec"] == old["spec"]


@pytest.mark.parametrize(
    ("phase", "deleted", "right"),
    [("Active", "", True), ("Terminating", "t", True), ("Terminating", "", False), ("Active", "t", False)],
)
def test_the_phase_says_whether_it_ends(phase: str, deleted: str, right: bool) -> None:
    tree = {"metadata": {"name": "a", "deletionTimestamp": deleted}, "status": {"phase": phase}}
    assert (NAMESPACE.validate_status(tree, tree) == []) == right


# --- Node ------------------------------------------------------------------------------------------------------------


def test_a_new_node_is_not_ready() -> None:
    assert made(NODE)["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def test_pod_ranges_are_said_twice() -> None:
    assert made(NODE, spec={"podCIDR": "10.0.0.0/24"})["spec"]["podCIDRs"] == ["10.0.0.0/24"]
    assert made(NODE, spec={"podCIDRs": ["10.0.0.0/24"]})["spec"]["podCIDR"] == "10.0.0.0/24"


NODES: list[tuple[Tree, str]] = [
    ({"podCIDRs": ["10.0.0.1/24"]}, "spec.podCIDRs[0]: Invalid value"),
    ({"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}, "may specify no more than one CIDR for each IP family"),
    ({"taints": [{"key": "a", "effect": "Never"}]}, 'metadata.taints[0].effect: Unsupported value: "Never"'),
    ({"taints": [{"key": "a", "effect": "NoExecute"}] * 2}, "metadata.taints[1]: Duplicate value"),
]


@pytest.mark.parametrize(("spec", "text"), NODES)
def test_refused_nodes(spec: Tree, text: str) -> None:
    found = texts(NODE, spec=spec)
    assert any(text in error for error in found), found


@pytest.mark.parametrize(
    ("conditions", "unschedulable", "word"),
    [
        ([], False, "Unknown"),
        ([{"type": "Ready", "status": "True"}], False, "Ready"),
        ([{"type": "Ready", "status": "Unknown"}], False, "NotReady"),
        ([{"type": "Ready", "status": "True"}], True, "Ready,SchedulingDisabled"),
    ],
)
def test_the_status_of_a_node(conditions: list[Tree], unschedulable: bool, word: str) -> None:
    tree = {"metadata": {"name": "a"}, "spec": {"unschedulable": unschedulable}, "status": {"conditions": conditions}}
    assert cells(NODE, tree)["Status"] == word


def test_roles_and_addresses_of_a_node() -> None:
    labels = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/etcd": "", "kubernetes.io/role": "x"}
    addresses = [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "192.168.4.101"}]
    tree = {"metadata": {"name": "a", "labels": labels}, "status": {"addresses": addresses}}
    found = cells(NODE, tree)
    assert (found["Roles"], found["Internal-IP"], found["External-IP"]) == ("etcd,worker,x", "192.168.4.101", "<none>")
    assert found["Kernel-Version"] == "<unknown>"
