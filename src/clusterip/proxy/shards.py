"""A mapping that shares all but what changed with the mapping it was made from.

Stage: none; a value.  In: a mapping, and what to put and remove.  Out: another mapping; the first is as it was.
Rules: frozen; a change costs the few entries that lie beside what changed, not a copy of ten thousand.  The order of
entries means nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from itertools import chain
from typing import Generic, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")
COUNT = 256
MASK = COUNT - 1


class Shards(Mapping[K, V]):
    """Entries by the hash of their keys, in buckets that are never changed."""

    __slots__ = ("_buckets", "_length")

    def __init__(self, buckets: tuple[dict[K, V], ...] = ({},) * COUNT, length: int = 0) -> None:
        self._buckets, self._length = buckets, length

    def changed(self, put: Mapping[K, V], remove: Iterable[K] = ()) -> Shards[K, V]:
        """With these entries, and without those; what is in both is put."""
        buckets, copied = list(self._buckets), set[int]()

        def bucket(key: K) -> dict[K, V]:
            place = hash(key) & MASK
            if place not in copied:
                copied.add(place)
                buckets[place] = buckets[place].copy()
            return buckets[place]

        for key in remove:
            if key not in put:
                bucket(key).pop(key, None)
        for key, value in put.items():
            bucket(key)[key] = value
        length = self._length + sum(len(buckets[place]) - len(self._buckets[place]) for place in copied)
        return Shards(tuple(buckets), length)

    def __getitem__(self, key: K) -> V:
        return self._buckets[hash(key) & MASK][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: V | D | None = None) -> V | D | None:
        return self._buckets[hash(key) & MASK].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._buckets[hash(key) & MASK]

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._buckets)

    def __len__(self) -> int:
        return self._length

    def items(self) -> ItemsView[K, V]:
        return _Items(self)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def __repr__(self) -> str:
        return repr(dict(self.items()))


class _Items(ItemsView[K, V], Generic[K, V]):
    """All entries, bucket by bucket: faster than one look-up each."""

    __slots__ = ()
    _mapping: Shards[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return chain.from_iterable(bucket.items() for bucket in self._mapping._buckets)


class _Values(ValuesView[V], Generic[V]):
    """All values, in the order of the keys."""

    __slots__ = ()
    _mapping: Shards[Hashable, V]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(bucket.values() for bucket in self._mapping._buckets)
