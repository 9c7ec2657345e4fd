"""APIServices: names that follow from group and version, what a table shows of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clusterip.api.meta import Tree, copied
from clusterip.api.resources.apiregistration import API_SERVICE

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


def test_nobody_is_asked_and_the_status_says_so() -> None:
    tree = made(service=copied(SERVICE))
    API_SERVICE.prepare_create(tree)
    cells = {column.name: column.cell(tree, NOW) for column in API_SERVICE.columns if column.name != "Age"}
    assert cells == {"Name": "v1.a.io", "Service": "x/y", "Available": "False (NotAggregated)"}
    assert tree["spec"]["service"]["port"] == 443
