"""Objects go when their owners are gone, in the way that the deletion asked for.

Stage: plan.  In: one object's metadata, what is known of its owners, its dependents.  Out: writes.
Rules: pure; an owner is gone only when its uid is, and its name may live on.
  background: the owner is gone, then what it alone owned goes
  foreground: the owner waits (finalizer foregroundDeletion) for the dependents that block it
              (in a circle somebody stops blocking)
  orphan:     the owner waits (finalizer orphan) until no dependent names it any more
Truth: Kubernetes documentation "Garbage Collection", kube-controller-manager's garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from clusterip.api.meta import Tree
from clusterip.client.names import ResourceRef
from clusterip.controllers.model import Meta, Owner
from clusterip.controllers.writes import NOTHING, Delete, Outcome, Patch, Write, owner_tree

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Fate(Enum):
    """What is known of an owner."""

    PRESENT = auto()
    WAITING = auto()  # being deleted in the foreground: it waits for its dependents
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Item:
    """An object of any kind."""

    ref: ResourceRef
    metadata: Meta


def reconcile(item: Item, dependents: Sequence[Item], fate: Callable[[Owner], Fate]) -> Outcome:
    """What is to be done about one object."""
    meta = item.metadata
    if meta.is_terminating:
        if FOREGROUND in meta.finalizers:
            return Outcome(tuple(_foreground(item, dependents)))
        if ORPHAN in meta.finalizers:
            return Outcome(tuple(_orphan(item, dependents)))
        return NOTHING
    if not meta.owner_references:
        return NOTHING
    return Outcome(tuple(_owned(item, dependents, fate)))


def _foreground(item: Item, dependents: Iterable[Item]) -> Iterable[Write]:
    """Dependents are on their way out by their own look at this owner; it goes when none of them blocks it."""
    uid = item.metadata.uid
    blocking = [
        owner
        for dependent in dependents
        for owner in dependent.metadata.owner_references
        if owner.uid == uid and owner.block_owner_deletion
    ]
    if not blocking:
        yield _without(item, FOREGROUND)


def _orphan(item: Item, dependents: Iterable[Item]) -> Iterable[Write]:
    left = [dependent for dependent in dependents if not dependent.metadata.is_terminating]
    for dependent in left:
        yield replace(_disowned(dependent, {item.metadata.uid}), free=True)
    if not left:
        yield _without(item, ORPHAN)  # only now: a dependent that still names it would follow it


def _owned(item: Item, dependents: Sequence[Item], fate: Callable[[Owner], Fate]) -> Iterable[Write]:
    meta = item.metadata
    fates = {owner.uid: fate(owner) for owner in meta.owner_references}
    lost = {uid for uid, found in fates.items() if found is not Fate.PRESENT}
    if not lost:
        return
    if len(lost) < len(fates):
        yield _disowned(item, lost)  # another owner still wants it
        return
    waited_for = Fate.WAITING in fates.values() and bool(dependents)
    if waited_for and any(_waits(dependent) for dependent in dependents):
        yield from _unblocked(item)  # each might wait for the other for ever
    propagation = _propagation(meta, foreground=waited_for)
    yield Delete(item.ref, meta.namespace, meta.name, uid=meta.uid, propagation=propagation)


def _waits(item: Item) -> bool:
    return item.metadata.is_terminating and FOREGROUND in item.metadata.finalizers


def _unblocked(item: Item) -> Iterable[Write]:
    owners = item.metadata.owner_references
    if any(owner.block_owner_deletion for owner in owners):
        yield _patch(
            item, {"ownerReferences": [{**owner_tree(owner), "blockOwnerDeletion": False} for owner in owners]}
        )


def _propagation(meta: Meta, *, foreground: bool) -> str:
    if ORPHAN in meta.finalizers:
        return "Orphan"
    return "Foreground" if foreground or FOREGROUND in meta.finalizers else "Background"


def _disowned(item: Item, uids: set[str]) -> Patch:
    meta = item.metadata
    left = [owner_tree(owner) for owner in meta.owner_references if owner.uid not in uids]
    return _patch(item, {"ownerReferences": left or None})


def _without(item: Item, finalizer: str) -> Patch:
    left = [name for name in item.metadata.finalizers if name != finalizer]
    return _patch(item, {"finalizers": left or None})


def _patch(item: Item, change: Tree) -> Patch:
    meta = item.metadata
    metadata = {"uid": meta.uid, "resourceVersion": meta.resource_version, **change}
    return Patch(item.ref, meta.namespace, meta.name, {"metadata": metadata})
