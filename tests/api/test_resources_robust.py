"""No object that passes decoding makes a record fail, whatever is absent from it or odd in it."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api import schema
from clusterip.api.allocation import Ranges, Taken, plan_allocation
from clusterip.api.completion import complete
from clusterip.api.decoding import decode
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied
from clusterip.api.resource import Resource
from clusterip.api.resources import RESOURCES
from clusterip.api.schema import Node
from clusterip.api.validation import creation_errors, status_errors, update_errors

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WORDS = (
    "",
    "a",
    "web",
    "A B",
    "10.96.0.9",
    "::1",
    "TCP",
    "ClusterIP",
    "NodePort",
    "None",
    "Always",
    "x/y/z",
    "-",
    "1%",
)
TRIES = 60


def _value(node: Node, rng: random.Random, depth: int) -> Any:
    match node.type:
        case "string":
            return rng.choice(WORDS)
        case "int32" | "int64":
            return rng.choice((-1, 0, 1, 80, 30080, 70000))
        case "bool":
            return rng.random() < 0.5
        case "double":
            return 0.5
        case "bytes":
            return "YQ=="
        case "time":
            return "2026-01-02T03:04:05Z"
        case "microtime":
            return "2026-01-02T03:04:05.000001Z"
        case "quantity":
            return rng.choice(("1", "500m", "1Gi", "-1"))
        case "intstr":
            return rng.choice((0, 80, "web", "25%"))
        case "list":
            return [_value(node.of, rng, depth - 1) for _ in range(rng.randrange(3))] if node.of else []
        case "map":
            return {rng.choice(WORDS): _value(node.of, rng, depth - 1)} if node.of else {}
        case "ref":
            return _tree(node.ref, rng, depth - 1)
    return {}


def _tree(name: str, rng: random.Random, depth: int) -> Any:
    known = schema.definition(name)
    if known.node is not None:
        return _value(known.node, rng, depth)
    if depth <= 0:
        return {}
    wanted = 0.75 if depth > 3 else 0.4
    return {key: _value(node, rng, depth) for key, node in known.fields.items() if rng.random() < wanted}


def _object(resource: Resource, rng: random.Random) -> Tree:
    tree: Tree = _tree(resource.schema, rng, 7)
    tree["metadata"] = {**(tree.get("metadata") or {}), "name": "a", "uid": "u"}
    if resource.namespaced:
        tree["metadata"]["namespace"] = "ns"
    tree.update(apiVersion=resource.api_version, kind=resource.kind)
    decoded: Tree = decode(tree, resource.schema).tree
    resource.default(decoded)
    return decoded


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.qualified)
def test_survives_whatever_decodes(resource: Resource) -> None:
    rng = random.Random(resource.qualified)
    for _ in range(TRIES):
        old, new = _object(resource, rng), _object(resource, rng)
        resource.prepare_create(old)
        _allocate(resource, old, None, rng)
        creation_errors(resource, old)
        complete(old, resource.schema)
        changed, status = copied(new), copied(new)
        resource.prepare_update(changed, old)
        _allocate(resource, changed, old, rng)
        update_errors(resource, changed, old)
        resource.prepare_status(status, old)
        status_errors(resource, status, old)
        for tree in (old, new, changed, status):
            _read(resource, tree)


def _allocate(resource: Resource, new: Tree, old: Tree | None, rng: random.Random) -> None:
    if resource.qualified != "services":
        return
    with suppress(ApiError):
        plan_allocation(new, old, Taken(), Ranges(), rng)


def _read(resource: Resource, tree: Tree) -> None:
    resource.warnings(tree, None)
    for column in resource.columns:
        column.cell(tree, NOW)
    for read in resource.fields.values():
        assert isinstance(read(tree), str)
    if resource.graceful_seconds:
        resource.graceful_seconds(tree, None)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.qualified)
def test_the_emptiest_object_is_judged(resource: Resource) -> None:
    tree: Tree = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
    resource.default(tree)
    resource.prepare_create(tree)
    assert any(error.field == "metadata.name" for error in creation_errors(resource, tree))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.qualified)
def test_defaults_do_not_move(resource: Resource) -> None:
    """A defaulted object has the defaults it has."""
    rng = random.Random(resource.qualified)
    for _ in range(20):
        once = _object(resource, rng)
        twice = copied(once)
        resource.default(twice)
        assert twice == once
