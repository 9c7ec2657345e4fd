"""What is served: each resource beside the collection that keeps it, and the paths that lead to it.

Stage: none; the table that verbs look into.  In: records, a store.  Out: Served, by group, version and plural.
Rules: no kind is named here; records may come and go at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from clusterip.api.meta import Tree
from clusterip.api.resource import Resource
from clusterip.apiserver.cache import Collection, Entry, FieldReader
from clusterip.store.contract import Store

if TYPE_CHECKING:
    from clusterip.apiserver.conversion import Converter, Unmarked
    from clusterip.apiserver.remotes import Remote


@dataclass(slots=True, eq=False)
class Served:
    """One resource, ready to serve."""

    resource: Resource
    collection: Collection
    head: bytes = b""
    """What turns an entry's body into the object's JSON."""
    converter: Converter | Unmarked | None = None
    """Who knows the object's other versions, where that is a webhook."""
    is_ending: bool = False
    """No more objects of it are made: its definition is being deleted."""

    def __post_init__(self) -> None:
        names = f'{{"kind":"{self.resource.kind}","apiVersion":"{self.resource.api_version}",'
        self.head = names.encode()

    @property
    def ready_made(self) -> bool:
        """The kept form is this version's form."""
        return self.resource.from_storage is None and self.converter is None

    @property
    def has_bodies(self) -> bool:
        """The JSON of an object is made at most once: as it is kept, or with a schema's defaults."""
        return self.ready_made or (self.resource.is_custom and self.converter is None)

    def body(self, entry: Entry) -> bytes:
        """An object's JSON without its head, where such are made at most once."""
        convert = self.resource.from_storage
        return entry.body if convert is None else entry.shown(self.resource.schema, convert)

    def whole(self, entry: Entry) -> bytes:
        """An object's JSON, where such are made at most once."""
        return self.head + self.body(entry)[1:]

    def bodies(self, entries: Iterable[Entry]) -> list[bytes]:
        """The same of several objects."""
        return [entry.body for entry in entries] if self.ready_made else [self.body(entry) for entry in entries]

    def tree(self, entry: Entry) -> Tree:
        """The whole object in this version, the caller's own."""
        if not self.has_bodies:
            return self.shown(entry.tree())
        tree: Tree = orjson.loads(self.body(entry))
        return self._headed(tree)

    def shown(self, tree: Tree) -> Tree:
        """A kept tree, the caller's own, in this version."""
        if self.converter is not None:
            tree = self.converter.shown(tree, self.resource.version)
        elif self.resource.from_storage is not None:
            tree = self.resource.from_storage(tree)
        return self._headed(tree)

    def _headed(self, tree: Tree) -> Tree:
        tree["kind"], tree["apiVersion"] = self.resource.kind, self.resource.api_version
        return tree

    def kept(self, tree: Tree) -> Tree:
        """The form that the storage keeps."""
        if self.converter is not None:
            return self.converter.kept(tree, self.resource.version)
        return self.resource.to_storage(tree) if self.resource.to_storage is not None else tree

    def key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self.resource.namespaced else name


@dataclass(slots=True)
class Registry:
    """Every resource served, and every collection kept."""

    store: Store
    served: dict[tuple[str, str, str], Served] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)
    remotes: dict[tuple[str, str], Remote] = field(default_factory=dict)
    """What other servers serve, by group and version."""

    def add(self, resources: Iterable[Resource]) -> None:
        """Serve more resources; what the store keeps of them is loaded."""
        fresh: list[Collection] = []
        for resource in resources:
            collection = self.collections.get(resource.storage_key)
            if collection is None:
                collection = Collection(prefix_of(resource.storage_key), {})
                self.collections[resource.storage_key] = collection
                fresh.append(collection)
            served = Served(resource, collection)
            collection.readers.update(_readers(served))
            self.served[resource.group, resource.version, resource.plural] = served
        for collection in fresh:
            collection.load(self.store)

    def keep(self, storage_key: str) -> Collection:
        """A collection that is the server's own: kept like any, and not served."""
        if storage_key in self.collections:
            return self.collections[storage_key]
        collection = Collection(prefix_of(storage_key), {})
        self.collections[storage_key] = collection
        collection.load(self.store)
        return collection

    def remove(self, names: Iterable[tuple[str, str, str]]) -> None:
        """Serve some resources no more, by group, version and plural; what is kept of them stays."""
        for name in names:
            self.served.pop(name, None)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self.served.get((group, version, plural))

    def collection_of(self, key: str) -> Collection | None:
        """The collection that a store key belongs to."""
        _, _, first, second, *_ = key.split("/")
        return self.collections.get(f"{first}/{second}") or self.collections.get(f"/{first}")

    def of(self, plural: str, group: str = "") -> Collection | None:
        """A collection by its storage."""
        return self.collections.get(f"{group}/{plural}")

    def versions(self) -> Mapping[str, tuple[str, ...]]:
        """Groups, each with its versions, in the order of the records."""
        found: dict[str, dict[str, None]] = {}
        for group, version, _ in self.served:
            found.setdefault(group, {})[version] = None
        return {group: tuple(versions) for group, versions in found.items()}


def prefix_of(storage_key: str) -> str:
    """Where the store keeps a collection: /registry/configmaps/, /registry/apps/deployments/."""
    return f"/registry/{storage_key.strip('/')}/"


def _readers(served: Served) -> Mapping[str, FieldReader]:
    """The selectable fields of one version; each reads the kept form."""
    convert = served.resource.from_storage
    if convert is None:
        return served.resource.fields

    def through(read: FieldReader) -> FieldReader:
        return lambda tree: read(convert(tree))

    return {name: through(read) for name, read in served.resource.fields.items()}
