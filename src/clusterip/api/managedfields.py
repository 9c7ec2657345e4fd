"""Who manages which fields: the managedFields of an object, kept at every write.

Stage: none; pure.  In: the object before, the object as it was sent (decoded and defaulted, before the strategy and any
allocation), who writes and when.  Out: the entries to store.
Rules: an Update takes over what it changes, adds or removes; nobody else's entry grows.  apply.py uses the entries too.
Truth: apimachinery's util/managedfields and sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from clusterip.api import completion, schema
from clusterip.api.errors import quoted
from clusterip.api.fieldsets import Comparison, Fields, compare, difference, gained, ordered, union, without_subtrees
from clusterip.api.meta import Tree, gvk_of, metadata_of
from clusterip.api.schema import Definition

MOST_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"

NEVER_MANAGED: Final[Fields] = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        "f:name": {},
        "f:namespace": {},
        "f:creationTimestamp": {},
        "f:selfLink": {},
        "f:uid": {},
        "f:clusterName": {},
        "f:generation": {},
        "f:managedFields": {},
        "f:resourceVersion": {},
    },
}
RESET: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {"": (("status",),), "status": (("spec",),)}
"""What a write of a resource or subresource cannot change, so never owns."""
RESET_MORE: Final[Mapping[tuple[str, str], tuple[tuple[str, ...], ...]]] = {
    ("Pod", "status"): (("metadata", "deletionTimestamp"), ("metadata", "ownerReferences")),
    ("Deployment", "status"): (("metadata", "labels"),),
}


class Manager(NamedTuple):
    """Who an entry belongs to. Two writes of the same manager share an entry; an applier has one for all versions."""

    name: str
    operation: str
    api_version: str = ""
    subresource: str = ""


class Entry(NamedTuple):
    """The fields of one manager, and when they last grew; an applier's also say the version that was applied."""

    fields: Fields
    time: str
    version: str = ""
    is_ordered: bool = False
    """The fields stand as they are written; whatever is taken out of them or put into them in order."""
    source: Tree | None = None
    """What it was read from, if that was written by a server: kept as long as nothing changes."""

    def kept(self) -> Tree | None:
        """The source, while it says the same."""
        source = self.source
        if source is None or source.get("fieldsV1") is not self.fields or source.get("time", "") != self.time:
            return None
        return source


Entries = dict[Manager, Entry]


class Undecodable(ValueError):
    """managedFields that no server wrote."""


def decoded(entries: Any, is_stored: bool = False) -> Entries:
    """The entries of an object's managedFields; those of a store are as this module wrote them."""
    out: Entries = {}
    for tree in entries or ():
        if not isinstance(tree, dict) or tree.get("operation") not in ("Update", "Apply"):
            raise Undecodable(f"invalid operation: {quoted(str(tree))}")
        if tree.get("fieldsType", "FieldsV1") != "FieldsV1" or not isinstance(tree.get("fieldsV1", {}), dict):
            raise Undecodable("missing fieldsType in managed fields entry")
        version, applied = tree.get("apiVersion") or "", tree["operation"] == "Apply"
        key_version = "" if applied else version
        manager = Manager(tree.get("manager") or "", tree["operation"], key_version, tree.get("subresource") or "")
        fields, time = tree.get("fieldsV1") or {}, tree.get("time") or ""
        out[manager] = Entry(fields, time, version if applied else "", is_stored, tree if is_stored else None)
    return out


def encoded(entries: Entries) -> list[Tree]:
    """The managedFields of some entries, in upstream's order."""
    return [_encoded(manager, entries[manager]) for manager in sorted(entries, key=lambda m: _rank(m, entries[m]))]


def _rank(manager: Manager, entry: Entry) -> tuple[str, ...]:
    return manager.operation, entry.time, manager.name, manager.api_version, manager.subresource


def _encoded(manager: Manager, entry: Entry) -> Tree:
    if (kept := entry.kept()) is not None:
        return kept
    tree: Tree = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version or entry.version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields if entry.is_ordered else ordered(entry.fields),
    }
    if manager.subresource:
        tree["subresource"] = manager.subresource
    return tree if all(tree.values()) else {key: value for key, value in tree.items() if value != ""}


def update_managed(
    live: Tree | None,
    new: Tree,
    manager: str,
    operation: str,
    subresource: str,
    api_version: str,
    now: str,
    known: str | Definition | None = None,
) -> list[Tree]:
    """The managedFields of an object after an Update.

    `live` is what is stored (so it is complete), or None at a creation.  `known` names the structure when the kind does
    not.  Neither tree is changed.
    """
    structure = structure_of(new, known)
    reset = reset_fields(new, subresource)
    before = _former(live, new, ignore_request=bool(subresource))
    if live is not None and not before:
        return []  # an object whose fields nobody managed is left so
    if live is None and not before:
        return _born(_first(new, structure, reset), manager, operation, api_version, subresource, now)
    changes = _changes(live, new, structure, reset)
    entries = taken(before, changes)
    more = difference(union(changes.modified, changes.added), NEVER_MANAGED)
    if more:
        writer = Manager(manager or "unknown", operation, api_version, subresource)
        had = entries.get(writer, NOTHING)
        entries = {**entries, writer: Entry(union(more, had.fields), now, is_ordered=had.is_ordered)}
    return encoded(capped(stripped(entries)))


