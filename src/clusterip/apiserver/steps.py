"""Provisional doors to modules that are still on their way (selectors, patches, managed fields, validation)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clusterip.api import patch as patches
from clusterip.api.meta import Tree
from clusterip.clock import rfc3339

try:
    from clusterip.api import managedfields
except ImportError:
    managedfields = None  # type: ignore[assignment]


def apply_patch(media: str, old: Tree, patch: Any, schema: str) -> Tree:
    if media == "application/json-patch+json":
        return patches.json_patch(old, patch)
    if media == "application/merge-patch+json":
        return patches.merge_patch(old, patch)
    return patches.strategic_merge(old, patch, schema)


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
