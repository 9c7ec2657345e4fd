"""The whole judgement of a write: the metadata that every kind has, then the kind's own rules.

Stage: none; pure checks.  In: a record and trees, defaulted and prepared.  Out: field errors.
Rules: a kind's record holds its own rules only; this is what the server calls.
Truth: apimachinery's api/validation (objectmeta) and apiserver's registry/rest, as recorded from 1.36.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, immutable, label_map, not_negative, reasons
from clusterip.api.errors import FieldError, forbidden, invalid, quoted, required, too_long
from clusterip.api.meta import Tree, metadata_of
from clusterip.api.names import path_segment
from clusterip.api.resource import Resource
from clusterip.api.resources.core import finalizer_errors

ANNOTATIONS_LIMIT = 256 * 1024
NO_NAME = "name or generateName is required"
BOTH_FINALIZERS = "finalizer orphan and foregroundDeletion cannot be both set"
MORE_METADATA = frozenset({"generation", "labels", "annotations", "ownerReferences", "finalizers"})
"""What is judged beside the names, and rarely there."""
IMMUTABLE_METADATA = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def creation_errors(resource: Resource, tree: Tree) -> list[FieldError]:
    """What is wrong with a new object."""
    return metadata_errors(resource, tree) + resource.validate(tree)


def update_errors(resource: Resource, new: Tree, old: Tree) -> list[FieldError]:
    """What is wrong with a changed object. The metadata is judged twice, by the server and by the kind, as upstream."""
    again = metadata_errors(resource, new) if resource.whole_update else []
    return _judged_twice(resource, new, old) + again + resource.validate_update(new, old)


def status_errors(resource: Resource, new: Tree, old: Tree) -> list[FieldError]:
    """What is wrong with a changed status."""
    return _judged_twice(resource, new, old) + resource.validate_status(new, old)


def side_errors(validate: Callable[[Tree, Tree], list[FieldError]], new: Tree, old: Tree) -> list[FieldError]:
    """What is wrong with what was written of an object by a path below it that has rules of its own."""
    return 2 * metadata_update_errors(new, old) + _short_finalizers(new) + validate(new, old)


def _judged_twice(resource: Resource, new: Tree, old: Tree) -> list[FieldError]:
    return 2 * metadata_update_errors(new, old) + ([] if resource.is_custom else _short_finalizers(new))


# --- metadata --------------------------------------------------------------------------------------------------------


def metadata_errors(resource: Resource, tree: Tree) -> list[FieldError]:
    meta = metadata_of(tree)
    named = [*_names(resource, meta), *_namespace(resource, meta)]
    if MORE_METADATA.isdisjoint(meta):
        return named
    return [
        *named,
        *not_negative("metadata.generation", meta.get("generation")),
        *_shared(meta),
        *_qualified_finalizers(tree),
        *(() if resource.is_custom else _short_finalizers(tree)),
    ]


def part_errors(meta: Tree) -> list[FieldError]:
    """What is wrong with the metadata of an object inside another."""
    name, namespace = meta.get("name") or "", meta.get("namespace") or ""
    return [
        *reasons("metadata.name", name, names.path_segment),
        *(reasons("metadata.namespace", namespace, names.label) if namespace else []),
        *not_negative("metadata.generation", meta.get("generation")),
        *_shared(meta),
        *_qualified_finalizers({"metadata": meta}),
    ]


def _names(resource: Resource, meta: Tree) -> list[FieldError]:
    found = []
    prefix, name = meta.get("generateName") or "", meta.get("name") or ""
    if prefix:
        found += [invalid("metadata.generateName", prefix, reason) for reason in resource.name_rule(prefix, True)]
    if not name:
        return [*found, required("metadata.name", NO_NAME)]
    refused = resource.name_rule(name, False) or path_segment(name)
    return found + [invalid("metadata.name", name, reason) for reason in refused]


def _namespace(resource: Resource, meta: Tree) -> list[FieldError]:
    namespace = meta.get("namespace") or ""
    path = "metadata.namespace"
    if not resource.namespaced:
        return [forbidden(path, "not allowed on this type")] if namespace else []
    return reasons(path, namespace, names.label) if namespace else [required(path)]


def _shared(meta: Tree) -> list[FieldError]:
    """What is checked at creation and at every update."""
    labels, annotations, owners = meta.get("labels"), meta.get("annotations"), meta.get("ownerReferences")
    return [
        *(label_map("metadata.labels", labels) if labels else ()),
        *(_annotations(annotations) if annotations else ()),
        *(_owners(owners) if owners else ()),
    ]


def _annotations(annotations: Tree) -> list[FieldError]:
    found = []
    path = "metadata.annotations"
    for key in annotations:
        found += [invalid(path, key, reason) for reason in names.qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        found.append(too_long(path, ANNOTATIONS_LIMIT))
    return found


def _owners(owners: list[Tree]) -> list[FieldError]:
    found = []
    path = "metadata.ownerReferences"
    controllers = []
    for owner in owners:
        found += _owner(path, owner)
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind', '')}/{owner.get('name', '')}")
    for other in controllers[1:]:
        detail = (
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {controllers[0]} and {other}'
        )
        found.append(invalid(path, [_shown_owner(owner) for owner in owners], detail))
    return found


def _shown_owner(owner: Tree) -> Tree:
    """An owner as messages show it: with all that must be there, in the order of its structure."""
    needed = {field: owner.get(field) or "" for field in ("apiVersion", "kind", "name", "uid")}
    return needed | {field: owner[field] for field in ("controller", "blockOwnerDeletion") if field in owner}


def _owner(path: str, owner: Tree) -> list[FieldError]:
    api_version = str(owner.get("apiVersion") or "")
    group, _, version = api_version.rpartition("/")
    kind = owner.get("kind") or ""
    found = []
    if not version or api_version.count("/") > 1:
        found.append(invalid(f"{path}.apiVersion", owner.get("apiVersion", ""), "version must not be empty"))
    missing = (field for field in ("kind", "name", "uid") if not owner.get(field))
    found += [invalid(f"{path}.{field}", "", "must not be empty") for field in missing]
    if (group, version, kind) == ("", "v1", "Event"):
        found.append(invalid(path, _shown_owner(owner), "/v1, Kind=Event is disallowed from being an owner"))
    return found


def _qualified_finalizers(tree: Tree) -> list[FieldError]:
    finalizers = metadata_of(tree).get("finalizers")
    if not finalizers:
        return []
    path = "metadata.finalizers"
    found = [error for name in finalizers for error in reasons(path, name, names.qualified_name)]
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        found.append(invalid(path, finalizers, BOTH_FINALIZERS))
    return found


def _short_finalizers(tree: Tree) -> list[FieldError]:
    """Names without a domain are Kubernetes' own."""
    finalizers = metadata_of(tree).get("finalizers")
    if not finalizers:
        return []
    named = each("metadata.finalizers", finalizers)
    return [error for path, name in named for error in finalizer_errors(path, name)]


def metadata_update_errors(new: Tree, old: Tree) -> list[FieldError]:
    meta, before = metadata_of(new), metadata_of(old)
    found = _no_new_finalizers(meta, before)
    if not meta.get("resourceVersion"):
        found.append(invalid("metadata.resourceVersion", "", "must be specified for an update"))
    if (meta.get("generation") or 0) < (before.get("generation") or 0):
        found.append(invalid("metadata.generation", meta.get("generation") or 0, "must not be decremented"))
    for field in IMMUTABLE_METADATA:
        found += immutable(f"metadata.{field}", meta.get(field), before.get(field))
    return found + _shared(meta)


def _no_new_finalizers(meta: Tree, before: Tree) -> list[FieldError]:
    """Whoever is being deleted cannot be held by more than it was."""
    if not before.get("deletionTimestamp"):
        return []
    extra: list[Any] = sorted(set(meta.get("finalizers") or ()) - set(before.get("finalizers") or ()))
    if not extra:
        return []
    shown = ", ".join(map(quoted, extra))
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
    return [forbidden("metadata.finalizers", detail)]
