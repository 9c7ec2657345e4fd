"""watch: changes as they happen, from any revision that history still has.

Stage: serve.  In: a Call.  Out: a Stream of events.
Rules: an event is encoded and framed once for each form and written to every watcher of that form; a watcher that falls
       behind is sent more only as it takes it, and is cut off when it takes nothing, or owes too much; an object that
       begins or ceases to match a selector is ADDED or DELETED.
Truth: kubernetes.io/docs/reference/using-api/api-concepts (watches, bookmarks, streaming lists); KEP-3157.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver import options
from clusterip.apiserver.cache import Change, Collection, Entry
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.fanout import SLOW, Member, fan_of
from clusterip.apiserver.forms import View
from clusterip.apiserver.media import JSON, PROTOBUF, YAML, Form, render
from clusterip.apiserver.reading import parse_version
from clusterip.apiserver.selecting import Selection, selection
from clusterip.store.contract import Compacted
from clusterip.transport.answers import Sink, Stream, framed
from clusterip.transport.connection import TakesNothing

OWED = 64 * 1024 * 1024  # bytes of objects that wait for a watcher that is behind
CHUNK = 256 * 1024  # of initial events between two waits for the client
BOOKMARK_SECONDS = 60.0
SHORTEST, LONGEST = 1800, 3600  # seconds of a watch that names no timeout

log = logging.getLogger(__name__)
numbers = count(1)


class Watch:
    """One watcher: what it wants, in which form, and how far it is."""

    __slots__ = (
        "_bookmarks",
        "_call",
        "_converts",
        "_core",
        "_headed",
        "_member",
        "_more",
        "_number",
        "_owed",
        "_selection",
        "_sent_sizes",
        "_sink",
        "_waiting",
        "revision",
    )

    def __init__(self, core: Core, call: Call, sink: Sink, chosen: Selection, revision: int, bookmarks: bool) -> None:
        self._core = core
        self._call = call
        self._sink = sink
        self._selection = chosen
        self._bookmarks = bookmarks
        self._headed = call.form.shape == "Table"
        self._waiting: list[Change] | None = []  # while initial events are on their way, or it is behind
        self._owed = 0
        self._converts = call.served.converter is not None
        self._more = asyncio.Event()
        self._sent_sizes = call.request.sizes
        self._number = next(numbers)
        self._member: Member | None = None
        self.revision = revision

    def open(self) -> None:
        """From here on no change is lost."""
        self._call.served.collection.watchers[self._number] = self.heard

    def close(self) -> None:
        """Tell what is left to be told, and nothing more."""
        if self._member is not None:
            self._member.flush()
        self._leave()
        del self._call.served.collection.watchers[self._number]

    def _key(self) -> Hashable:
        """Watches that see the same have the same."""
        call, chosen = self._call, self._selection
        return id(call.served), call.form, chosen.prefix, chosen.text

    def _join(self) -> None:
        """Be told together with those who see the same."""
        collection = self._call.served.collection
        fan = fan_of(collection)
        self._member = fan.join(
            self._key(), self._number, self._told_as, self._sink, self._sent_sizes, self._fell_behind
        )
        collection.watchers[self._number] = _told_elsewhere

    def _leave(self) -> None:
        if self._member is not None:
            fan_of(self._call.served.collection).leave(self._key(), self._number)
            self._member = None

    def _fell_behind(self) -> None:
        """From here on it is sent only what it takes."""
        self._leave()
        self._call.served.collection.watchers[self._number] = self.heard
        self._waiting = []
        self._more.set()

    def _told_as(self, change: Change) -> bytes:
        """The event that this selection sees in a change; nothing where it sees none."""
        kind, entry = self._told(change)
        return self._encoded(change, kind, entry) if kind else b""

    def heard(self, change: Change) -> None:
        """Called by the collection for every change, in order."""
        if self._waiting is not None:
            self._waiting.append(change)
            self._owed += len(change.entry.body)
            if self._owed > OWED and not self._sink.closing:
                self._sink.abort()
                self._cut_off()
            if self._converts:
                self._more.set()
            return
        try:
            self._send(change)
        except Exception:  # who cannot be told this is ended; the write and all others go on
            log.exception("%s cannot be told to a watcher", change.entry.key)
            self._sink.abort()

    def _send(self, change: Change) -> None:
        if change.revision <= self.revision:
            return
        self.revision = change.revision
        kind, entry = self._told(change)
        if not kind:
            return
        made = self._encoded(change, kind, entry)
        self._sink.write(made)
        self._sent_sizes.append(len(made))
        if self._waiting is None and self._sink.buffered > SLOW:
            self._waiting = []
            self._more.set()

    def _told(self, change: Change) -> tuple[str, Entry]:
        """What the change is to someone who sees this selection only; "" for nothing."""
        chosen, entry = self._selection, change.entry
        if chosen.prefix and not entry.key.startswith(chosen.prefix):
            return "", entry
        if chosen.meets is None or change.kind != "MODIFIED":
            return (change.kind if chosen.wants(entry) else ""), entry
        assert change.old is not None
        before, after = chosen.meets(change.old), chosen.meets(entry)
        if after:
            return ("MODIFIED" if before else "ADDED"), entry
        return ("DELETED", change.old.moved(change.revision)) if before else ("", entry)

    def _encoded(self, change: Change, kind: str, entry: Entry) -> bytes:
        form = (self._call.served, self._call.form, self._call.query.get("includeObject", ""), self._headed, kind)
        made = change.encoded.get(form)
        if made is None:
            made = change.encoded[form] = self._frame(kind, entry)
        self._headed = False
        return made

    def _frame(self, kind: str, entry: Entry) -> bytes:
        return _event(kind, self._view().one(entry), self._call.form)

    def _view(self) -> View:
        view = self._call.view(self._core)
        return View(view.served, view.form, view.now, view.include, self._headed)

    async def catch_up(self, changes: Iterable[Change]) -> None:
        """Send what happened before now, then what happened meanwhile, then follow."""
        for change in changes:
            await self._sent(change)
            await self._breathe()
        await self._follow()

    async def _sent(self, change: Change) -> None:
        """Sent, in the version wanted, whoever has to be asked for it."""
        await self._learn([each for each in (change.old, change.entry) if each is not None])
        self._send(change)

    async def _learn(self, entries: Sequence[Entry]) -> None:
        served = self._call.served
        if served.converter is not None:
            await served.converter.learn(entries, served.resource.version)

    async def begin(self, entries: Iterable[Entry], revision: int, marked: bool) -> None:
        """Send the present as ADDED events; then, if asked, the bookmark that ends them; then follow."""
        if self._converts:
            entries = list(entries)
            await self._learn(entries)
            entries = filter(self._selection.wants, entries)
        for entry in entries:
            made = self._frame("ADDED", entry)
            self._sink.write(made)
            self._sent_sizes.append(len(made))
            self._headed = False
            await self._breathe()
        self.revision = revision
        if marked:
            self.bookmark({"k8s.io/initial-events-end": "true"})
        await self._follow()

    async def _breathe(self) -> None:
        if self._sink.buffered > CHUNK:
            try:
                await self._sink.taken()
            except TakesNothing:
                self._cut_off()
                raise

    def _cut_off(self) -> None:
        resource, counts = self._call.served.resource, self._core.cut_off
        key = (resource.group, resource.plural)
        counts[key] = counts.get(key, 0.0) + 1

    async def _follow(self) -> None:
        await self._breathe()
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for change in waiting:
                await self._sent(change)
                await self._breathe()
                self._owed -= len(change.entry.body)
        if not self._converts:
            self._waiting = None
            if self._call.form.shape != "Table":  # the first event of a table is not like the others
                self._join()

    async def rest(self, seconds: float) -> None:
        """Wait; meanwhile send what waits: where versions are converted, and to a watcher that fell behind."""
        end = asyncio.get_running_loop().time() + seconds
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout_at(end):
                    await self._more.wait()
                self._more.clear()
                await self._follow()

    def bookmark(self, annotations: Tree | None = None) -> None:
        """How far this watch is, without an object."""
        resource = self._call.served.resource
        metadata: Tree = {"creationTimestamp": None, "resourceVersion": str(self.revision)}
        if annotations:
            metadata["annotations"] = annotations
        tree: Tree = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._call.form.shape:
            tree = self._view().shaped(tree) if self._call.form.shape != "Table" else _table_bookmark(tree)
        self._sink.write(_event("BOOKMARK", render(tree, self._call.form), self._call.form))

    def tick(self) -> None:
        """Time for a bookmark: everything committed was either sent or is none of this watch's."""
        if self._bookmarks and not self._waiting and not self._sink.closing:
            if self._member is not None:
                self._member.flush()
            self.revision = max(self.revision, self._core.store.revision)
            self.bookmark()


