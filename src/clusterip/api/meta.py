"""An object of the API as JSON has it.

Stage: none; names for shapes.  Rules: pure; trees are plain dicts and lists, so that bytes become trees and back without a model.
"""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]


def metadata(tree: Tree) -> Tree:
    """The object's metadata; empty when it has none."""
    found = tree.get("metadata")
    return found if isinstance(found, dict) else {}
