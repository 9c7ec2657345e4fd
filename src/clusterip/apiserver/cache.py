"""The watch cache: every object as encoded bytes with a small index, and the recent changes.

Stage: cache.  In: committed events of the store.  Out: entries to copy from, changes to watchers.
Rules: an entry never changes; bytes are decoded on demand only (index, selectors, tables, patches).
Form: a stored value is JSON whose first member is metadata, without resourceVersion, apiVersion and kind: those are
      spliced in front, so that GET, LIST and watch copy bytes.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import orjson

from clusterip.api.meta import Tree
from clusterip.store.contract import Event, KeyValue, Store

if TYPE_CHECKING:
    from clusterip.apiserver.fanout import Fan

HEAD = b'{"metadata":{'
FORMS = 4  # of an object that are kept: its versions, each by one definition
FRAMED = 32  # changes whose encoded forms are kept
RECENT = 1000  # changes of a collection kept in memory; older ones are read from the store

FieldReader = Callable[[Tree], str]


def encode(tree: Tree) -> bytes:
    """What the store keeps of an object: metadata first, without what the key and the revision say."""
    rest = {key: value for key, value in tree.items() if key not in ("metadata", "apiVersion", "kind")}
    metadata = {key: value for key, value in tree["metadata"].items() if key != "resourceVersion"}
    return orjson.dumps({"metadata": metadata, **rest})


class Entry:
    """One object as it was at a revision. `body` is the object's JSON without apiVersion and kind."""

    __slots__ = ("_fields", "_labels", "_shown", "body", "created", "key", "readers", "revision")

    def __init__(
        self, key: str, value: bytes, revision: int, created: int, readers: Mapping[str, FieldReader] | None = None
    ) -> None:
        self.key = key
        self.revision = revision
        self.created = created
        self.body = value  # revision 0: what a dry run would have kept
        if revision:
            self.body = b'%b"resourceVersion":"%d",%b' % (HEAD, revision, value[len(HEAD) :])
        self.readers = readers or {}
        self._labels: Mapping[str, str] | None = None
        self._fields: dict[str, str] | None = None
        self._shown: dict[str, bytes] | None = None

    @property
    def namespace(self) -> str:
        return self.key.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    def tree(self) -> Tree:
        """A fresh tree, the caller's own; apiVersion and kind are the caller's to add."""
        tree: Tree = orjson.loads(self.body)
        return tree

    def shown(self, form: str, convert: Callable[[Tree], Tree]) -> bytes:
        """The body in another form, made once; one that is not different takes no room."""
        known = self._shown or {}
        if form not in known:
            tree = self.tree()
            made = convert(tree)
            kept = known if len(known) < FORMS else {}
            self._shown = {**kept, form: self.body if made == tree else orjson.dumps(made)}
        assert self._shown is not None
        return self._shown[form]

    def value(self) -> bytes:
        """The bytes as the store keeps them."""
        return HEAD + self.body[self.body.index(b",") + 1 :]

    def moved(self, revision: int) -> Entry:
        """The same object said at another revision: what a DELETED event shows."""
        entry = Entry(self.key, self.value(), revision, self.created, self.readers)
        entry._labels, entry._fields = self._labels, self._fields
        return entry

    @property
    def labels(self) -> Mapping[str, str]:
        if self._labels is None:
            self._index(self.tree())
        assert self._labels is not None
        return self._labels

    @property
    def fields(self) -> Mapping[str, str]:
        """Selectable fields."""
        if self._fields is None:
            self._index(self.tree())
        assert self._fields is not None
        return self._fields

    def _index(self, tree: Tree) -> None:
        self._labels = tree["metadata"].get("labels") or {}
        self._fields = {"metadata.name": self.name, "metadata.namespace": self.namespace}
        for name, read in self.readers.items():
            self._fields[name] = read(tree)


