"""Which keys a change concerns: the owner's, or those whose selector matches.

Stage: snapshot.  In: an informer's changes.  Out: keys for a loop.
Rules: too many keys cost time, one too few costs correctness: when in doubt, a key is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from clusterip.api.selectors import from_label_selector
from clusterip.client.informer import Informer
from clusterip.controllers.caches import HasMetadata
from clusterip.controllers.model import Meta
from clusterip.controllers.writes import Key

Keys = Callable[[Key, Any, Any], Iterable[Key]]


def of_owned(kind: str, workloads: Informer[Any]) -> Keys:
    """For objects that a workload owns, or might adopt."""

    def keys(key: Key, old: HasMetadata | None, new: HasMetadata | None) -> Iterable[Key]:
        for item in (old, new):
            owner = item.metadata.controller if item is not None else None
            if owner is not None and owner.kind == kind:
                yield key[0], owner.name
        if new is not None and new.metadata.controller is None:
            yield from _matching(workloads, new.metadata)

    return keys


def _matching(workloads: Informer[Any], meta: Meta) -> Iterable[Key]:
    for workload in workloads.by_index("namespace", meta.namespace):
        if from_label_selector(workload.spec.selector).matches(meta.labels):
            yield meta.namespace, workload.metadata.name


def candidates(items: Informer[Any], owner: Meta) -> list[Any]:
    """What the owner has, and the orphans of its namespace."""
    return items.by_index("controller", owner.uid) + items.by_index("controller", ("orphans", owner.namespace))
