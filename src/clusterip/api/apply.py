"""Server-side apply: a configuration into a live object, and who owns what afterwards.

Stage: none; pure.  In: the live object (complete, without managedFields) and its entries, a configuration as it was
written, who applies it.  Out: the object to store and the entries; or Conflicts.
Rules: what an applier said before and does not say now goes, unless somebody else owns it; a value that another
manager owns is a conflict, by force it is taken over.  Versions of a kind are compared field by field as they are.
Truth: KEP-555; sigs.k8s.io/structured-merge-diff, package merge; apimachinery's util/managedfields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson

from clusterip.api import typed
from clusterip.api.errors import ApiError, quoted
from clusterip.api.fieldsets import Fields, compare, difference, intersection, union, without_subtrees
from clusterip.api.managedfields import (
    Entries,
    Entry,
    Manager,
    capped,
    comparable,
    decoded,
    encoded,
    reset_fields,
    stripped,
    structure_of,
    update_managed,
)
from clusterip.api.meta import Tree, copied, metadata_of
from clusterip.api.schema import Definition, Node

BEFORE_FIRST_APPLY: Final = "before-first-apply"
KUBECTL: Final = "kubectl"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class Applied(NamedTuple):
    """The object as it shall be, and its managedFields."""

    tree: Tree
    managed: list[Tree]


class Conflicts(Exception):
    """Others own what a configuration wants to change."""

    def __init__(self, found: Mapping[Manager, Fields]) -> None:
        super().__init__(f"{len(found)} managers disagree")
        self.found = found

    @property
    def each(self) -> list[tuple[Manager, str]]:
        return [(manager, path) for manager in sorted(self.found) for path in typed.paths(self.found[manager])]

    def refusal(self) -> ApiError:
        """As a client is told of it: 409 with a cause for each field."""
        each = self.each
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {shown(manager)}", "field": path}
            for manager, path in each
        ]
        if len(each) == 1:
            manager, path = each[0]
            return ApiError(
                409,
                "Conflict",
                f"Apply failed with 1 conflict: conflict with {shown(manager)}: {path}",
                {"causes": causes},
            )
        lines = []
        for manager in sorted(self.found):
            lines += [f"conflicts with {shown(manager)}:", *(f"- {path}" for path in typed.paths(self.found[manager]))]
        text = f"Apply failed with {len(each)} conflicts: " + "\n".join(lines)
        return ApiError(409, "Conflict", text, {"causes": causes})


def shown(manager: Manager) -> str:
    """A manager as conflicts name it."""
    text = quoted(manager.name)
    if manager.subresource:
        text += f" with subresource {quoted(manager.subresource)}"
    return f"{text} using {manager.api_version}" if manager.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class Applier:
    """Who applies, to what, when."""

    manager: str
    api_version: str
    subresource: str
    now: str
    is_forced: bool = False

    @property
    def key(self) -> Manager:
        """Appliers are told apart without their version."""
        return Manager(self.manager, "Apply", "", self.subresource)


def apply(live: Tree | None, config: Tree, applier: Applier, known: str | Definition | None = None) -> Applied:
    """The object that a configuration makes of the live one (None: of nothing). Neither tree is changed.

    Raises Conflicts; ApiError when the configuration does not fit the structure.
    """
    try:
        return _apply(live, config, applier, known)
    except Conflicts as conflicts:
        if applier.manager != KUBECTL or live is None:
            raise
        allowed = _allowed(live, structure_of(config, known))
        left = {manager: rest for manager, fields in conflicts.found.items() if (rest := difference(fields, allowed))}
        if left:
            raise Conflicts(left) from None
        return _apply(live, config, replace(applier, is_forced=True), known)


def _apply(live: Tree | None, config: Tree, applier: Applier, known: str | Definition | None) -> Applied:
    structure = structure_of(config, known)
    node = Node(type="ref", ref=structure.name) if structure else None
    _check(config, node)
    before = _entries(live, applier, structure)
    old = copied(comparable(live or {}, structure))
    said = without_subtrees(typed.fields_of(config, node), reset_fields(config, applier.subresource))
    last = before.get(applier.key)
    entries = {**before, applier.key: Entry(said, last.time if last else "", applier.api_version)}
    wanted = typed.merged(old, config, node)
    if last is not None and last.fields:
        wanted = _pruned(wanted, last.fields, [entry.fields for entry in entries.values()], node)
    entries = _settled(old, wanted, entries, applier, structure)
    if wanted != old and applier.key in entries:
        entries[applier.key] = entries[applier.key]._replace(time=applier.now)
    if applier.manager == KUBECTL:
        wanted = _with_last_applied(wanted, config)
    return Applied(wanted, encoded(capped(stripped(entries))))


def _check(config: Tree, node: Node | None) -> None:
    found = typed.faults(config, node)
    if found:
        metadata = metadata_of(config)
        group, _, version = (config.get("apiVersion") or "").rpartition("/")
        name = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        what = f"{name}; {group}/{version}, Kind={config.get('kind')}"
        raise ApiError.unclassified(f"failed to create typed patch object ({what}): {typed.told(found)}")


def _entries(live: Tree | None, applier: Applier, structure: Definition | None) -> Entries:
    """The entries of a live object; fields that nobody managed belong to a manager of their own."""
    if live is None:
        return {}
    found = decoded(metadata_of(live).get("managedFields"))
    if not found:
        bare = {**live, "metadata": {k: v for k, v in metadata_of(live).items() if k != "managedFields"}}
        version, subresource = applier.api_version, applier.subresource
        made = update_managed(None, bare, BEFORE_FIRST_APPLY, "Update", subresource, version, applier.now, structure)
        found = decoded(made)
    return found


def _pruned(wanted: Tree, last: Fields, owned: list[Fields], node: Node | None) -> Tree:
    """Without what the applier said last time and nobody says now."""
    last = typed.with_structures(last, node)
    everything = typed.with_structures(typed.fields_of(wanted, node), node)
    rest = typed.without(wanted, last, node) or {}
    kept = typed.with_structures(typed.fields_of(rest, node), node)
    for fields in owned:
        kept = union(kept, typed.with_structures(fields, node))
    rest = typed.without(wanted, difference(everything, kept), node) or {}
    left = typed.with_structures(typed.fields_of(rest, node), node)
    pruned: Tree = typed.without(wanted, intersection(difference(everything, left), last), node) or {}
    return pruned


def _settled(old: Tree, new: Tree, entries: Entries, applier: Applier, structure: Definition | None) -> Entries:
    """The entries once the others have lost what changes; Conflicts unless it is forced."""
    found = compare(old, new, structure)
    reset = reset_fields(new, applier.subresource)
    changed = without_subtrees(union(found.added, found.modified), reset)
    removed = without_subtrees(found.removed, reset)
    others = {manager: entry for manager, entry in entries.items() if manager != applier.key}
    conflicts = {
        manager: common for manager, entry in others.items() if (common := intersection(entry.fields, changed))
    }
    if conflicts and not applier.is_forced:
        raise Conflicts(conflicts)
    out = {applier.key: entries[applier.key]}
    for manager, entry in others.items():
        fields = difference(difference(entry.fields, conflicts.get(manager, {})), removed)
        out[manager] = entry._replace(fields=fields)
    return {manager: entry for manager, entry in out.items() if entry.fields}


# --- what kubectl's client-side apply left ----------------------------------------------------------------------------


def _allowed(live: Tree, structure: Definition | None) -> Fields:
    """The fields that client-side apply wrote last and that still have its values: kubectl may take them over."""
    last = _last_applied(live)
    if last is None:
        return {}
    node = Node(type="ref", ref=structure.name) if structure else None
    found = compare(last, comparable(live, structure), structure)
    return difference(typed.fields_of(last, node), union(found.modified, found.removed))


def _last_applied(live: Tree) -> Tree | None:
    text = (metadata_of(live).get("annotations") or {}).get(LAST_APPLIED, "")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _with_last_applied(tree: Tree, config: Tree) -> Tree:
    """The annotation follows what is applied now, for clients that still go by it."""
    metadata = metadata_of(tree)
    annotations = metadata.get("annotations") or {}
    if LAST_APPLIED not in annotations:
        return tree
    text = orjson.dumps(_without_annotation(config), option=orjson.OPT_SORT_KEYS).decode() + "\n"
    return {**tree, "metadata": {**metadata, "annotations": {**annotations, LAST_APPLIED: text}}}


def _without_annotation(config: Tree) -> Tree:
    metadata = metadata_of(config)
    annotations: dict[str, Any] = dict(metadata.get("annotations") or {})
    if annotations.pop(LAST_APPLIED, None) is None:
        return config
    return {**config, "metadata": {**metadata, "annotations": annotations}}
