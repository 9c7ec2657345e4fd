"""nftables as values: a table is a flat mapping of keys to values, a transaction is the Changes of one.

Stage: none; values, and the Protocol of those who commit and read.  Rules: no Service is known.  Keys and values of
elements are bytes, as the kernel has them.  In a map whose key ends in a number and whose values are data, one Element
holds a run: its values lie at consecutive numbers, the first at the key itself.
Writers: nft_kernel.py (netlink), nft_text.py (the program nft, held against the other), nft_fake.py (in memory).
Truth: nft(8) 1.0.6; linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from clusterip.diff import Changes
from clusterip.kernel.nft_expression import Rule
from clusterip.kernel.nft_field import NUMBER, Field, Fields, concatenated

VALUE_BYTES = {"ip": 8, "ip6": 20}  # data is an address and a port
NUMBER_BYTES = NUMBER.size


class NftError(Exception):
    """The kernel refused a transaction or could not be asked; nothing of it was done."""

    def __init__(self, reason: str, *, too_long: bool = False) -> None:
        super().__init__(reason)
        self.too_long = too_long  # the transaction can be made in pieces


class Table(NamedTuple):
    """The name of a table."""

    family: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


class Kind(Enum):
    TABLE = "table"
    SET = "set"
    CHAIN = "chain"
    ELEMENT = "element"

    __hash__ = object.__hash__  # keys are hashed often, and Enum's own is slow


class Key(NamedTuple):
    """What a state is keyed by: a chain, a set or map, or one element of one."""

    kind: Kind
    name: str
    element: bytes = b""


TABLE = Key(Kind.TABLE, "")


def chain_key(name: str) -> Key:
    return Key(Kind.CHAIN, name)


def set_key(name: str) -> Key:
    return Key(Kind.SET, name)


def element_key(name: str, element: bytes) -> Key:
    return Key(Kind.ELEMENT, name, element)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """The table itself; one with another comment is somebody else's and is replaced whole."""

    comment: str


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the kernel calls a base chain."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules."""

    rules: tuple[Rule, ...]
    hook: Hook | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A named set, or a map when it has a value. A dynamic one is filled by packets: its elements are the kernel's."""

    key: Fields
    value: Fields = ()
    has_verdicts: bool = False
    timeout_seconds: int = 0
    is_dynamic: bool = False
    counts: bool = False  # each element counts packets and bytes
    comment: str = ""

    @property
    def word(self) -> str:
        return "map" if self.value or self.has_verdicts else "set"

    @property
    def has_runs(self) -> bool:
        return bool(self.value) and self.key[-1] is Field.NUMBER

    def typeof(self, family: str) -> str:
        value = "verdict" if self.has_verdicts else concatenated(self.value, family)
        return f"{concatenated(self.key, family)}{f' : {value}' if value else ''}"


class Element(NamedTuple):
    """What an element holds: nothing in a set, a verdict's text or data in a map; data may be a run."""

    value: str | bytes = b""
    comment: str = ""


Value: TypeAlias = TableSpec | Chain | SetSpec | Element
State: TypeAlias = Mapping[Key, Value]


class Nft(Protocol):
    """What the kernel offers, and what the fake does too."""

    @property
    def ports(self) -> Collection[int]:
        """The netlink ports that changes were asked for by, for a monitor to know them."""
        ...

    async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
        """Make all of the changes in one transaction, or raise NftError and make none."""
        ...

    async def read(self, table: Table) -> State:
        """What the table holds; empty when there is none."""
        ...


def split(key: Key, element: Element, width: int) -> Iterator[tuple[Key, Element]]:
    """The single elements of a run; `width` is the length of one value."""
    value = element.value
    if isinstance(value, str) or len(value) <= width:
        yield key, element
        return
    head, first = key.element[:-NUMBER_BYTES], NUMBER.unpack(key.element[-NUMBER_BYTES:])[0]
    for place in range(len(value) // width):
        part = Element(value[place * width : place * width + width], element.comment)
        yield Key(key.kind, key.name, head + NUMBER.pack(first + place)), part


def split_all(values: State, family: str) -> dict[Key, Element]:
    """The elements of a state, runs as single ones."""
    width = VALUE_BYTES[family]
    found: dict[Key, Element] = {}
    for key, value in values.items():
        if isinstance(value, Element):
            found.update(split(key, value, width))
    return found


def joined(elements: Mapping[bytes, Element]) -> dict[bytes, Element]:
    """The elements of one map as runs: those with consecutive numbers and one comment."""
    found: dict[bytes, Element] = {}
    by_head: dict[bytes, list[tuple[int, Element]]] = {}
    for key, element in elements.items():
        by_head.setdefault(key[:-NUMBER_BYTES], []).append((NUMBER.unpack(key[-NUMBER_BYTES:])[0], element))
    for head, members in by_head.items():
        members.sort()
        for number, values, comment in _runs(members):
            found[head + NUMBER.pack(number)] = Element(b"".join(values), comment)
    return found


def _runs(members: list[tuple[int, Element]]) -> Iterator[tuple[int, list[bytes], str]]:
    start, comment, values = -1, "", list[bytes]()
    for number, element in members:
        assert isinstance(element.value, bytes)
        if values and (number != start + len(values) or element.comment != comment):
            yield start, values, comment
            values = []
        if not values:
            start, comment = number, element.comment
        values.append(element.value)
    yield start, values, comment


ElementsByKey: TypeAlias = dict[bytes, Element]


@dataclass(frozen=True, slots=True)
class ElementChanges:
    """The elements of one set that go and come; one that is in both is replaced. Runs are split, what stays is out."""

    name: str
    remove: ElementsByKey
    put: ElementsByKey


def element_changes(family: str, changes: Changes[Key, Value], gone: Collection[str] = ()) -> list[ElementChanges]:
    """What happens to the elements of each set. Those of sets that go, go with them."""
    width = VALUE_BYTES[family]
    removed, put = _by_set(changes.remove, width), _by_set(changes.put, width)
    found = []
    for name in dict.fromkeys((*removed, *put)):
        old, new = {} if name in gone else removed.get(name, {}), put.get(name, {})
        for key in [key for key in old if key in new and old[key] == new[key]]:
            del old[key], new[key]
        if old or new:
            found.append(ElementChanges(name, old, new))
    return found


def _by_set(values: State, width: int) -> dict[str, ElementsByKey]:
    found: dict[str, ElementsByKey] = {}
    for key, value in values.items():
        if key.element:
            into = found.get(key.name)
            if into is None:
                into = found[key.name] = {}
            assert isinstance(value, Element)
            if len(value.value) <= width or isinstance(value.value, str):
                into[key.element] = value
            else:
                _put_run(into, key.element, value.value, value.comment, width)
    return found


def _put_run(into: ElementsByKey, key: bytes, values: bytes, comment: str, width: int) -> None:
    head, first = key[:-NUMBER_BYTES], NUMBER.unpack(key[-NUMBER_BYTES:])[0]
    for place in range(len(values) // width):
        into[head + NUMBER.pack(first + place)] = Element(values[place * width : place * width + width], comment)