NOTHING: Final = Entry({}, "", is_ordered=True)


def _born(first: Fields, manager: str, operation: str, api_version: str, subresource: str, now: str) -> list[Tree]:
    """The one entry of a new object."""
    if not first:
        return []
    return [_encoded(Manager(manager or "unknown", operation, api_version, subresource), Entry(first, now, "", True))]


def _first(new: Tree, structure: Definition | None, reset: tuple[tuple[str, ...], ...]) -> Fields:
    """What is owned of a new object by whoever made it."""
    made = _manageable(new)
    if structure is not None:
        made = completion.of_known(structure)(made)
    return without_subtrees(gained(_blank(structure), made, structure), reset)


def _manageable(tree: Tree) -> Tree:
    """A tree without what is never managed."""
    out = {key: value for key, value in tree.items() if key not in ENVELOPE}
    out["metadata"] = {key: value for key, value in metadata_of(tree).items() if key not in UNMANAGED}
    return out


UNMANAGED: Final = frozenset(key.removeprefix("f:") for key in NEVER_MANAGED["f:metadata"])
ENVELOPE: Final = frozenset({"apiVersion", "kind"})


def _blank(structure: Definition | None) -> Tree:
    """What Go writes of a kind's empty object."""
    if structure is None:
        return comparable({}, None)
    if structure.name not in _blanks:
        if not schema.is_built_in(structure.name):
            return comparable({}, structure)
        _blanks[structure.name] = comparable({}, structure)
    return _blanks[structure.name]


_blanks: Final[dict[str, Tree]] = {}


def _changes(
    live: Tree | None, new: Tree, structure: Definition | None, reset: tuple[tuple[str, ...], ...]
) -> Comparison:
    """What an Update changes; parts that are the very same value on both sides are not looked into."""
    shared = {key for key, value in (live or {}).items() if key != "metadata" and value is new.get(key, NOTHING)}
    former = _without_entries(live, shared) if live else comparable({}, structure)
    found = compare(former, comparable(new, structure, shared), structure)
    return Comparison(*(without_subtrees(fields, reset) for fields in found))


def reset_fields(tree: Tree, subresource: str) -> tuple[tuple[str, ...], ...]:
    """What a write of a resource or subresource never owns; a path is of field names."""
    return RESET.get(subresource, ()) + RESET_MORE.get((tree.get("kind") or "", subresource), ())


def structure_of(tree: Tree, known: str | Definition | None) -> Definition | None:
    if isinstance(known, Definition):
        return known
    name = known or schema.kinds().get(gvk_of(tree))
    try:
        return schema.definition(name) if name else None
    except schema.UnknownDefinition:
        return None


def comparable(tree: Tree, structure: Definition | None, but: Collection[str] = ()) -> Tree:
    """A tree as Go would see it, without its managedFields: what is always written is there.

    Its parts may be the tree's own.
    """
    out = _without_entries(tree, but)
    if structure is not None:
        out = completion.of_known(structure)(out)
    for key in but:  # what is always written was added
        out.pop(key, None)
    return out


def _without_entries(tree: Tree, but: Collection[str] = ()) -> Tree:
    out = {key: value for key, value in tree.items() if key not in but} if but else dict(tree)
    out["metadata"] = {key: value for key, value in metadata_of(tree).items() if key != "managedFields"}
    return out


def _former(live: Tree | None, new: Tree, ignore_request: bool) -> Entries:
    """The entries to begin with: the request's if it has any, else those stored; [{}] in a request clears them."""
    stored = metadata_of(live or {}).get("managedFields")
    sent = metadata_of(new).get("managedFields")
    if not ignore_request and sent and sent is not stored and sent != stored:
        if sent == [{}]:
            return {}
        try:
            return decoded(sent)
        except Undecodable:
            pass
    try:
        return decoded(stored, is_stored=True)
    except Undecodable:
        return {}


def taken(entries: Entries, changes: Comparison) -> Entries:
    """The entries without the fields that have changed, come or gone; an entry without fields goes."""
    gone = union(union(changes.added, changes.modified), changes.removed)
    return _lessened(entries, gone)


def _lessened(entries: Entries, gone: Fields) -> Entries:
    """Without some fields; an entry that loses nothing stays the very same."""
    out: Entries = {}
    for manager, entry in entries.items():
        fields = difference(entry.fields, gone)
        if fields:
            out[manager] = entry if fields is entry.fields else entry._replace(fields=fields)
    return out


def stripped(entries: Entries) -> Entries:
    return _lessened(entries, NEVER_MANAGED)


def capped(entries: Entries) -> Entries:
    """At most ten updaters: the oldest of each version become one."""
    updaters = sorted((m for m in entries if m.operation == "Update"), key=lambda m: (entries[m].time, m.name))
    if len(updaters) <= MOST_UPDATERS:
        return entries
    out, first, count = dict(entries), dict[str, Manager](), len(updaters)
    for manager in updaters:
        if count <= MOST_UPDATERS:
            break
        version = manager.api_version
        if version not in first:
            first[version] = manager
            continue
        bucket = Manager(ANCIENT, "Update", version)
        if bucket not in out:
            out[bucket] = out.pop(first[version])
        merged = out.pop(manager)
        out[bucket] = Entry(union(merged.fields, out[bucket].fields), merged.time)
        count -= 1
    return out
