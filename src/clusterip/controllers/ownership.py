"""Which objects a workload manages: those that it owns, plus orphans that its selector matches.

Stage: plan.  In: the owner's metadata and selector, candidates.  Out: those it has, and patches that adopt or release.
Rules: pure; never touches what another controller owns; a terminating owner adopts nothing.
Truth: client-go controller_ref_manager, "adoption and release".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clusterip.api.meta import Tree
from clusterip.client.names import ResourceRef
from clusterip.controllers.model import Meta
from clusterip.controllers.writes import Patch, owned_by, owner_tree


class HasMetadata(Protocol):
    @property
    def metadata(self) -> Meta: ...


class Matcher(Protocol):
    def matches(self, labels: dict[str, str], /) -> bool: ...


T = TypeVar("T", bound=HasMetadata)


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    mine: tuple[T, ...]
    patches: tuple[Patch, ...]


def claim(owner_ref: ResourceRef, owner: Meta, selector: Matcher, ref: ResourceRef, items: Iterable[T]) -> Claim[T]:
    """What of the items is the owner's now; an adopted item counts once the cache shows the adoption."""
    mine: list[T] = []
    patches: list[Patch] = []
    for item in items:
        meta = item.metadata
        controller = meta.controller
        matches = selector.matches(meta.labels)
        if controller is not None and controller.uid == owner.uid:
            if matches:
                mine.append(item)
            elif not owner.is_terminating:
                patches.append(_release(ref, owner, meta))
        elif controller is None and matches and not owner.is_terminating and not meta.is_terminating:
            patches.append(_adopt(owner_ref, owner, ref, meta))
    return Claim(tuple(mine), tuple(patches))


def _adopt(owner_ref: ResourceRef, owner: Meta, ref: ResourceRef, meta: Meta) -> Patch:
    owners: list[Tree] = [*map(owner_tree, meta.owner_references), owned_by(owner_ref, owner)]
    return Patch(ref, meta.namespace, meta.name, {"metadata": {"uid": meta.uid, "ownerReferences": owners}})


def _release(ref: ResourceRef, owner: Meta, meta: Meta) -> Patch:
    owners = [owner_tree(reference) for reference in meta.owner_references if reference.uid != owner.uid]
    return Patch(ref, meta.namespace, meta.name, {"metadata": {"uid": meta.uid, "ownerReferences": owners or None}})
