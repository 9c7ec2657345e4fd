"""From a path to what it names: a resource, an object, a subresource, or a path of another sort.

Stage: decide; pure.  In: a method and path segments.  Out: a Route.
Rules: paths are regular, so there is no table of patterns; whether the resource exists is not known here.
Truth: kubernetes.io/docs/reference/using-api/api-concepts (resource URIs); apiserver's RequestInfo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clusterip.apiserver.access import Ask
from clusterip.apiserver.options import flag

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
NAMESPACE_SUBRESOURCES = ("status", "finalize")


class Route(NamedTuple):
    """What a path names. `resource` is empty for paths that are none."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: tuple[str, ...] = ()
    path: str = ""
    fields: str = ""
    """The field selector of what is listed."""

    def ask(self) -> Ask:
        """What the authorizer is asked."""
        if not self.resource:
            return Ask(self.verb, path=self.path)
        fields = _equalities(self.fields) if self.fields else ()
        name = self.name or (dict(fields).get("metadata.name", "") if fields else "")
        return Ask(
            self.verb, self.group, self.resource, self.subresource, self.namespace, name, "", self.version, fields
        )


def _equalities(selector: str) -> tuple[tuple[str, str], ...]:
    """What a field selector demands; who lists by a name reads that object, as upstream sees it."""
    pairs = (term.partition("=") for term in selector.split(",") if "!=" not in term)
    return tuple((field.strip(), value.lstrip("=").strip()) for field, _, value in pairs)


def route(method: str, path: str, segments: Sequence[str], query: Mapping[str, str]) -> Route:
    """The route of a request."""
    if len(segments) > 2 and segments[0] == "api":
        group, version, rest = "", segments[1], segments[2:]
    elif len(segments) > 3 and segments[0] == "apis":
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return Route(VERBS.get(method, method.lower()) if method != "HEAD" else "head", path=path)
    watching = rest[0] == "watch" and len(rest) > 1
    if watching:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1 and not (len(rest) == 3 and rest[2] in NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:] or rest
    if rest[0] == "namespaces" and len(rest) > 1 and namespace:  # the namespace itself
        return _resource(method, group, version, "namespaces", namespace, [namespace], query, watching, path)
    return _resource(method, group, version, rest[0], namespace, rest[1:], query, watching, path)


def _resource(
    method: str,
    group: str,
    version: str,
    resource: str,
    namespace: str,
    rest: Sequence[str],
    query: Mapping[str, str],
    watching: bool,
    path: str,
) -> Route:
    name = rest[0] if rest else ""
    subresource = rest[1] if len(rest) > 1 else ""
    if resource == "namespaces":
        namespace = name
    verb = VERBS.get(method, method.lower())
    if verb == "get" and not subresource:
        if watching or flag(query, "watch"):
            verb = "watch"
        elif not name:
            verb = "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    fields = query.get("fieldSelector", "") if verb in ("list", "watch", "deletecollection") else ""
    return Route(verb, group, version, resource, namespace, name, subresource, tuple(rest[2:]), path, fields)
