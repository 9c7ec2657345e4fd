"""OpenAPI documents as bytes: made when first asked for, kept until the resources change.

Stage: serve.  In: the registry.  Out: Responses with an ETag, so that clients keep what they have.
Rules: version 2 is in protobuf for those who want it so, as every kubectl does that reads it.
Truth: kube-openapi's handlers; KEP-2896 (OpenAPI v3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from operator import is_not

from clusterip.api import openapi, openapi_protobuf, schema
from clusterip.api.resource import Resource
from clusterip.apiserver.forms import JSON, parse_accept
from clusterip.apiserver.registry import Registry
from clusterip.transport.http import Request, Response

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_NAMES = (PROTOBUF, PROTOBUF.replace("v2.v1.0", "v2@v1.0"))
"""The name that is answered with, and the older one that clients ask by: its @ may not stand in a Content-Type."""


class Documents:
    """/openapi/v2 and /openapi/v3."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, tuple[bytes, str]] = {}
        self._of: list[Resource] = []

    def answer(self, request: Request, rest: list[str]) -> Response | None:
        """The document at /openapi/<rest>; None when there is none."""
        resources = self._resources()
        match rest:
            case ["v2"]:
                if wants_protobuf(request.headers.get("Accept", "")):
                    return self._document(request, "v2.pb", lambda: _protobuf(resources), PROTOBUF)
                return self._document(request, "v2", lambda: openapi.rendered(openapi.document_v2(resources)))
            case ["v3"]:
                return self._document(request, "v3", lambda: openapi.rendered(openapi.index(resources)))
            case ["v3", *parts] if "/".join(parts) in openapi.keys(resources):
                key = "/".join(parts)
                return self._document(
                    request, f"v3/{key}", lambda: openapi.rendered(openapi.document_v3(key, resources))
                )
        return None

    def _resources(self) -> list[Resource]:
        resources = [served.resource for served in self._registry.served.values()]
        if len(resources) != len(self._of) or any(map(is_not, resources, self._of)):
            self._made.clear()
            self._of = resources
        return resources

    def _document(self, request: Request, name: str, make: Callable[[], bytes], media: str = JSON) -> Response:
        if name not in self._made:
            body = make()
            schema.forget_descriptions()
            self._made[name] = (body, f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"')
        body, tag = self._made[name]
        headers = (("ETag", tag), ("Vary", "Accept"))
        if request.headers.get("If-None-Match") == tag:
            return Response(304, b"", "", headers)
        return Response(200, body, media, headers)


@lru_cache(maxsize=64)
def wants_protobuf(accept: str) -> bool:
    """Whether version 2 in protobuf is what the client likes best of what there is."""
    for media, _ in parse_accept(accept):
        if media in PROTOBUF_NAMES:
            return True
        if media in (JSON, "application/*", "*/*"):
            return False
    return False


def _protobuf(resources: list[Resource]) -> bytes:
    return openapi_protobuf.document(openapi.document_v2(resources))
