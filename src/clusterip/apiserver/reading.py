"""get and list.

Stage: serve.  In: a Call.  Out: copies of the cache; older revisions from the store.
Truth: kubernetes.io/docs/reference/using-api/api-concepts (resource versions, chunking).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import orjson

from clusterip.api import errors
from clusterip.api.errors import ApiError
from clusterip.apiserver import options
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.forms import list_metadata
from clusterip.apiserver.selecting import Selection, selection
from clusterip.store.contract import Compacted, FutureRevision
from clusterip.transport.answers import Response

EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
NOW = -1  # the revision of a token that goes on with what is there when it is used
NOT_BASE64 = re.compile(r"[^A-Za-z0-9_-]")


def get(core: Core, call: Call) -> Response:
    """One object, at least as new as asked."""
    try:
        revision = parse_version(call.query.get("resourceVersion", ""))
    except ApiError as error:
        raise ApiError.unclassified(error.message.removeprefix("invalid resource version: ")) from None
    if revision > core.store.revision:
        raise ApiError.too_large_resource_version(revision, core.store.revision)
    return call.answer(call.view(core).one(found(call)))


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
    chosen = selection(call.query, call.served, call.namespace)
    revision = page.revision if page.exact else core.store.revision
    entries = _entries(core, call, chosen, page)
    if chosen.converts:
        every = list(entries)
        _know(call, every)
        entries = iter(every)
    meets = chosen.meets
    if not page.limit or (chosen.name and chosen.namespace and not page.after):
        wanted = list(entries) if meets is None else [entry for entry in entries if meets(entry)]
        _know(call, wanted)
        return call.answer(call.view(core).many(wanted, list_metadata(revision)))
    part = list(islice(entries if meets is None else filter(meets, entries), page.limit))
    _know(call, part)
    token, remaining = "", 0
    # what a selector may still drop is not looked at: there is a next page wherever there are more objects
    if len(part) == page.limit and next(entries, None) is not None:
        token = _continue_token(revision, part[-1].key)
        remaining = 1 + sum(1 for _ in entries) if meets is None else 0
    return call.answer(call.view(core).many(part, list_metadata(revision, token, remaining)))


def _know(call: Call, entries: list[Entry]) -> None:
    """Of a kind that a webhook converts: all of a list at once."""
    if call.served.converter is not None:
        call.served.converter.need(entries, call.served.resource.version)


def _entries(core: Core, call: Call, chosen: Selection, page: Page) -> Iterator[Entry]:
    """All that is in the place, whether it is selected or not."""
    collection = call.served.collection
    unchanged = collection.changed <= page.revision and page.revision >= core.store.compacted
    if not page.exact or unchanged:
        return iter(collection.select(chosen.namespace, page.after))
    prefix = collection.prefix + chosen.prefix
    after = collection.prefix + page.after if page.after else ""
    try:
        items = core.store.range(prefix, revision=page.revision, after=after)
    except Compacted:
        if page.after:
            raise ApiError.expired(EXPIRED_CONTINUE, _continue_token(NOW, page.after)) from None
        text = f"The resourceVersion for the provided list is too old: {page.revision}"
        raise ApiError.expired(text) from None
    except FutureRevision:
        raise ApiError.too_large_resource_version(page.revision, core.store.revision) from None
    return (collection.entry_of(item) for item in items)


def parse_page(core: Core, call: Call) -> Page:
    """limit, continue, resourceVersion and resourceVersionMatch; ApiError where they contradict each other."""
    query = call.query
    token, version, match = (query.get(name, "") for name in ("continue", "resourceVersion", "resourceVersionMatch"))
    size = max(options.integer(query, "limit") or 0, 0)
    options.integer(query, "timeoutSeconds")
    if problems := options.list_problems(query):
        raise ApiError.invalid("meta.k8s.io", "ListOptions", "", problems)
    if token:
        if version not in ("", "0"):
            raise ApiError.bad_request("specifying resource version is not allowed when using continue")
        revision, after = _parse_continue(token)
        return Page(0, False, after, size) if revision == NOW else Page(revision, True, after, size)
    revision = parse_version(version)
    exact = match == "Exact" or (bool(size) and revision > 0 and not match)
    if revision > core.store.revision:
        # a list of exactly that revision does not wait for it
        raise ApiError.too_large_resource_version(revision, core.store.revision, 0 if exact else 1)
    if version == "0":
        size = 0  # any state will do, so the whole of it is at hand
    return Page(revision, exact, "", size)


def parse_version(text: str) -> int:
    if not text:
        return 0
    is_number = text.isascii() and text.isdigit()
    if not is_number or len(text) > options.LONGEST_NUMBER or int(text) >= 2**64:
        why = "value out of range" if is_number else "invalid syntax"
        error = errors.invalid("resourceVersion", text, f"strconv.ParseUint: parsing {errors.quoted(text)}: {why}")
        raise ApiError.bad_request(f"invalid resource version: {error}")
    return int(text)


def _continue_token(revision: int, key: str) -> str:
    raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": key + "\0"})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _parse_continue(token: str) -> tuple[int, str]:
    """The revision and the last key of the former page."""
    wrong = NOT_BASE64.search(token)
    if wrong or len(token) % 4 == 1:
        why = f"illegal base64 data at input byte {wrong.start() if wrong else len(token) - 1}"
        raise ApiError.bad_request(f"invalid continue token: continue key is not valid: {why}")
    raw = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    try:
        tree = orjson.loads(raw)
        return int(tree["rv"]), str(tree["start"]).rstrip("\0")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        char = raw[:1].decode("latin-1")
        shown = f"\\u{ord(char):04x}" if char and not char.isprintable() else char
        why = f"invalid character '{shown}' looking for beginning of value"
        raise ApiError.bad_request(f"invalid continue token: continue key is not valid: {why}") from None
