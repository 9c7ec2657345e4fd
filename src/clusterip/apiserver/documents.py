"""OpenAPI documents as bytes: made when first asked for, kept until the resources change.

Stage: serve.  In: the registry.  Out: Responses with an ETag, so that clients keep what they have.
Rules: version 2 is in protobuf for those who want it so, as every kubectl does that reads it; a group's document that
       is asked for by its hash never changes, so it may be kept for ever, and another hash leads to the present one.
Truth: kube-openapi's handlers; KEP-2896 (OpenAPI v3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from email.utils import format_datetime
from functools import lru_cache
from operator import is_not

import orjson

from clusterip.api import openapi, openapi_protobuf, schema
from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.apiserver.media import JSON, parse_accept
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.remotes import Remote, merged_schema
from clusterip.clock import Clock
from clusterip.transport.answers import Response
from clusterip.transport.request import Request

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_NAMES = (PROTOBUF, PROTOBUF.replace("v2.v1.0", "v2@v1.0"))
"""The name that is answered with, and the older one that clients ask by: its @ may not stand in a Content-Type."""


class Documents:
    """/openapi/v2 and /openapi/v3."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._made: dict[str, tuple[bytes, str]] = {}
        self._of: list[Resource] = []
        self._with: list[tuple[str, bool, str, str]] = []

    def answer(self, request: Request, rest: list[str]) -> Response | None:
        """The document at /openapi/<rest>; None when there is none."""
        resources = self._resources()
        match rest:
            case ["v2"]:
                if wants_protobuf(request.headers.get("Accept", "")):
                    make = lambda: openapi_protobuf.document(self._whole(resources))  # noqa: E731
                    return self._document(request, "v2.pb", make, PROTOBUF)
                return self._document(request, "v2", lambda: openapi.rendered(self._whole(resources)))
            case ["v3"]:
                return self._document(request, "v3", lambda: openapi.rendered(self._index(resources)))
            case ["v3", *parts] if "/".join(parts) in openapi.keys(resources):
                return self._group(request, "/".join(parts), resources)
        return None

    def _group(self, request: Request, key: str, resources: list[Resource]) -> Response:
        """The document of a group version: what the index calls its hash is its ETag."""
        if not wants_json(request.headers.get("Accept", "")):
            return Response(406, b"", "", (("Vary", "Accept"),))
        present, asked = openapi.fingerprint(key, resources), request.query.get("hash", "")
        if asked not in ("", present):
            place = f"/openapi/v3/{key}?hash={present}"
            body = f'<a href="{place}">Moved Permanently</a>.\n\n'.encode()
            return Response(301, body, "text/html; charset=utf-8", (("Location", place), ("Vary", "Accept")))
        make = lambda: openapi.rendered(openapi.document_v3(key, resources))  # noqa: E731
        found = self._document(request, f"v3/{key}", make, tag=f'"{present}"')
        if asked:
            found.cache_control = "public, immutable"
            expires = self._clock.now() + timedelta(days=365)
            found.headers = (*found.headers, ("Expires", format_datetime(expires, usegmt=True)))
        return found

    def _whole(self, resources: list[Resource]) -> Tree:
        """Version 2: one document of everything, what other servers serve included."""
        found = openapi.document_v2(resources)
        others = [
            (remote.place, orjson.loads(remote.schema))
            for remote in self._remotes()
            if remote.schema and remote.available
        ]
        return merged_schema(found, others) if others else found

    def _index(self, resources: list[Resource]) -> Tree:
        """Version 3: where the documents are; those of other servers they give themselves."""
        found = openapi.index(resources)
        for remote in self._remotes():
            found["paths"].pop(remote.place, None)
            if remote.schema_url and remote.available:
                found["paths"][remote.place] = {"serverRelativeURL": remote.schema_url}
        return found

    def _resources(self) -> list[Resource]:
        resources = [served.resource for served in self._registry.served.values()]
        remotes = [(each.place, each.available, each.schema_url, each.schema_tag) for each in self._remotes()]
        if len(resources) != len(self._of) or any(map(is_not, resources, self._of)) or remotes != self._with:
            self._made.clear()
            self._of, self._with = resources, remotes
        return resources

    def _remotes(self) -> Iterable[Remote]:
        return self._registry.remotes.values()

    def _document(
        self, request: Request, name: str, make: Callable[[], bytes], media: str = JSON, tag: str = ""
    ) -> Response:
        if name not in self._made:
            body = make()
            schema.forget_descriptions()
            self._made[name] = (body, tag or f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"')
        body, tag = self._made[name]
        headers = (("ETag", tag), ("Vary", "Accept"))
        if is_known(tag, request.headers.get("If-None-Match", "")):
            return Response(304, b"", "", headers)
        return Response(200, body, media, headers)


def is_known(tag: str, known: str) -> bool:
    """Whether a client has a document already, by the tags that it names."""
    return bool(known) and (known == "*" or tag in [each.strip().removeprefix("W/") for each in known.split(",")])


@lru_cache(maxsize=64)
def wants_json(accept: str) -> bool:
    """Whether JSON will do."""
    return not accept or any(media in (JSON, "application/*", "*/*") for media, _ in parse_accept(accept))


@lru_cache(maxsize=64)
def wants_protobuf(accept: str) -> bool:
    """Whether version 2 in protobuf is what the client likes best of what there is."""
    for media, _ in parse_accept(accept):
        if media in PROTOBUF_NAMES:
            return True
        if media in (JSON, "application/*", "*/*"):
            return False
    return False