def _told_elsewhere(change: Change) -> None:
    """What stands for a watch among a collection's watchers while a fan tells it."""


def _table_bookmark(tree: Tree) -> Tree:
    row = {"cells": [], "object": {**tree, "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": tree["metadata"]["resourceVersion"]},
        "columnDefinitions": None,
        "rows": [row],
    }


def _revision(core: Core, query: Mapping[str, str]) -> int:
    """Where the watch is to begin; 0 when it does not say."""
    try:
        revision = parse_version(query.get("resourceVersion", ""))
    except ApiError as error:
        raise ApiError.unclassified(error.message.removeprefix("invalid resource version: ")) from None
    if revision > core.store.revision:
        raise ApiError.too_large_resource_version(revision, core.store.revision)
    return revision


def watch(core: Core, call: Call) -> Stream:
    """A stream of events; an ApiError where the options cannot be, 410 where history is gone."""
    query = call.query
    if call.form.media == YAML or call.form.shape.endswith("List"):
        text = f"only the following media types are accepted: {JSON};stream=watch, {PROTOBUF};stream=watch"
        raise ApiError(406, "NotAcceptable", text)
    chosen = _named(selection(query, call.served, call.namespace), call)
    options.integer(query, "limit")
    options.integer(query, "timeoutSeconds")
    bookmarks = options.flag(query, "allowWatchBookmarks") or False
    initial = options.flag(query, "sendInitialEvents")
    if problems := options.watch_problems(query):
        raise ApiError.invalid("meta.k8s.io", "ListOptions", "", problems)
    revision = _revision(core, query)
    present = initial or (initial is None and revision == 0)
    if not present and revision == 0:
        revision = core.store.revision
    collection = call.served.collection
    changes = [] if present else _past(core, call, revision)

    async def run(sink: Sink) -> None:
        now = core.store.revision
        watching = Watch(core, call, sink, chosen, revision, bookmarks)
        # From here to the registration nothing awaits: no change is lost or told twice.
        entries = list(_candidates(chosen, collection)) if present else []
        past = [*changes, *collection.since(started, core.store)] if not present and now > started else changes
        watching.open()
        try:
            async with asyncio.timeout(_seconds(core, call)):
                if present:
                    await watching.begin(entries, now, bool(initial) and bookmarks)
                else:
                    await watching.catch_up(past)
                call.request.begun()
                while True:
                    await watching.rest(BOOKMARK_SECONDS)
                    watching.tick()
        except TimeoutError:
            watching.tick()
        except ApiError as error:  # a version that cannot be shown
            sink.write(_event("ERROR", render(error.status(), call.form), call.form))
        finally:
            watching.close()

    started = core.store.revision
    return Stream(run, content_type=call.form.of_stream)


