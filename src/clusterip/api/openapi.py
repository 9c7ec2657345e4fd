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

from clusterip.api import schema
from clusterip.api.meta import GroupVersion, Tree
from clusterip.api.resource import Resource
from clusterip.api.schema import Definition, Node, UnknownDefinition

VERSION: Final = "v1.36.2"
INFO: Final = {"title": "Kubernetes", "version": VERSION}

V2: Final = "#/definitions/"
V3: Final = "#/components/schemas/"

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
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

JSON_TYPE: Final = "application/json"
ANSWER_TYPES: Final = (JSON_TYPE, "application/yaml")
PATCH_TYPES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def rendered(document: Tree) -> bytes:
    return orjson.dumps(document)


# --- version 3 -------------------------------------------------------------------------------------------------------


def keys(resources: Iterable[Resource]) -> tuple[str, ...]:
    """The documents there are: "api/v1", "apis/apps/v1", ..."""
    return tuple(sorted({key_of(resource) for resource in resources}))


def key_of(resource: Resource) -> str:
    gv = GroupVersion(resource.group, resource.version)
    return f"apis/{gv}" if resource.group else f"api/{gv}"


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
    writer = _Writer(V3)
    return {
        "openapi": "3.0.0",
        "info": INFO,
        "paths": dict(path for resource in own for path in writer.paths(resource)),
        "components": {"schemas": writer.definitions(own)},
    }


# --- version 2 -------------------------------------------------------------------------------------------------------


def document_v2(resources: Iterable[Resource]) -> Tree:
    """The one document of everything, as /openapi/v2 answers it."""
    every = list(resources)
    writer = _Writer(V2)
    return {
        "swagger": "2.0",
        "info": INFO,
        "paths": dict(path for resource in every for path in writer.paths(resource)),
        "definitions": writer.definitions(every),
    }


# --- both ------------------------------------------------------------------------------------------------------------

