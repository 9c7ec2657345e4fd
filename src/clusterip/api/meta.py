"""What every object has: a kind, a name, a place, labels.

Stage: none; values.  In: trees (JSON objects as Python dicts).  Out: frozen names, and readers of their parts.
Rules: pure; readers never fail on an absent field and never change a tree.
Truth: apimachinery's meta/v1 and runtime/schema.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import orjson

Tree: TypeAlias = dict[str, Any]


class ObjectKey(NamedTuple):
    """Where one object of a kind is; the namespace of a cluster-wide object is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class GroupVersion(NamedTuple):
    """An API version: "v1" or "apps/v1"."""

    group: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The path below which its resources are."""
        return f"/apis/{self}" if self.group else f"/api/{self.version}"


class GroupVersionKind(NamedTuple):
    """A kind, whole. Its text is upstream's."""

    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"

    @property
    def api_version(self) -> str:
        return str(GroupVersion(self.group, self.version))


def group_version(api_version: str) -> GroupVersion:
    """An apiVersion taken apart; ValueError when it has more than one slash."""
    group, slash, version = api_version.partition("/")
    if not slash:
        return GroupVersion("", group)
    if "/" in version:
        raise ValueError(f"unexpected GroupVersion string: {api_version}")
    return GroupVersion(group, version)


def gvk_of(tree: Tree) -> GroupVersionKind:
    """The kind that a tree says it is; ValueError as group_version."""
    group, version = group_version(tree.get("apiVersion") or "")
    return GroupVersionKind(group, version, tree.get("kind") or "")


def qualified(resource: str, group: str) -> str:
    """A plural or kind as messages name it: "services", "deployments.apps"."""
    return f"{resource}.{group}" if group else resource


def metadata_of(tree: Tree) -> Tree:
    """The metadata, or an empty one that belongs to nobody."""
    found: Tree = tree.get("metadata") or {}
    return found


def name_of(tree: Tree) -> str:
    return metadata_of(tree).get("name") or ""


def namespace_of(tree: Tree) -> str:
    return metadata_of(tree).get("namespace") or ""


def key_of(tree: Tree) -> ObjectKey:
    return ObjectKey(namespace_of(tree), name_of(tree))


def uid_of(tree: Tree) -> str:
    return metadata_of(tree).get("uid") or ""


def labels_of(tree: Tree) -> dict[str, str]:
    found: dict[str, str] = metadata_of(tree).get("labels") or {}
    return found


def annotations_of(tree: Tree) -> dict[str, str]:
    found: dict[str, str] = metadata_of(tree).get("annotations") or {}
    return found


def spec_of(tree: Tree) -> Tree:
    found: Tree = tree.get("spec") or {}
    return found


def status_of(tree: Tree) -> Tree:
    found: Tree = tree.get("status") or {}
    return found


def owners_of(tree: Tree) -> list[Tree]:
    found: list[Tree] = metadata_of(tree).get("ownerReferences") or []
    return found


def controller_of(tree: Tree) -> Tree | None:
    """The one owner that manages the object."""
    return next((owner for owner in owners_of(tree) if owner.get("controller")), None)


def is_terminating(tree: Tree) -> bool:
    return bool(metadata_of(tree).get("deletionTimestamp"))


def copied(tree: Any) -> Any:
    """A deep copy of JSON; writing and reading it is the fastest way."""
    if not isinstance(tree, (dict, list)):
        return tree
    try:
        return orjson.loads(orjson.dumps(tree))
    except (TypeError, ValueError):  # integers beyond 64 bits, lone surrogates, more than 250 levels
        return _copied(tree)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
