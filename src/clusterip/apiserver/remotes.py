"""Other servers' parts of the API: who serves which version of a group, and what it was last heard to serve.

Stage: none; pure.  In: APIServices, what the servers answer.  Out: Remotes, and their parts of discovery documents.
Rules: a server that only knows the old form of discovery is shown in the new one all the same.
Truth: kube-aggregator's pkg/apiserver (handler_discovery.go); apiserver's endpoints/installer.go (the conversion).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clusterip.api.meta import Tree, name_of
from clusterip.api.resources.apiregistration import HTTPS
from clusterip.api.tables import at

V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(slots=True)
class Remote:
    """A version of a group that another server serves."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    bundle: str
    insecure: bool
    priority: tuple[int, int]
    available: bool = False
    resources: list[Tree] = field(default_factory=list)
    """What it was last heard to serve, as aggregated discovery tells it."""
    schema_url: str = ""
    """Where its OpenAPI document (version 3) is, with its hash."""
    schema_tag: str = ""
    schema: bytes = b""
    """Its OpenAPI document of version 2, and the tag of that."""

    @property
    def key(self) -> tuple[str, str]:
        return self.group, self.version

    @property
    def host(self) -> str:
        """The name that its certificate shows."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def place(self) -> str:
        return f"apis/{self.group}/{self.version}"

    @property
    def freshness(self) -> str:
        return "Current" if self.available else "Stale"

    def heard(self, before: Remote) -> None:
        """Take over what was known before the APIService changed."""
        self.resources, self.schema_url = before.resources, before.schema_url
        self.schema_tag, self.schema = before.schema_tag, before.schema


def remote_of(tree: Tree) -> Remote | None:
    """What an APIService says; None for one that is served here."""
    spec: Tree = tree.get("spec") or {}
    service = spec.get("service")
    if not service:
        return None
    available = any(
        each.get("type") == "Available" and each.get("status") == "True"
        for each in at(tree, "status", "conditions") or ()
    )
    return Remote(
        name_of(tree),
        spec.get("group") or "",
        spec.get("version") or "",
        service.get("namespace") or "",
        service.get("name") or "",
        service.get("port") or HTTPS,
        spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")),
        (spec.get("groupPriorityMinimum") or 0, spec.get("versionPriority") or 0),
        available,
    )


def from_aggregated(found: Any, group: str, version: str) -> list[Tree] | None:
    """The resources of a version, in a document of aggregated discovery; None when that does not know it."""
    for item in found.get("items") or ():
        for each in item.get("versions") or () if name_of(item) == group else ():
            if each.get("version") == version:
                return [_with_kinds(resource) for resource in each.get("resources") or ()]
    return None


def _with_kinds(resource: Tree) -> Tree:
    """Clients of old fall over a resource without a kind."""
    found = {**resource, "responseKind": resource.get("responseKind") or _kind("", "", "")}
    subs = [{**each, "responseKind": each.get("responseKind") or _kind("", "", "")} for each in _subs(resource)]
    return {**found, "subresources": subs} if subs else found


def _subs(resource: Tree) -> list[Tree]:
    return resource.get("subresources") or []


def _kind(group: str, version: str, kind: str) -> Tree:
    return {"group": group, "version": version, "kind": kind}


def from_list(listed: Iterable[Tree], group: str, version: str) -> list[Tree]:
    """The same from an APIResourceList's entries, where subresources stand beside resources."""
    found: dict[str, Tree] = {}
    for entry in sorted(listed, key=lambda each: "/" in each["name"]):
        name, _, sub = entry["name"].partition("/")
        kind = _kind(entry.get("group") or group, entry.get("version") or version, entry.get("kind") or "")
        scope = "Namespaced" if entry.get("namespaced") else "Cluster"
        if sub:
            parent = found.setdefault(name, {"resource": name, "scope": scope, "verbs": None})
            told = {"subresource": sub, "responseKind": kind, "verbs": entry.get("verbs") or []}
            parent.setdefault("subresources", []).append(told)
            continue
        found[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": scope,
            "singularResource": entry.get("singularName") or "",
            "verbs": entry.get("verbs") or [],
            **{key: entry[key] for key in ("shortNames", "categories") if entry.get(key)},
        }
    return list(found.values())


def merged_schema(document: Tree, others: Iterable[tuple[str, Tree]]) -> Tree:
    """The OpenAPI document of version 2 with those of other servers, each as far as its version of a group goes.

    Definitions that are here already stand: they have one name because they are one type.
    """
    paths, definitions = dict(document["paths"]), dict(document["definitions"])
    for place, other in others:
        paths |= {
            path: told
            for path, told in (other.get("paths") or {}).items()
            if path == f"/{place}" or path.startswith(f"/{place}/")
        }
        definitions = {**(other.get("definitions") or {}), **definitions}
    return {**document, "paths": paths, "definitions": definitions}
