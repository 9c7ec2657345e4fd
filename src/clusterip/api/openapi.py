"""OpenAPI documents: what clients may send and what they get, for kubectl's validation, explain and patches.

Stage: none; pure.  In: resource records, the schema and its descriptions.
Out: version 3, one document a group version and an index; version 2, one document.  Trees; `rendered` makes bytes.
Rules: made on demand and kept by the caller as bytes; the hash of a version 3 document is known without making it.
Version 2 in protobuf (which kubectl before 1.27 asks for) is another rendering of `document_v2`'s tree.
Truth: kube-openapi and kube-apiserver's own documents, as far as clients read them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from clusterip.api import openapi_custom, schema
from clusterip.api.meta import Tree
from clusterip.api.openapi_paths import META, V2, V3, PathWriter, definition_of, key_of, list_definition_of, roots
from clusterip.api.resource import Resource
from clusterip.api.schema import Definition, Node, UnknownDefinition

VERSION: Final = "v1.36.2"
INFO: Final = {"title": "Kubernetes", "version": VERSION}

QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
NAMED: Final = {
    "time": META + "Time",
    "microtime": META + "MicroTime",
    "quantity": QUANTITY,
    "intstr": INT_OR_STRING,
}
SHAPES: Final[dict[str, Tree]] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "raw": {"type": "object"},
    "any": {},
}
ONE_OF: Final[dict[str, Tree]] = {
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intstr": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
ONE_OF_V2: Final[dict[str, Tree]] = {
    "quantity": {"type": "string"},
    "intstr": {"type": "string", "format": "int-or-string"},
}
DEFAULTS: Final = {
    ("io.k8s.api.core.v1.ContainerPort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.ServicePort", "protocol"): "TCP",
}
"""Defaults of fields that list items are known by."""


def rendered(document: Tree) -> bytes:
    return orjson.dumps(document)


# --- version 3 -------------------------------------------------------------------------------------------------------


def keys(resources: Iterable[Resource]) -> tuple[str, ...]:
    """The documents there are: "api/v1", "apis/apps/v1", ..."""
    return tuple(sorted({key_of(resource) for resource in resources}))


def fingerprint(key: str, resources: Iterable[Resource]) -> str:
    """The hash in a document's address: changes when the document may have changed."""
    described = [
        (
            r.plural,
            r.kind,
            r.schema,
            r.namespaced,
            r.verbs,
            sorted((n, s.kind, s.verbs) for n, s in r.subresources.items()),
            repr(r.custom_schema),
        )
        for r in resources
        if key_of(r) == key
    ]
    text = repr((VERSION, key, len(schema.names()), sorted(described)))
    return hashlib.sha512(text.encode()).hexdigest().upper()


def index(resources: Sequence[Resource]) -> Tree:
    """What /openapi/v3 answers."""
    return {
        "paths": {
            key: {"serverRelativeURL": f"/openapi/v3/{key}?hash={fingerprint(key, resources)}"}
            for key in keys(resources)
        }
    }


def document_v3(key: str, resources: Iterable[Resource]) -> Tree:
    """The document of one group version, as /openapi/v3/<key> answers it."""
    own = [resource for resource in resources if key_of(resource) == key]
    definitions = _Definitions(V3)
    return {
        "openapi": "3.0.0",
        "info": INFO,
        "paths": dict(path for resource in own for path in PathWriter(V3).paths(resource)),
        "components": {"schemas": definitions.of(own)},
    }


# --- version 2 -------------------------------------------------------------------------------------------------------


def document_v2(resources: Iterable[Resource]) -> Tree:
    """The one document of everything, as /openapi/v2 answers it."""
    every = list(resources)
    definitions = _Definitions(V2)
    return {
        "swagger": "2.0",
        "info": INFO,
        "paths": dict(path for resource in every for path in PathWriter(V2).paths(resource)),
        "definitions": definitions.of(every),
    }


# --- definitions -----------------------------------------------------------------------------------------------------


