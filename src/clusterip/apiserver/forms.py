"""The forms that an object may take on the wire: itself, a table, its metadata alone.

Stage: none; pure.  In: a form, entries.  Out: bytes.
Rules: JSON of a kept object is a copy of its bytes; everything else is made on demand.
Truth: kubernetes.io/docs/reference/using-api/api-concepts (alternate representations).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import orjson

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.api.resource import Column
from clusterip.api.tables import ANY
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.media import PARTIAL, Form, render
from clusterip.apiserver.registry import Served

INCLUDES = ("", "Metadata", "Object", "None")


@dataclass(frozen=True, slots=True)
class View:
    """One resource in one form, at one moment."""

    served: Served
    form: Form
    now: datetime
    include: str = ""
    headed: bool = True
    """A table names its columns (the first of a watch does)."""
    columns: tuple[Column, ...] = ()
    """Instead of the resource's own."""

    def one(self, entry: Entry) -> bytes:
        """One object."""
        if self.form.plain and self.served.has_bodies:
            return self.served.whole(entry)
        return self.render(self.tree(entry))

    def tree(self, entry: Entry) -> Tree:
        """One object in the form's shape, before its media type."""
        return self.shaped(self.served.tree(entry))

    def shaped(self, tree: Tree) -> Tree:
        """An object that need not be kept (a dry run's) in the form's shape."""
        if self.form.shape == "Table":
            return self.table([tree], _list_metadata(tree["metadata"].get("resourceVersion", "")))
        if self.form.shape == PARTIAL + "List":
            raise self._misfit("the requested object is not a list", "")
        return partial(tree) if self.form.shape == PARTIAL else tree

    def _misfit(self, why: str, ending: str) -> ApiError:
        """One object was asked for where there is a list, or a list where there is one."""
        resource = self.served.resource
        where = resource.group.partition(".")[0] or "core"
        text = f"you requested {self.form.shape}, but {why} (*{where}.{resource.kind}{ending})"
        return ApiError(406, "NotAcceptable", text)

    def many(self, entries: Iterable[Entry], metadata: Tree) -> bytes:
        """A list; `metadata` is its own."""
        resource = self.served.resource
        kind, version = resource.list_kind or resource.kind + "List", resource.api_version
        if resource.is_custom and not self.form.shape:
            metadata = {"continue": "", **metadata}
        if self.form.plain and self.served.has_bodies:
            head = f'{{"kind":"{kind}","apiVersion":"{version}","metadata":'.encode()
            return _joined(b'%b%b,"items":[' % (head, orjson.dumps(metadata)), self._items(entries))
        trees = (self.served.tree(entry) for entry in entries)
        if self.form.shape == "Table":
            return self.render(self.table(trees, metadata))
        if self.form.shape == PARTIAL:
            raise self._misfit("the requested object is a list", "List")
        if self.form.shape:
            items = [partial(tree) for tree in trees]
            return self.render(
                {"kind": PARTIAL + "List", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}
            )
        hidden = () if resource.is_custom else ("kind", "apiVersion")
        plain = [{k: v for k, v in tree.items() if k not in hidden} for tree in trees]
        return self.render({"kind": kind, "apiVersion": version, "metadata": metadata, "items": plain})

    def _items(self, entries: Iterable[Entry]) -> list[bytes]:
        """The JSON of a list's items; custom resources say what they are there too."""
        bodies = self.served.bodies(entries)
        return [self.served.head + body[1:] for body in bodies] if self.served.resource.is_custom else bodies

    def table(self, trees: Iterable[Tree], metadata: Tree) -> Tree:
        columns = self.columns or self.served.resource.columns or ANY
        definitions = [_definition(column) for column in columns if column.name] if self.headed else None
        rows = [
            {"cells": [column.cell(tree, self.now) for column in columns], **self._row_object(tree)} for tree in trees
        ]
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": definitions,
            "rows": rows,
        }

    def _row_object(self, tree: Tree) -> Tree:
        if self.include == "None":
            return {"object": None}
        return {"object": tree if self.include == "Object" else partial(self._without_inner(tree))}

    def _without_inner(self, tree: Tree) -> Tree:
        """Rows show metadata without the annotations that upstream keeps as fields of its inner form."""
        metadata = tree["metadata"]
        annotations = metadata.get("annotations") or {}
        if self.served.resource.inner_annotations.isdisjoint(annotations):
            return tree
        kept = {key: text for key, text in annotations.items() if key not in self.served.resource.inner_annotations}
        rest = {key: value for key, value in metadata.items() if key != "annotations"}
        return {**tree, "metadata": {**rest, **({"annotations": kept} if kept else {})}}

    def render(self, tree: Tree) -> bytes:
        return render(tree, self.form)


def _joined(head: bytes, bodies: list[bytes]) -> bytes:
    """A list's JSON and the line's end, copied once: it may be large."""
    if not bodies:
        return head + b"]}\n"
    bodies[0] = head + bodies[0]
    bodies[-1] += b"]}\n"
    return b",".join(bodies)


def partial(tree: Tree) -> Tree:
    return {"kind": PARTIAL, "apiVersion": "meta.k8s.io/v1", "metadata": tree["metadata"]}


def check_include(include: str) -> str:
    """The table's includeObject parameter, or 400."""
    if include not in INCLUDES:
        text = f"includeObject: Invalid value: \"{include}\": must be 'Metadata', 'Object', 'None', or empty"
        raise ApiError.bad_request(f"Unable to convert to Table as requested: {text}")
    return include


def list_metadata(revision: int, token: str = "", remaining: int = 0) -> Tree:
    """A list's own metadata."""
    return {
        **_list_metadata(str(revision)),
        **({"continue": token} if token else {}),
        **({"remainingItemCount": remaining} if remaining > 0 else {}),
    }


def _list_metadata(revision: str) -> Tree:
    return {"resourceVersion": revision}


def _definition(column: Column) -> Tree:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }
