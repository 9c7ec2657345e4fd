"""Provisional doors to modules that are still on their way (selectors, patches, managed fields, validation)."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from clusterip.api import errors
from clusterip.api.errors import ApiError, FieldError
from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.clock import rfc3339

try:
    from clusterip.api import patch as patches
except ImportError:
    patches = None  # type: ignore[assignment]
try:
    from clusterip.api import managedfields
except ImportError:
    managedfields = None  # type: ignore[assignment]
try:
    from clusterip.api import validation
except ImportError:
    validation = None  # type: ignore[assignment]


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merge(out.get(key), value)
    return out


def apply_patch(media: str, old: Tree, patch: Any, schema: str) -> Tree:
    if patches is None:
        return copy.deepcopy(_merge(old, patch))
    if media == "application/json-patch+json":
        return patches.json_patch(old, patch)
    if media == "application/merge-patch+json":
        return patches.merge_patch(old, patch)
    return patches.strategic_merge(old, patch, schema)


def creation_errors(resource: Resource, tree: Tree) -> list[FieldError]:
    if validation is not None:
        return validation.creation_errors(resource, tree)
    found = []
    if not tree["metadata"].get("name"):
        found.append(errors.required("metadata.name", "name or generateName is required"))
    return found + resource.validate(tree)


def update_errors(resource: Resource, new: Tree, old: Tree) -> list[FieldError]:
    if validation is not None:
        return validation.update_errors(resource, new, old)
    return resource.validate_update(new, old)


def status_errors(resource: Resource, new: Tree, old: Tree) -> list[FieldError]:
    if validation is not None:
        return validation.status_errors(resource, new, old)
    return resource.validate_status(new, old)


def manage(
    live: Tree | None, new: Tree, manager: str, subresource: str, api_version: str, now: datetime, schema: str
) -> None:
    """Set managedFields of `new`."""
    if managedfields is None:
        return
    found = managedfields.update_managed(live, new, manager, "Update", subresource, api_version, rfc3339(now))
    if found:
        new["metadata"]["managedFields"] = found
    else:
        new["metadata"].pop("managedFields", None)


__all__ = ["ApiError"]