class Change:
    """One committed change of a collection, with its encoded forms made at first demand."""

    __slots__ = ("encoded", "entry", "kind", "old", "revision")

    def __init__(self, kind: str, entry: Entry, old: Entry | None) -> None:
        self.kind = kind
        self.entry = entry
        self.old = old
        self.revision = entry.revision
        self.encoded: dict[object, bytes] = {}


Watcher = Callable[[Change], None]


class Collection:
    """All objects of one storage key."""

    def __init__(self, prefix: str, readers: Mapping[str, FieldReader]) -> None:
        self.prefix = prefix
        self.readers = dict(readers)
        self.entries: dict[str, Entry] = {}
        self.keys: list[str] = []
        self.recent: deque[Change] = deque(maxlen=RECENT)
        self.oldest = 0  # every change later than this is in `recent`
        self.changed = 0  # the revision of the last change
        self.watchers: dict[int, Watcher] = {}
        self.fan: Fan | None = None
        """Tells the watches that are up to date, once there are any."""

    def load(self, store: Store) -> None:
        """Take the present from the store."""
        for item in store.range(self.prefix):
            entry = self.entry_of(item)
            self.entries[entry.key] = entry
            self.changed = max(self.changed, entry.revision)
        self.keys = list(self.entries)
        self.oldest = self.changed = store.revision

    def entry_of(self, item: KeyValue) -> Entry:
        return Entry(item.key[len(self.prefix) :], item.value, item.revision, item.created, self.readers)

    def select(self, namespace: str = "", after: str = "") -> Iterator[Entry]:
        """Entries in order of their keys."""
        entries = self.entries
        first, last = self._span(namespace)
        if after:
            first = max(first, bisect.bisect_right(self.keys, after))
        return (entries[key] for key in islice(self.keys, first, last))

    def _span(self, namespace: str) -> tuple[int, int]:
        if not namespace:
            return 0, len(self.keys)
        return bisect.bisect_left(self.keys, namespace + "/"), bisect.bisect_left(self.keys, namespace + "0")

    def change_of(self, event: Event, made: Entry | None = None) -> Change:
        """An event of the store as a change; `made` is the entry that the write path has already."""
        key = event.key[len(self.prefix) :]
        old = self.entries.get(key)
        if old is None or event.old is None or old.revision != event.old.revision:
            old = self.entry_of(event.old) if event.old else None
        if event.value is None:
            assert old is not None
            return Change("DELETED", old.moved(event.revision), old)
        entry = made or Entry(key, event.value, event.revision, event.created, self.readers)
        return Change("MODIFIED" if old else "ADDED", entry, old)

    def apply(self, change: Change) -> None:
        """Take a change in and pass it on."""
        entry = change.entry
        if change.kind == "DELETED":
            del self.entries[entry.key]
            del self.keys[bisect.bisect_left(self.keys, entry.key)]
        else:
            if entry.key not in self.entries:
                bisect.insort(self.keys, entry.key)
            self.entries[entry.key] = entry
        if len(self.recent) == RECENT:
            self.oldest = self.recent[0].revision
        self.recent.append(change)
        if len(self.recent) > FRAMED:  # whoever is slower than this may encode it anew
            self.recent[-FRAMED].encoded.clear()
        self.changed = change.revision
        for watcher in list(self.watchers.values()):
            watcher(change)

    def since(self, revision: int, store: Store) -> list[Change]:
        """Changes later than a revision, in order; from memory when it reaches so far. Raises Compacted."""
        if revision >= self.oldest:
            return [change for change in self.recent if change.revision > revision]
        return [self._past(event) for event in store.history(self.prefix, revision) if event.revision <= self.changed]

    def _past(self, event: Event) -> Change:
        key = event.key[len(self.prefix) :]
        old = self.entry_of(event.old) if event.old else None
        if event.value is None:
            assert old is not None
            return Change("DELETED", old.moved(event.revision), old)
        entry = Entry(key, event.value, event.revision, event.created, self.readers)
        return Change("MODIFIED" if old else "ADDED", entry, old)
