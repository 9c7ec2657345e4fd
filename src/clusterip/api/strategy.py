"""What most kinds do with a write before it is judged: who writes spec, who writes status, when the generation moves.

Stage: none; pure changes of trees, in place.  In: the written tree and the one before it.  Out: the tree to validate.
Truth: kube-apiserver's registry strategies.
"""

from __future__ import annotations

from collections.abc import Callable

from clusterip.api.meta import Tree, copied, metadata_of


def drop_status(tree: Tree) -> None:
    """Who creates an object says nothing of its status."""
    tree.pop("status", None)


def first_generation(tree: Tree) -> None:
    drop_status(tree)
    tree.setdefault("metadata", {})["generation"] = 1


def keep_status(new: Tree, old: Tree) -> None:
    """A write of the object leaves its status alone."""
    if "status" in old:
        new["status"] = copied(old["status"])
    else:
        new.pop("status", None)


def next_generation(*fields: str) -> Callable[[Tree, Tree], None]:
    """Keep the status; when one of the fields changed, this is a new generation."""

    def prepare(new: Tree, old: Tree) -> None:
        keep_status(new, old)
        changed = any(new.get(field) != old.get(field) for field in fields)
        set_generation(new, (metadata_of(old).get("generation") or 0) + changed)

    return prepare


def set_generation(tree: Tree, generation: int) -> None:
    if generation:
        tree["metadata"]["generation"] = generation
    else:
        tree["metadata"].pop("generation", None)


def only_status(*kept_metadata: str) -> Callable[[Tree, Tree], None]:
    """A write of the status changes nothing else; of the metadata, these fields stay too."""

    def prepare(new: Tree, old: Tree) -> None:
        written: Tree = {key: new[key] for key in ("apiVersion", "kind", "metadata", "status") if key in new}
        new.clear()
        new.update({key: copied(value) for key, value in old.items() if key not in ("metadata", "status")})
        new.update(written)
        for field in ("generation", *kept_metadata):
            keep_metadata(new, old, field)

    return prepare


def keep_metadata(new: Tree, old: Tree, field: str) -> None:
    if field in metadata_of(old):
        new["metadata"][field] = copied(metadata_of(old)[field])
    else:
        new["metadata"].pop(field, None)
