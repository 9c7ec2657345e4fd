"""Objects inside custom resources (x-kubernetes-embedded-resource): what they say of themselves is read and judged.

Stage: none; pure.  In: a tree, its schema.  Out: the same tree with metadata as every object has it; texts and field
errors in upstream's words.
Rules: apiVersion and kind are a must, metadata is not; of metadata only what every object has is kept.
Truth: apiextensions-apiserver, pkg/apiserver/schema/objectmeta.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from clusterip.api import names
from clusterip.api.decoding import decode
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.faults import go_kind
from clusterip.api.meta import Tree
from clusterip.api.schema_walk import walk

OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
EMBEDDED: Final = "x-kubernetes-embedded-resource"


class Metadata(NamedTuple):
    """Metadata as every object has it, and what was wrong with it."""

    tree: Any
    unknown: list[str]
    """Names of fields that are not kept."""
    error: str = ""
    conversion: str = ""


def metadata(value: Any) -> Metadata:
    """Metadata, read."""
    if value is None:
        return Metadata(value, [])
    if not isinstance(value, dict):
        text = f"json: cannot unmarshal {go_kind(value, 'v1.ObjectMeta')} into Go value of type v1.ObjectMeta"
        return Metadata(value, [], text, text)
    found = decode(value, OBJECT_META)
    if not found.error and found.tree.get("creationTimestamp", "") is None:
        del found.tree["creationTimestamp"]
    return Metadata(found.tree, found.unknown, found.error, found.conversion)


def embedded_errors(tree: Any, schema: Tree) -> Iterator[FieldError]:
    """What is wrong with what objects inside a value say of themselves."""
    for value, known, path in walk(tree, schema):
        if known.get(EMBEDDED) and isinstance(value, dict):
            yield from _head_errors(value, path)


def _head_errors(value: Tree, path: str) -> Iterator[FieldError]:
    where = f"{path}." if path else ""
    yield from (required(f"{where}{field}") for field in ("apiVersion", "kind") if field not in value)
    for field, given in value.items():
        if field == "metadata" and isinstance(given, dict):
            yield from _metadata_errors(given, where)
        elif field in ("apiVersion", "kind"):
            yield from (invalid(where + field, given, why) for why in _head_faults(field, given))


def _head_faults(field: str, given: Any) -> list[str]:
    if not isinstance(given, str):
        return ["must be a string"]
    if not given:
        return ["must not be empty"]
    if field == "apiVersion":
        return [f"unexpected GroupVersion string: {given}"] if given.count("/") > 1 else []
    wrong = names.label_1035(given.lower())
    return ["may have mixed case, but should otherwise match: " + ",".join(wrong)] if wrong else []


def _metadata_errors(given: Tree, where: str) -> list[FieldError]:
    from clusterip.api.validation import part_errors  # which knows the kinds, and they this

    return [replace(error, field=where + error.field) for error in part_errors(given)]
