"""The numbers of a custom resource that its subresource `scale` is made of, judged.

Stage: none; pure.  In: a tree, the paths of a scale.  Out: field errors in upstream's words.
Truth: apiextensions-apiserver, pkg/registry/customresource/validator.go.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import orjson

from clusterip.api.errors import FieldError, invalid
from clusterip.api.meta import Tree
from clusterip.api.resource import ScalePaths

HIGHEST: Final = 2**31 - 1
GO_TYPES: Final = {
    str: "string",
    bool: "bool",
    float: "float64",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}
MISFIT: Final = "{} accessor error: {} is of the type {}, expected {}"


def errors(tree: Tree, scale: ScalePaths | None, parts: Collection[str]) -> list[FieldError]:
    """What is wrong with the replicas of some parts of an object, and with its selector."""
    if scale is None:
        return []
    found = []
    if "spec" in parts:
        found += _replicas(tree, scale.spec)
    if "status" in parts:
        found += _replicas(tree, scale.status)
        if scale.selector:
            found += _misfit(tree, scale.selector, (str,), "string", "")
    return found


def _replicas(tree: Tree, path: tuple[str, ...]) -> list[FieldError]:
    value = _at(tree, path)
    if wrong := _misfit(tree, path, (int,), "int64", 0):
        return wrong
    if value is None or 0 <= value <= HIGHEST:
        return []
    text = "should be a non-negative integer" if value < 0 else f"should be less than or equal to {HIGHEST}"
    return [invalid(_shown(path), value, text)]


def _misfit(tree: Tree, path: tuple[str, ...], kinds: tuple[type, ...], go: str, empty: Any) -> list[FieldError]:
    value = _at(tree, path)
    if value is None or (isinstance(value, kinds) and not isinstance(value, bool)):
        return []
    shown = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = MISFIT.format(_shown(path), shown, GO_TYPES.get(type(value), "int64"), go)
    return [invalid(_shown(path), empty, text)]


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _shown(path: tuple[str, ...]) -> str:
    return "." + ".".join(path)
