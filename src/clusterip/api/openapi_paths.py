"""The paths of an OpenAPI document: what can be done with each resource.

Stage: none; pure.  In: a resource record.  Out: paths with their operations, in one of the two versions.
Rules: every operation names its kind and its action, for that is how clients find it; kubectl looks at PATCH for what a
server can do (fieldValidation, strategic merge).
Truth: kube-apiserver's documents, as far as clients read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from clusterip.api import schema
from clusterip.api.meta import GroupVersion, GroupVersionKind, Tree
from clusterip.api.resource import Resource

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
LIST_META: Final = META + "ListMeta"
V2: Final = "#/definitions/"
V3: Final = "#/components/schemas/"

JSON_TYPE: Final = "application/json"
ANSWER_TYPES: Final = (JSON_TYPE, "application/yaml")
PATCH_TYPES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
CUSTOM_PATCH_TYPES: Final = tuple(media for media in PATCH_TYPES if "strategic" not in media)

QUERY: Final[dict[str, tuple[str, str]]] = {
    "dryRun": ("string", "When present, indicates that modifications should not be persisted."),
    "fieldManager": ("string", "A name for the actor or entity that is making these changes."),
    "fieldValidation": ("string", "What to do with unknown or duplicate fields: Ignore, Warn or Strict."),
    "allowWatchBookmarks": ("boolean", "Ask for watch events of type BOOKMARK."),
    "force": ("boolean", "Server-side apply takes over what other managers own."),
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


def key_of(resource: Resource) -> str:
    """The document that a resource is in: api/v1, apis/apps/v1."""
    gv = GroupVersion(resource.group, resource.version)
    return f"apis/{gv}" if resource.group else f"api/{gv}"


def definition_of(resource: Resource) -> str:
    """The definition of a resource's kind; a custom one is called after its group: com.example.v1.Lamp."""
    return _custom_name(resource, resource.kind) if resource.is_custom else resource.schema


def list_definition_of(resource: Resource) -> str:
    """The definition of a resource's list."""
    kind = resource.list_kind or resource.kind + "List"
    return _custom_name(resource, kind) if resource.is_custom else resource.schema + "List"


def _custom_name(resource: Resource, kind: str) -> str:
    return ".".join([*reversed(resource.group.split(".")), resource.version, kind])


def roots(resource: Resource) -> list[str]:
    """The definitions that a resource's paths name."""
    subs = [sub_definition(resource, name) for name in resource.subresources]
    return [
        definition_of(resource),
        list_definition_of(resource),
        *subs,
        *(META + name for name in ("Status", "DeleteOptions", "Patch")),
    ]


def sub_definition(resource: Resource, name: str) -> str:
    """The definition of a subresource's kind; the resource's own when that is not known."""
    sub = resource.subresources[name]
    kind = GroupVersionKind(sub.group or resource.group, sub.version or resource.version, sub.kind)
    return sub.schema or schema.kinds().get(kind) or definition_of(resource)


class PathWriter:
    """Paths in one of the two versions; the prefix of references tells which."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._is_v3 = prefix == V3

    def paths(self, resource: Resource) -> Iterator[tuple[str, Tree]]:
        """The paths of a resource and what can be done with each."""
        root = f"/{key_of(resource)}"
        collection = (
            f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
        )
        kind = _kind(resource.group, resource.version, resource.kind)
        known = definition_of(resource)
        yield collection, self._path(resource, COLLECTION, resource.verbs, kind, known, "")
        if resource.namespaced and "list" in resource.verbs:
            everywhere = self._path(resource, COLLECTION, ("list",), kind, known, "", everywhere=True)
            yield f"{root}/{resource.plural}", everywhere
        yield f"{collection}/{{name}}", self._path(resource, ITEM, resource.verbs, kind, known, "name")
        for name, sub in sorted(resource.subresources.items()):
            kind = _kind(sub.group or resource.group, sub.version or resource.version, sub.kind)
            known = sub_definition(resource, name)
            found = self._path(resource, SUBRESOURCE, sub.verbs, kind, known, f"name/{name}")
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
        answered = list_definition_of(resource) if action == "list" else definition
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
        patches = CUSTOM_PATCH_TYPES if resource.is_custom else PATCH_TYPES
        return self._with_body(operation, action, definition, patches)

    def _with_body(self, operation: Tree, action: str, definition: str, patches: Sequence[str]) -> Tree:
        sent = {"post": definition, "put": definition, "patch": META + "Patch", "delete": META + "DeleteOptions"}.get(
            action
        )
        if sent is None:
            return operation
        types = patches if action == "patch" else (JSON_TYPE,)
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

    def _reference(self, name: str) -> Tree:
        return {"$ref": self._prefix + name}


def _kind(group: str, version: str, kind: str) -> Tree:
    return {"group": group, "kind": kind, "version": version}


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