class _Definitions:
    """Definitions in one of the two versions."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._is_v3 = prefix == V3

    def of(self, resources: Sequence[Resource]) -> Tree:
        """Every definition that the resources need, by name."""
        out: Tree = {}
        waiting = [name for resource in resources for name in roots(resource)]
        for resource in resources:
            if resource.is_custom:
                out.update(openapi_custom.definitions(resource, self._prefix))
                waiting += openapi_custom.NEEDS
        while waiting:
            name = waiting.pop()
            if name in out:
                continue
            try:
                known = schema.definition(name)
            except UnknownDefinition:
                continue
            out[name] = self._definition(known)
            waiting += _references(known)
        for resource in resources:
            out.setdefault(definition_of(resource), _opaque(resource))
            out.setdefault(list_definition_of(resource), _opaque(resource, "List"))
        return dict(sorted(out.items()))

    def _definition(self, known: Definition) -> Tree:
        texts = schema.descriptions(known.name)
        out: Tree = {"description": texts[""]} if "" in texts else {}
        if known.node is not None:
            return {**out, **self._shape(known.node.type)}
        out["type"] = "object"
        if known.fields:
            out["properties"] = {
                key: self._field(known, key, node, texts) for key, node in sorted(known.fields.items())
            }
        if required := sorted(key for key, node in known.fields.items() if node.required):
            out["required"] = required
        if known.map_type == "atomic":
            out["x-kubernetes-map-type"] = "atomic"
        if known.kinds:
            out["x-kubernetes-group-version-kind"] = [
                {"group": gvk.group, "kind": gvk.kind, "version": gvk.version} for gvk in known.kinds
            ]
        return out

    def _field(self, known: Definition, key: str, node: Node, texts: Mapping[str, str]) -> Tree:
        out = {**self._node(node, wrapped=True), **_merge_rules(node)}
        if text := texts.get(key):
            out["description"] = text
        if self._is_v3 and (known.name, key) in DEFAULTS:
            out["default"] = DEFAULTS[known.name, key]
        return out

    def _node(self, node: Node, *, wrapped: bool = False) -> Tree:
        name = node.ref or NAMED.get(node.type, "")
        if name:
            return self._reference(name, wrapped=wrapped)
        if node.of is not None:
            key = "items" if node.type == "list" else "additionalProperties"
            return {"type": "array" if node.type == "list" else "object", key: self._node(node.of)}
        return dict(SHAPES[node.type])

    def _reference(self, name: str, *, wrapped: bool = False) -> Tree:
        """Beside a reference nothing may stand in version 3, hence the wrapping."""
        reference = {"$ref": self._prefix + name}
        return {"allOf": [reference]} if wrapped and self._is_v3 else reference

    def _shape(self, kind: str) -> Tree:
        return dict((ONE_OF if self._is_v3 else ONE_OF_V2).get(kind) or SHAPES[kind])


def _references(known: Definition) -> Iterator[str]:
    for node in [*known.fields.values(), *([known.node] if known.node else [])]:
        inner: Node | None = node
        while inner is not None:
            if name := inner.ref or NAMED.get(inner.type):
                yield name
            inner = inner.of


def _opaque(resource: Resource, suffix: str = "") -> Tree:
    """The definition of a kind whose structure is not known."""
    kind = {"group": resource.group, "kind": resource.kind + suffix, "version": resource.version}
    return {"type": "object", "x-kubernetes-group-version-kind": [kind], "x-kubernetes-preserve-unknown-fields": True}


def _merge_rules(node: Node) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if node.type == "list":
        rules["x-kubernetes-list-type"] = node.list_type
    if node.keys:
        rules["x-kubernetes-list-map-keys"] = list(node.keys)
    if node.map_type:
        rules["x-kubernetes-map-type"] = node.map_type
    if node.strategies:
        rules["x-kubernetes-patch-strategy"] = ",".join(sorted(node.strategies))
    if node.merge_key:
        rules["x-kubernetes-patch-merge-key"] = node.merge_key
    return rules
