"""What a reconcile wants done, as values: creates, patches, deletes, words.

Stage: plan (the result).  In: nothing.  Out: frozen values that the harness commits in order.
Rules: pure; a write names its object wholly, so that doing it twice does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from clusterip.api.meta import Tree
from clusterip.client.events import NORMAL, WARNING, Involved
from clusterip.client.names import ResourceRef
from clusterip.controllers.model import Meta, Owner

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """An event. `{name}` in the message is the name of what was created, `{error}` what the API said against it."""

    involved: Involved
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Create:
    ref: ResourceRef
    tree: Tree
    said: Said | None = None
    failed: Said | None = None
    exists_ok: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    ref: ResourceRef
    namespace: str
    name: str
    patch: Tree | list[Tree]
    subresource: str | None = None
    type: str = "merge"
    said: Said | None = None
    free: bool = False  # may go beside others, in any order


@dataclass(frozen=True, slots=True)
class Update:
    ref: ResourceRef
    tree: Tree
    subresource: str | None = None
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    ref: ResourceRef
    namespace: str
    name: str
    uid: str | None = None
    propagation: str | None = None
    grace_seconds: int | None = None
    said: Said | None = None
    failed: Said | None = None


@dataclass(frozen=True, slots=True)
class DeleteAll:
    """Everything of one resource in a namespace."""

    ref: ResourceRef
    namespace: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Give a pod its node."""

    namespace: str
    name: str
    uid: str
    node: str
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Say:
    said: Said


Write: TypeAlias = Create | Patch | Update | Delete | DeleteAll | Bind | Say


@dataclass(frozen=True, slots=True)
class Outcome:
    """Writes in order, and after how many seconds time alone may change the answer."""

    writes: tuple[Write, ...] = ()
    again: float | None = None


NOTHING = Outcome()


@dataclass(slots=True)
class Draft:
    """An outcome in the making, local to one reconcile."""

    writes: list[Write] = field(default_factory=list)
    again: float | None = None

    def add(self, *writes: Write) -> None:
        self.writes.extend(writes)

    def extend(self, writes: Iterable[Write]) -> None:
        self.writes.extend(writes)

    def look_again(self, seconds: float | None) -> None:
        """The earliest time wins."""
        if seconds is not None:
            self.again = seconds if self.again is None else min(self.again, seconds)

    def outcome(self) -> Outcome:
        return Outcome(tuple(self.writes), self.again)


def about(ref: ResourceRef, meta: Meta) -> Involved:
    """A reference to an object for its events."""
    return Involved(
        kind=ref.kind,
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        api_version=ref.api_version,
        resource_version=meta.resource_version,
    )


def normal(ref: ResourceRef, meta: Meta, reason: str, message: str) -> Said:
    return Said(about(ref, meta), NORMAL, reason, message)


def warning(ref: ResourceRef, meta: Meta, reason: str, message: str) -> Said:
    return Said(about(ref, meta), WARNING, reason, message)


def owned_by(ref: ResourceRef, meta: Meta) -> Tree:
    """The reference that makes an object managed by another."""
    return {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owner_tree(owner: Owner) -> Tree:
    """An owner reference as it stands in metadata."""
    tree: Tree = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    flags = {"controller": owner.controller, "blockOwnerDeletion": owner.block_owner_deletion}
    return tree | {name: value for name, value in flags.items() if value is not None}


def status_patch(old: Tree, new: dict[str, Any]) -> Tree | None:
    """The merge patch that turns one status into another; None when they are equal. A None value removes a field."""
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    return {"status": changed} if changed else None
