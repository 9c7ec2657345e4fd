"""OpenAPI documents as bytes: made when first asked for, kept until the resources change.

Stage: serve.  In: the registry.  Out: Responses with an ETag, so that clients keep what they have.
Truth: kube-openapi's handlers; KEP-2896 (OpenAPI v3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from clusterip.api import openapi, schema
from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.apiserver.registry import Registry
from clusterip.transport.http import Request, Response


class Documents:
    """/openapi/v2 and /openapi/v3."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, tuple[bytes, str]] = {}
        self._of: tuple[int, ...] = ()

    def answer(self, request: Request, rest: list[str]) -> Response | None:
        """The document at /openapi/<rest>; None when there is none."""
        resources = self._resources()
        match rest:
            case ["v2"]:
                return self._document(request, "v2", lambda: openapi.document_v2(resources))
            case ["v3"]:
                return self._document(request, "v3", lambda: openapi.index(resources))
            case ["v3", *parts] if "/".join(parts) in openapi.keys(resources):
                key = "/".join(parts)
                return self._document(request, f"v3/{key}", lambda: openapi.document_v3(key, resources))
        return None

    def _resources(self) -> list[Resource]:
        resources = [served.resource for served in self._registry.served.values()]
        now = tuple(map(id, resources))
        if now != self._of:
            self._made.clear()
            self._of = now
        return resources

    def _document(self, request: Request, name: str, make: Callable[[], Tree]) -> Response:
        if name not in self._made:
            body = openapi.rendered(make())
            schema.forget_descriptions()
            self._made[name] = (body, f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"')
        body, tag = self._made[name]
        headers = (("ETag", tag), ("Vary", "Accept"))
        if request.headers.get("If-None-Match") == tag:
            return Response(304, b"", "", headers)
        return Response(200, body, "application/json", headers)