def _event(kind: str, body: bytes, form: Form) -> bytes:
    """What is sent of a change; `body` is the object as the form has it."""
    if form.media == PROTOBUF:
        from clusterip.api import protobuf_writing  # rarely asked for

        return framed(protobuf_writing.event(kind, body))
    return framed(b'{"type":"%b","object":%b}\n' % (kind.encode(), body))


def _past(core: Core, call: Call, revision: int) -> list[Change]:
    try:
        return call.served.collection.since(revision, core.store)
    except Compacted as error:
        raise ApiError.too_old_resource_version(error.asked, error.oldest) from None


def _candidates(chosen: Selection, collection: Collection) -> Iterator[Entry]:
    """What there is of a selection, and more where that cannot be said yet."""
    return collection.select(chosen.namespace) if chosen.converts else chosen.of(collection)


def _named(chosen: Selection, call: Call) -> Selection:
    """A watch of one object (the path names it)."""
    if not call.name:
        return chosen
    key, meets = call.key, chosen.meets
    return Selection(
        chosen.namespace,
        lambda entry: entry.key == key and (meets is None or meets(entry)),
        chosen.prefix,
        chosen.name,
        f"{chosen.text}\0{key}",
        chosen.converts,
    )


def _seconds(core: Core, call: Call) -> float:
    text = call.query.get("timeoutSeconds", "")
    if text.isdigit() and int(text) > 0:
        return float(text)
    return core.random.uniform(SHORTEST, LONGEST)
