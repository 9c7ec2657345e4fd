"""What the server itself does to an object's metadata: names, uids, times, conditions of an update.

Stage: decide; pure but for the randomness handed in.  In: trees.  Out: trees changed in place, or an ApiError.
Truth: apiserver's registry/rest (create.go, update.go, delete.go, meta.go).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from clusterip.api.errors import ApiError, FieldError, invalid, quoted
from clusterip.api.managedfields import update_managed
from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.registry import Served
from clusterip.clock import rfc3339

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

T = TypeVar("T")
LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # upstream's: no vowels, no words
SUFFIX = 5
LONGEST = 63
EQUAL_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may "
    "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}"
)
UUID_BITS, UUID_VERSION = 0xF000 << 64 | 0xC000 << 48, 0x4000 << 64 | 0x8000 << 48
SERVERS_OWN = (
    "uid",
    "selfLink",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


def suffix(random: Random, length: int = SUFFIX) -> str:
    """A random ending, as generated names and pods' volumes have."""
    return "".join(random.choices(LETTERS, k=length))


def settle_namespace(tree: Tree, namespace: str) -> None:
    """The object's namespace is the path's; what is in none loses what it says of one."""
    metadata = tree["metadata"]
    given = metadata.get("namespace", "")
    if given and namespace and given != namespace:
        raise ApiError.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


def settle_name(tree: Tree, name: str) -> None:
    """An object that is written under a path's name says the same name."""
    given = tree["metadata"].get("name", "")
    if not given:
        text = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise ApiError.bad_request(text)
    if given != name:
        raise ApiError.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def has_revision(tree: Tree) -> bool:
    """Whether an object says a revision of its own; what is none, and 0, count as nothing."""
    given = tree["metadata"].get("resourceVersion") or ""
    return given.isdigit() and int(given) > 0


def merge_equal_owners(tree: Tree, *, admitted: bool = False) -> list[str]:
    """Drop owners that are there twice; what the client is told of it. A patch is looked at after admission only."""
    owners = tree["metadata"].get("ownerReferences") or []
    kept: list[Tree] = []
    twice = []
    for owner in owners:
        if owner in kept:
            twice.append(owner.get("uid", ""))
        else:
            kept.append(owner)
    if not twice:
        return []
    tree["metadata"]["ownerReferences"] = kept
    return [EQUAL_OWNERS.format(" after mutating admission happens" if admitted else "", ", ".join(twice))]


def fresh_uid(random: Random) -> str:
    """A random UUID (RFC 9562, version 4)."""
    digits = f"{random.getrandbits(128) & ~UUID_BITS | UUID_VERSION:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def begin_life(tree: Tree, now: datetime, random: Random) -> None:
    """A new object's metadata: what only the server says, and a generated name."""
    metadata = tree["metadata"]
    for field in SERVERS_OWN:
        if field in metadata:
            del metadata[field]
    metadata["uid"] = fresh_uid(random)
    metadata["creationTimestamp"] = rfc3339(now)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"][: LONGEST - SUFFIX] + suffix(random)


def carry_over(new: Tree, old: Tree, resource: Resource) -> None:
    """What an update cannot change or need not repeat."""
    metadata, before = new["metadata"], old["metadata"]
    for field in ("namespace", "uid", "deletionGracePeriodSeconds"):
        if not metadata.get(field) and before.get(field) is not None:
            metadata[field] = before[field]
    metadata.pop("selfLink", None)
    for field in ("creationTimestamp", "deletionTimestamp"):
        if before.get(field) is not None:
            metadata[field] = before[field]
    metadata.pop("generation", None)
    if before.get("generation") is not None:
        metadata["generation"] = before["generation"]


def check_revision(new: Tree, old: Entry, resource: Resource, name: str) -> None:
    """An update made from an old object is a conflict; one made from none is taken where the kind allows."""
    given = new["metadata"].get("resourceVersion", "")
    if given in ("", "0"):
        if not resource.unconditional_update:
            error = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise ApiError.invalid(resource.group, resource.kind, name, [error])
        return
    if not given.isdigit():
        raise ApiError.unclassified(f"strconv.ParseUint: parsing {quoted(given)}: invalid syntax")
    if int(given) != old.revision:
        raise ApiError.modified(resource.group, resource.plural, name)


def check_uid(new: Tree, old: Tree, served: Served, key: str) -> None:
    """A PUT that names another uid means another object."""
    given, uid = new["metadata"].get("uid", ""), old["metadata"].get("uid", "")
    if given and given != uid:
        path = served.collection.prefix.replace("/registry//", "/registry/") + key
        why = (
            f"StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {given}, UID in object meta: {uid}"
        )
        raise ApiError.conflict(served.resource.group, served.resource.plural, new["metadata"]["name"], why)


def manage(
    live: Tree | None, new: Tree, manager: str, subresource: str, api_version: str, now: datetime, schema: str
) -> None:
    """Note in managedFields what this update changed, and who did."""
    entries = update_managed(live, new, manager, "Update", subresource, api_version, rfc3339(now), schema or None)
    new["metadata"].pop("managedFields", None)
    for entry in entries:
        if entry.get("subresource") == "scale":  # upstream says no time there
            entry.pop("time", None)
    if entries:
        new["metadata"]["managedFields"] = entries


def refuse(resource: Resource, name: str, errors: list[FieldError]) -> None:
    """422 for any error."""
    if errors:
        raise ApiError.invalid(resource.group, resource.kind, name, errors)
