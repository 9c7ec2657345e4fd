"""get and list.

Stage: serve.  In: a Call.  Out: copies of the cache; older revisions from the store.
Truth: kubernetes.io/docs/reference/using-api/api-concepts (resource versions, chunking).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import orjson

from clusterip.api import errors
from clusterip.api.errors import ApiError, FieldError
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.forms import list_metadata
from clusterip.apiserver.selecting import Selection, selection
from clusterip.store.base import Compacted, FutureRevision
from clusterip.transport.http import Response

EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)
MATCHES = ("", "Exact", "NotOlderThan")


def get(core: Core, call: Call) -> Response:
    return call.answer(core, call.view(core).one(found(call)))


def found(call: Call) -> Entry:
    """The call's object, or 404."""
    entry = call.served.collection.entries.get(call.key)
    if entry is None:
        resource = call.served.resource
        raise ApiError.not_found(resource.group, resource.plural, call.name)
    return entry


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is wanted, as of when (0: now)."""

    revision: int = 0
    exact: bool = False
    after: str = ""
    limit: int = 0


def list_all(core: Core, call: Call) -> Response:
    """A list, or a page of it."""
    page = parse_page(core, call)
    chosen = selection(call.query, call.served.resource, call.namespace)
    revision = page.revision if page.exact else core.store.revision
    entries = _entries(core, call, chosen, page)
    if not page.limit:
        body = call.view(core).many(entries, list_metadata(revision))
        return call.answer(core, body)
    part = list(islice(entries, page.limit))
    token, remaining = "", 0
    following = next(entries, None)
    if following is not None:
        token = _continue_token(revision, part[-1].key)
        # upstream does not count what a selector may still drop
        remaining = 1 + sum(1 for _ in entries) if chosen.meets is None else 0
    return call.answer(core, call.view(core).many(part, list_metadata(revision, token, remaining)))


def _entries(core: Core, call: Call, chosen: Selection, page: Page) -> Iterator[Entry]:
    collection = call.served.collection
    if not page.exact or collection.changed <= page.revision:
        return chosen.of(collection, page.after)
    prefix = collection.prefix + chosen.prefix
    after = collection.prefix + page.after if page.after else ""
    try:
        items = core.store.range(prefix, revision=page.revision, after=after)
    except Compacted:
        if page.after:
            raise ApiError.expired(EXPIRED_CONTINUE) from None
        text = f"The resourceVersion for the provided list is too old: {page.revision}"
        raise ApiError.expired(text) from None
    except FutureRevision:
        raise ApiError.too_large_resource_version(page.revision, core.store.revision) from None
    past = (collection.entry_of(item) for item in items)
    return past if chosen.meets is None else filter(chosen.meets, past)


def parse_page(core: Core, call: Call) -> Page:
    """limit, continue, resourceVersion and resourceVersionMatch; ApiError where they contradict each other."""
    query = call.query
    token, version, match = (query.get(name, "") for name in ("continue", "resourceVersion", "resourceVersionMatch"))
    problems = _problems(token, version, match)
    if problems:
        raise ApiError.invalid("meta.k8s.io", "ListOptions", "", problems)
    limit = query.get("limit", "")
    size = int(limit) if limit.isdigit() else 0
    if token:
        revision, after = _parse_continue(token)
        return Page(revision, True, after, size)
    revision = parse_version(version)
    if revision > core.store.revision:
        raise ApiError.too_large_resource_version(revision, core.store.revision)
    exact = match == "Exact" or (bool(size) and revision > 0 and not match)
    return Page(revision, exact, "", size)


def _problems(token: str, version: str, match: str) -> list[FieldError]:
    field = "resourceVersionMatch"
    if token:
        if version not in ("", "0"):
            return [errors.forbidden("resourceVersion", "resourceVersion is forbidden for continue")]
        if match:
            return [errors.forbidden(field, "resourceVersionMatch is forbidden for continue")]
    if not match:
        return []
    if match not in MATCHES:
        return [errors.not_supported(field, match, ("Exact", "NotOlderThan", ""))]
    if not version:
        return [errors.forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")]
    if match == "Exact" and version == "0":
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        return [errors.forbidden(field, detail)]
    return []


def parse_version(text: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        error = errors.invalid(
            "resourceVersion", text, f"strconv.ParseUint: parsing {errors.quoted(text)}: invalid syntax"
        )
        raise ApiError.bad_request(f"invalid resource version: {error}")
    return int(text)


def _continue_token(revision: int, key: str) -> str:
    raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": key + "\0"})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _parse_continue(token: str) -> tuple[int, str]:
    """The revision and the last key of the former page."""
    try:
        raw = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    except (binascii.Error, ValueError) as error:
        raise ApiError.bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    try:
        tree = orjson.loads(raw)
        return int(tree["rv"]), str(tree["start"]).rstrip("\0")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        char = raw[:1].decode("latin-1")
        shown = f"\\u{ord(char):04x}" if char and not char.isprintable() else char
        why = f"invalid character '{shown}' looking for beginning of value"
        raise ApiError.bad_request(f"invalid continue token: continue key is not valid: {why}") from None
