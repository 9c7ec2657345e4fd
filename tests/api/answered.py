"""The objects that kube-apiserver 1.36 answered, with what the recording masked filled in again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clusterip.api import schema
from clusterip.api.meta import GroupVersionKind, Tree, gvk_of

FOLDER = Path(__file__).parents[1] / "fixtures" / "api"
MOMENT = "2026-01-02T03:04:05Z"
MASKED = {
    "<creationTimestamp>": MOMENT,
    "<time>": MOMENT,
    "<deletionTimestamp>": MOMENT,
    "<node-port>": 31000,
    "<count>": 3,
}


def unmasked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: unmasked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [unmasked(inner, key) for inner in value]
    if isinstance(value, str):
        filled = MASKED.get(value, value)
        return "2026-01-02T03:04:05.000000Z" if key == "eventTime" and filled == MOMENT else filled
    return value


def objects() -> Iterator[tuple[str, GroupVersionKind, Tree]]:
    """Every object of a built-in kind in every answer: where it is from, its kind, and itself."""
    for path in sorted((FOLDER / "answers").glob("*.json")):
        for scenario, steps in json.loads(path.read_text()).items():
            for number, step in enumerate(steps, 1):
                for kind, tree in _inside(step):
                    yield f"{scenario} {number}", kind, unmasked(tree)


def _inside(value: Any) -> Iterator[tuple[GroupVersionKind, Tree]]:
    if isinstance(value, dict):
        if isinstance(value.get("kind"), str) and isinstance(value.get("apiVersion"), str):
            kind = gvk_of(value)
            if kind in schema.kinds() and not kind.kind.endswith("List") and kind.kind != "Status":
                yield kind, value
        for inner in value.values():
            yield from _inside(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _inside(inner)
