"""What the recorded Ingresses do not say, and IngressClasses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.resources.ingresses import INGRESS, INGRESS_CLASS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ingress(*rules: Any, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"rules": list(rules), **spec}}


def rule(backend: dict[str, Any], host: str = "", path: str = "/") -> dict[str, Any]:
    return {"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}


SERVICE = {"service": {"name": "web", "port": {"number": 80}}}
BACKEND = "spec.rules[0].http.paths[0].backend"


@pytest.mark.parametrize(
    ("backend", "fields"),
    [
        (SERVICE, []),
        ({}, [BACKEND]),
        ({**SERVICE, "resource": {"kind": "K", "name": "n"}}, [BACKEND]),
        ({"resource": {"kind": "K"}}, [f"{BACKEND}.resource.name"]),
        ({"service": {"port": {"name": "http"}}}, [f"{BACKEND}.service.name"]),
        ({"service": {"name": "web"}}, [BACKEND]),
        ({"service": {"name": "web", "port": {"number": 70000}}}, [f"{BACKEND}.service.port.number"]),
        ({"service": {"name": "web", "port": {"name": "HTTP!"}}}, [f"{BACKEND}.service.port.name"] * 2),
    ],
)
def test_backends(backend: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in INGRESS.validate(ingress(rule(backend)))] == fields


@pytest.mark.parametrize("path", ["/a/..", "/.", "/a%2Fb"])
def test_paths_that_mean_another(path: str) -> None:
    assert [error.field for error in INGRESS.validate(ingress(rule(SERVICE, path=path)))] == [
        "spec.rules[0].http.paths[0].path"
    ]


def test_the_annotation_of_old_must_agree() -> None:
    tree = ingress(rule(SERVICE), ingressClassName="a")
    tree["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "b"}
    assert [error.detail for error in INGRESS.validate(tree)] == [
        "must match `ingressClassName` when both are specified"
    ]
    assert INGRESS.validate_update(tree, tree) == []


def test_many_hosts_are_counted() -> None:
    tree = ingress(*(rule(SERVICE, host=f"{name}.example.com") for name in "abcd"), tls=[{}])
    cells = [column.cell(tree, NOW) for column in INGRESS.columns]
    assert cells[1:5] == ["<none>", "a.example.com,b.example.com,c.example.com + 1 more...", "", "80, 443"]


def ingress_class(controller: str = "example.com/c", **parameters: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {"metadata": {"name": "c"}, "spec": {"controller": controller}}
    if parameters:
        tree["spec"]["parameters"] = parameters
    INGRESS_CLASS.default(tree)
    return tree


@pytest.mark.parametrize(
    ("tree", "fields"),
    [
        (ingress_class(), []),
        (ingress_class("nginx"), ["spec.controller"]),
        (ingress_class("Bad_/x"), ["spec.controller"]),
        (ingress_class("a.b/" + "x" * 250), ["spec.controller"]),
        (ingress_class(kind="K", name="n", scope="Cluster", namespace="x"), ["spec.parameters.namespace"]),
        (ingress_class(kind="K", name="n", scope="Namespace"), ["spec.parameters.namespace"]),
        (ingress_class(kind="K", scope="Odd"), ["spec.parameters.name", "spec.parameters.scope"]),
    ],
)
def test_classes(tree: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in INGRESS_CLASS.validate(tree)][: len(fields) or None] == fields


def test_a_class_keeps_its_controller() -> None:
    found = INGRESS_CLASS.validate_update(ingress_class("example.com/d"), ingress_class())
    assert [error.field for error in found] == ["spec.controller"]


def test_what_a_class_shows() -> None:
    tree = ingress_class(kind="K", name="n", apiGroup="example.com")
    assert [column.cell(tree, NOW) for column in INGRESS_CLASS.columns][1:3] == ["example.com/c", "K.example.com/n"]