QUERY: Final[dict[str, tuple[str, str]]] = {
    "dryRun": ("string", "When present, indicates that modifications should not be persisted."),
    "fieldManager": ("string", "A name for the actor or entity that is making these changes."),
    "fieldValidation": ("string", "What to do with unknown or duplicate fields: Ignore, Warn or Strict."),
    "force": ("boolean", "Take over fields that other managers own. Apply only."),
    "allowWatchBookmarks": ("boolean", "Ask for watch events of type BOOKMARK."),
    "continue": ("string", "The continue token of a former list."),
    "fieldSelector": ("string", "Restrict the list by fields."),
    "labelSelector": ("string", "Restrict the list by labels."),
    "limit": ("integer", "The most items to answer with."),
    "resourceVersion": ("string", "The state to answer with."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant."),
    "sendInitialEvents": ("boolean", "Begin a watch with what there is."),
    "timeoutSeconds": ("integer", "How long the call may take."),
    "watch": ("boolean", "Follow changes instead of listing."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is removed."),
    "propagationPolicy": ("string", "What happens to dependents: Orphan, Background or Foreground."),
}
WRITES: Final = ("dryRun", "fieldManager", "fieldValidation")
LISTS: Final = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "list": LISTS,
    "post": WRITES,
    "put": WRITES,
    "patch": (*WRITES, "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
    "deletecollection": (*LISTS, "dryRun", "gracePeriodSeconds", "propagationPolicy"),
}
COLLECTION: Final = {
    "list": ("get", "list"),
    "create": ("post", "post"),
    "deletecollection": ("delete", "deletecollection"),
}
ITEM: Final = {
    "get": ("get", "get"),
    "update": ("put", "put"),
    "patch": ("patch", "patch"),
    "delete": ("delete", "delete"),
}
SUBRESOURCE: Final = {**ITEM, "create": ("post", "post")}
"""Verb -> (method, x-kubernetes-action)."""

NAMES: Final = {"namespace": "object name and auth scope, such as for teams and projects"}


class _Writer:
    """Definitions and paths in one of the two versions."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._is_v3 = prefix == V3

    # definitions

    def definitions(self, resources: Iterable[Resource]) -> Tree:
        """Every definition that the resources need, by name."""
        out: Tree = {}
        waiting = [name for resource in resources for name in _roots(resource)]
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
            out.setdefault(resource.schema, _opaque(resource))
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

    # paths

    def paths(self, resource: Resource) -> Iterator[tuple[str, Tree]]:
        """The paths of a resource and what can be done with each."""
        root = f"/{key_of(resource)}"
        collection = (
            f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
        )
        kind = _kind(resource.group, resource.version, resource.kind)
        yield collection, self._path(resource, COLLECTION, resource.verbs, kind, resource.schema, "")
        if resource.namespaced and "list" in resource.verbs:
            everywhere = self._path(resource, COLLECTION, ("list",), kind, resource.schema, "", everywhere=True)
            yield f"{root}/{resource.plural}", everywhere
        yield f"{collection}/{{name}}", self._path(resource, ITEM, resource.verbs, kind, resource.schema, "name")
        for name, sub in sorted(resource.subresources.items()):
            kind = _kind(sub.group or resource.group, sub.version or resource.version, sub.kind)
            found = self._path(
                resource, SUBRESOURCE, sub.verbs, kind, sub.schema or _sub_schema(resource, kind), f"name/{name}"
            )
            yield f"{collection}/{{name}}/{name}", found

    def _path(
        self,
        resource: Resource,
        methods: Mapping[str, tuple[str, str]],
        verbs: Iterable[str],
        kind: Tree,
        definition: str,
        below: str,
        everywhere: bool = False,
    ) -> Tree:
        names = ["namespace"] if resource.namespaced and not everywhere else []
        names += ["name"] if below else []
        path: Tree = {
            "parameters": [self._parameter(name, "string", f"{name} of the {kind['kind']}", "path") for name in names]
        }
        for verb in verbs:
            if verb in methods:
                method, action = methods[verb]
                title = _operation(resource, verb, below, everywhere)
                path[method] = self._operation_of(action, title, kind, definition, resource)
        return path

    def _operation_of(self, action: str, title: str, kind: Tree, definition: str, resource: Resource) -> Tree:
        answered = definition + "List" if action == "list" else definition
        if action in ("delete", "deletecollection"):
            answered = META + "Status"
        parameters = [self._parameter(name, *QUERY[name], "query") for name in PARAMETERS.get(action, ())]
        operation: Tree = {
            "operationId": title,
            "tags": [f"{_title(resource.group, '_')}_{resource.version}"],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            "parameters": parameters,
            "responses": {"200": self._answer(answered)},
        }
        return self._with_body(operation, action, definition)

    def _with_body(self, operation: Tree, action: str, definition: str) -> Tree:
        sent = {"post": definition, "put": definition, "patch": META + "Patch", "delete": META + "DeleteOptions"}.get(
            action
        )
        if sent is None:
            return operation
        types = PATCH_TYPES if action == "patch" else (JSON_TYPE,)
        if self._is_v3:
            content = {media: {"schema": self._reference(sent)} for media in types}
            operation["requestBody"] = {"content": content, **({"required": True} if action != "delete" else {})}
        else:
            body = {"in": "body", "name": "body", "required": action != "delete", "schema": self._reference(sent)}
            operation["consumes"] = list(types)
            operation["parameters"] = [body, *operation["parameters"]]
        return operation

    def _answer(self, name: str) -> Tree:
        if self._is_v3:
            return {
                "description": "OK",
                "content": {media: {"schema": self._reference(name)} for media in ANSWER_TYPES},
            }
        return {"description": "OK", "schema": self._reference(name)}

    def _parameter(self, name: str, kind: str, text: str, where: str) -> Tree:
        typed: Tree = (
            {"schema": {"type": kind, "uniqueItems": True}} if self._is_v3 else {"type": kind, "uniqueItems": True}
        )
        required = {"required": True} if where == "path" else {}
        return {"name": name, "in": where, "description": text, **required, **typed}


def _kind(group: str, version: str, kind: str) -> Tree:
    return {"group": group, "kind": kind, "version": version}


def _roots(resource: Resource) -> list[str]:
    """The definitions that a resource's paths name."""
    subs = [
        sub.schema
        or _sub_schema(resource, _kind(sub.group or resource.group, sub.version or resource.version, sub.kind))
        for sub in resource.subresources.values()
    ]
    return [
        resource.schema,
        resource.schema + "List",
        *subs,
        *(META + name for name in ("Status", "DeleteOptions", "Patch")),
    ]


def _sub_schema(resource: Resource, kind: Tree) -> str:
    """The definition of a subresource's kind; the resource's own when it is not known."""
    for gvk, name in schema.kinds().items():
        if gvk == (kind["group"], kind["version"], kind["kind"]):
            return name
    return resource.schema


def _references(known: Definition) -> Iterator[str]:
    for node in [*known.fields.values(), *([known.node] if known.node else [])]:
        inner: Node | None = node
        while inner is not None:
            if name := inner.ref or NAMED.get(inner.type):
                yield name
            inner = inner.of


def _opaque(resource: Resource) -> Tree:
    """The definition of a kind whose structure is not known."""
    kind = _kind(resource.group, resource.version, resource.kind)
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


VERB_WORDS: Final = {"get": "read", "update": "replace", "deletecollection": "deleteCollection"}


def _operation(resource: Resource, verb: str, below: str, everywhere: bool) -> str:
    """A name for an operation, after upstream's pattern: listCoreV1NamespacedPod."""
    word = VERB_WORDS.get(verb, verb)
    scope = "Namespaced" if resource.namespaced and not everywhere else ""
    tail = below.partition("/")[2].title() + ("ForAllNamespaces" if everywhere else "")
    return f"{word}{_title(resource.group)}{resource.version.title()}{scope}{resource.kind}{tail}"


def _title(group: str, joint: str = "") -> str:
    """Core, Apps, RbacAuthorization."""
    words = (group or "core").removesuffix(".k8s.io").split(".")
    return "_".join(words) if joint else "".join(word.title() for word in words)
