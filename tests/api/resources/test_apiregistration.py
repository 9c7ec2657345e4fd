"""APIServices: names that follow from group and version, what a table shows of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clusterip.api.meta import Tree, copied
from clusterip.api.resources.apiregistration import API_SERVICE, local_service

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SPEC: Tree = {"group": "a.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
SERVICE: Tree = {"namespace": "x", "name": "y"}


def made(name: str = "v1.a.io", **spec: object) -> Tree:
    tree: Tree = {"metadata": {"name": name}, "spec": {**copied(SPEC), **spec}}
    API_SERVICE.default(tree)
    return tree


@pytest.mark.parametrize(
    ("tree", "fields"),
    [
        (made(), []),
        (made("v1.b.io"), ["metadata.name"]),
        (made("v2.", group="", version="v2"), ["spec.group"]),
        (made(versionPriority=1001), ["spec.versionPriority"]),
        (made(groupPriorityMinimum=0), ["spec.groupPriorityMinimum"]),
        (made(service=copied(SERVICE)), []),
        (made(service={"name": "y", "port": 70000}), ["spec.service.namespace", "spec.service.port"]),
        (made(caBundle="YQ=="), ["spec.caBundle"]),
        (made(insecureSkipTLSVerify=True), ["spec.insecureSkipTLSVerify"]),
        (made(service=copied(SERVICE), caBundle="YQ==", insecureSkipTLSVerify=True), ["spec.insecureSkipTLSVerify"]),
    ],
)
def test_what_is_judged(tree: Tree, fields: list[str]) -> None:
    assert [error.field for error in API_SERVICE.validate(tree)] == fields


def test_what_is_served_here_is_there_at_once_and_others_are_asked_first() -> None:
    for service, wanted in (
        (None, {"Service": "Local", "Available": "True"}),
        (SERVICE, {"Service": "x/y", "Available": ""}),
    ):
        tree = made(**({"service": copied(service)} if service else {}))
        tree["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        API_SERVICE.default(tree)
        API_SERVICE.prepare_create(tree)
        cells = {column.name: column.cell(tree, NOW) for column in API_SERVICE.columns if column.name != "Age"}
        assert cells == {"Name": "v1.a.io", **wanted}
        assert service is None or tree["spec"]["service"]["port"] == 443


@pytest.mark.parametrize(
    ("group", "version", "priorities", "managed"),
    [
        ("", "v1", (18000, 1), "onstart"),
        ("apps", "v1", (17800, 15), "onstart"),
        ("autoscaling", "v2", (17500, 30), "onstart"),
        ("example.com", "v1", (1000, 100), "true"),
    ],
)
def test_the_apiservice_of_what_is_served_here(
    group: str, version: str, priorities: tuple[int, int], managed: str
) -> None:
    tree = local_service(group, version)
    assert tree["metadata"]["name"] == f"{version}.{group}"
    assert list(tree["metadata"]["labels"].values()) == [managed]
    assert (tree["spec"]["groupPriorityMinimum"], tree["spec"]["versionPriority"]) == priorities
    assert API_SERVICE.validate(tree) == []
