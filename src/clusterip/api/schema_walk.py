"""A custom resource's values beside the schemas that speak of them, from the outside in.

Stage: none; pure.  In: a value, its schema.  Out: each value inside with its schema and its path.
Rules: what no schema speaks of is passed over.
Truth: apiextensions-apiserver, pkg/apiserver/schema (structural schemas).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clusterip.api.meta import Tree


def walk(value: Any, schema: Tree, path: str = "") -> Iterator[tuple[Any, Tree, str]]:
    """Value, schema and path of each, a map's entries as `path[key]`."""
    yield value, schema, path
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, schema.get("items") or {}, f"{path}[{index}]")
    elif isinstance(value, dict):
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, inner in value.items():
            if key in properties:
                yield from walk(inner, properties[key], f"{path}.{key}" if path else key)
            elif isinstance(more, dict):
                yield from walk(inner, more, f"{path}[{key}]")
