"""A transaction of nftables as netlink requests.

Stage: commit.  In: Changes of a State.  Out: requests for nfnetlink.py.
Rules: pure.  Order: sets, chains, rules out, rules in, elements out, elements in, sets and chains out: each object
exists before it is named and is named nowhere when it goes; and a rule that looks into a map makes the kernel walk all
of the map's elements, so it comes before them.
Truth: linux/netfilter/nf_tables.h; what nft 1.0.6 writes for the same (nft_text.py is held against this).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from clusterip.diff import Changes
from clusterip.kernel.netlink import ATTRIBUTE, NESTED, NLM_F_CREATE, attribute, attributes, nest
from clusterip.kernel.nfnetlink import Request
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    ElementChanges,
    Hook,
    Key,
    Kind,
    NftError,
    SetSpec,
    State,
    Table,
    TableSpec,
    Value,
    element_changes,
)
from clusterip.kernel.nft_expression import Rule, number, string, verdict
from clusterip.kernel.nft_field import FAMILY_NUMBERS, byte_order, length_of, type_of, user_part

SUBSYSTEM = 10
(
    NEW_TABLE, GET_TABLE, DELETE_TABLE, NEW_CHAIN, GET_CHAIN, DELETE_CHAIN, NEW_RULE, GET_RULE, DELETE_RULE,
    NEW_SET, GET_SET, DELETE_SET, NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS, _, GET_GENERATION,
) = (SUBSYSTEM << 8 | kind for kind in range(17))  # fmt: skip
APPEND = 0x800
NAME_OF_TABLE, TABLE_USER = 1, 6
CHAIN_NAME, CHAIN_HOOK, CHAIN_POLICY, CHAIN_TYPE, CHAIN_USER = 3, 4, 5, 7, 12
RULE_CHAIN, RULE_EXPRESSIONS, RULE_USER = 2, 4, 7
SET_NAME, SET_FLAGS, SET_KEY_TYPE, SET_KEY_LENGTH, SET_VALUE_TYPE, SET_VALUE_LENGTH = 2, 3, 4, 5, 6, 7
SET_DESCRIPTION, SET_ID, SET_TIMEOUT, SET_USER, SET_EXPRESSION = 9, 10, 11, 13, 17
ELEMENTS_SET, ELEMENTS_LIST, LIST_ELEMENT = 2, 3, 1
ELEMENT_KEY, ELEMENT_DATA, ELEMENT_USER, ELEMENT_EXPRESSION = 1, 2, 6, 7
IS_MAP, HAS_TIMEOUT, IS_DYNAMIC = 0x8, 0x10, 0x20
VERDICT_TYPE, VERDICT_LENGTH = 0xFFFFFF00, 16
USER_KEY_ORDER, USER_VALUE_ORDER, USER_KEY, USER_VALUE, USER_INTERVALS, USER_COMMENT = 0, 1, 3, 4, 6, 7
VERDICT_USER = b"\0\4\1\0\0\0\1\0"
DYNAMIC_SIZE = 65535
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
POLICIES = {"drop": 0, "accept": 1}
LIST_BYTES = 65000  # an attribute's length has 16 bits
WORDS = {"table": (0, 2), "chain": (3, 5), "rule": (6, 8), "set": (9, 11), "element": (12, 14)}
_HEAD, _DATA = struct.Struct("=6H"), struct.Struct("=4H")
Counters = Mapping[tuple[str, bytes], bytes]


def requests(table: Table, changes: Changes[Key, Value], counters: Counters | None = None) -> list[Request]:
    """The transaction. `counters` are what replaced elements had counted, as the kernel told it."""
    return [*_Writer(table).write(changes, counters or {})]


def comment_entry(text: str, kind: int = 0) -> bytes:
    """A comment in a user part."""
    encoded = text.encode() + b"\0"
    return bytes((kind, len(encoded))) + encoded


@lru_cache(maxsize=1 << 16)
def _element_comment(text: str) -> bytes:
    return attribute(ELEMENT_USER, comment_entry(text)) if text else b""


@lru_cache(maxsize=1 << 12)
def _element_verdict(text: str) -> bytes:
    return nest(ELEMENT_DATA, verdict(text))


class _Writer:
    """Requests about one table."""

    def __init__(self, table: Table) -> None:
        self._family, self._number = table.family, FAMILY_NUMBERS[table.family]
        self._table, self._name = table, string(NAME_OF_TABLE, table.name)

    def _request(self, kind: int, *attributes: bytes, flags: int = 0) -> Request:
        return Request(kind, flags, self._number, b"".join((self._name, *attributes)))

    def write(self, changes: Changes[Key, Value], counters: Counters) -> Iterator[Request]:
        """A table that goes takes all with it."""
        removed, put = changes.remove, changes.put
        if TABLE in removed:
            yield self._request(NEW_TABLE, flags=NLM_F_CREATE)  # to delete a missing one would be an error
            yield self._request(DELETE_TABLE)
            removed = {}
        if isinstance(spec := put.get(TABLE), TableSpec):
            yield self._request(NEW_TABLE, attribute(TABLE_USER, comment_entry(spec.comment)), flags=NLM_F_CREATE)
        yield from self._declarations(removed, put)
        for key, value in put.items():
            if isinstance(value, Chain):
                yield from (self._rule(key.name, found) for found in value.rules)
        gone = {key.name for key in removed if key.kind is Kind.SET}
        for found in element_changes(self._family, Changes(put, removed), gone):
            yield from self._elements(found, counters)
        yield from self._departures(removed, put)

    def _declarations(self, removed: State, put: State) -> Iterator[Request]:
        """Sets and chains come first, chains that change or go lose their rules."""
        count = 0
        for key, value in put.items():
            if isinstance(value, SetSpec):
                if key in removed:
                    raise NftError(f"set {key.name} of table {self._table} cannot change its type in place")
                count += 1
                yield self._set(key.name, value, count)
        for key, value in removed.items():
            if isinstance(value, Chain):
                yield self._request(DELETE_RULE, string(RULE_CHAIN, key.name))
                new = put.get(key)
                if isinstance(new, Chain) and (new.hook, new.comment) != (value.hook, value.comment):
                    yield self._request(DELETE_CHAIN, string(CHAIN_NAME, key.name))  # both are fixed at birth
        for key, value in put.items():
            if isinstance(value, Chain):
                yield self._chain(key.name, value)

    def _set(self, name: str, spec: SetSpec, number_in_transaction: int) -> Request:
        flags = IS_MAP if spec.word == "map" else 0
        flags |= (HAS_TIMEOUT if spec.timeout_seconds else 0) | (IS_DYNAMIC if spec.is_dynamic else 0)
        parts = [
            string(SET_NAME, name),
            number(SET_FLAGS, flags),
            number(SET_KEY_TYPE, type_of(spec.key, self._family)),
            number(SET_KEY_LENGTH, length_of(spec.key, self._family)),
            number(SET_ID, number_in_transaction),
            attribute(SET_USER, set_user_part(spec, self._family)),
        ]
        if spec.has_verdicts:
            parts += (number(SET_VALUE_TYPE, VERDICT_TYPE), number(SET_VALUE_LENGTH, VERDICT_LENGTH))
        elif spec.value:
            parts.append(number(SET_VALUE_TYPE, type_of(spec.value, self._family)))
            parts.append(number(SET_VALUE_LENGTH, length_of(spec.value, self._family)))
        if spec.is_dynamic:
            parts.append(nest(SET_DESCRIPTION, number(1, DYNAMIC_SIZE)))
        if spec.timeout_seconds:
            parts.append(attribute(SET_TIMEOUT, struct.pack(">Q", spec.timeout_seconds * 1000)))
        if spec.counts:
            parts.append(nest(SET_EXPRESSION, string(1, "counter"), nest(2)))
        return self._request(NEW_SET, *parts, flags=NLM_F_CREATE)

    def _chain(self, name: str, chain: Chain) -> Request:
        parts = [string(CHAIN_NAME, name), *(_hook(chain.hook) if chain.hook else ())]
        if chain.comment:
            parts.append(attribute(CHAIN_USER, comment_entry(chain.comment)))
        return self._request(NEW_CHAIN, *parts, flags=NLM_F_CREATE)

    def _rule(self, chain: str, found: Rule) -> Request:
        comment = attribute(RULE_USER, comment_entry(found.comment)) if found.comment else b""
        expressions = attribute(RULE_EXPRESSIONS | NESTED, found.expressions)
        return self._request(NEW_RULE, string(RULE_CHAIN, chain), expressions, comment, flags=NLM_F_CREATE | APPEND)

    def _elements(self, found: ElementChanges, counters: Counters) -> Iterator[Request]:
        name = string(ELEMENTS_SET, found.name)
        for part in _lists(listed(key) for key in found.remove):
            yield self._request(DELETE_ELEMENTS, name, part)
        for part in _lists(_new_elements(found, counters)):
            yield self._request(NEW_ELEMENTS, name, part, flags=NLM_F_CREATE)

    def _departures(self, removed: State, put: State) -> Iterator[Request]:
        """Maps before chains: their elements may still name one."""
        for key, value in removed.items():
            if isinstance(value, SetSpec):
                yield self._request(DELETE_SET, string(SET_NAME, key.name))
        for key, value in removed.items():
            if isinstance(value, Chain) and key not in put:
                yield self._request(DELETE_CHAIN, string(CHAIN_NAME, key.name))


def set_user_part(spec: SetSpec, family: str) -> bytes:
    """What nft wants to know about a set, to list it."""
    parts = [_numbered(USER_KEY_ORDER, byte_order(spec.key))]
    is_map = spec.word == "map"
    if is_map:
        parts.append(_numbered(USER_VALUE_ORDER, 0))
    parts.append(_entry(USER_KEY, user_part(spec.key, family)))
    if is_map:
        parts.append(_entry(USER_VALUE, VERDICT_USER if spec.has_verdicts else user_part(spec.value, family)))
        parts.append(_numbered(USER_INTERVALS, 0))
    if spec.comment:
        parts.append(comment_entry(spec.comment, USER_COMMENT))
    return b"".join(parts)


def _entry(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value))) + value


def _numbered(kind: int, value: int) -> bytes:
    return _entry(kind, struct.pack("=I", value))


def _hook(hook: Hook) -> tuple[bytes, ...]:
    place = nest(CHAIN_HOOK, number(1, HOOKS[hook.hook]), number(2, hook.priority))
    return place, number(CHAIN_POLICY, POLICIES[hook.policy]), string(CHAIN_TYPE, hook.type)


def listed(key: bytes, rest: bytes = b"") -> bytes:
    """One entry of a list of elements. Keys are whole words, so that nothing is padded."""
    size = len(key)
    head = _HEAD.pack(_HEAD.size + size + len(rest), LIST_ELEMENT | NESTED, size + 8, ELEMENT_KEY | NESTED, size + 4, 1)
    return head + key + rest


def _new_elements(found: ElementChanges, counters: Counters) -> Iterator[bytes]:
    name = found.name
    for key, (value, comment) in found.put.items():
        if isinstance(value, str):
            rest = _element_verdict(value)
        elif value:
            size = len(value)
            rest = _DATA.pack(size + 8, ELEMENT_DATA | NESTED, size + 4, 1) + value
        else:
            rest = b""
        if counters and (counted := counters.get((name, key))):
            rest += counted
        yield listed(key, rest + _element_comment(comment))


def _lists(elements: Iterable[bytes]) -> Iterator[bytes]:
    """Elements in lists that are short enough for an attribute."""
    batch: list[bytes] = []
    size = 0
    for element in elements:
        if size + len(element) > LIST_BYTES:
            yield attribute(ELEMENTS_LIST | NESTED, b"".join(batch))
            batch, size = [], 0
        batch.append(element)
        size += len(element)
    if batch:
        yield attribute(ELEMENTS_LIST | NESTED, b"".join(batch))


# -- what a refusal is about -------------------------------------------------------------------------------------------


def describe(request: Request, offset: int) -> str:
    """The object of a request in words; the offset of what the kernel complains about finds an element in a list."""
    kind = request.kind & 0xFF
    word = next((word for word, kinds in WORDS.items() if kind in kinds), "object")
    found = attributes(request.body)
    name = found.get({"chain": CHAIN_NAME, "table": NAME_OF_TABLE}.get(word, 2), b"").rstrip(b"\0").decode()
    if word == "rule":
        return f"a rule of chain {name}"
    if word != "element":
        return f"{word} {name}"
    elements = [*_spans(request.body)]
    within = next((key for start, end, key in elements if start <= offset - 20 < end), b"")
    return (
        f"an element of {name}" if len(elements) != 1 and not within else f"{name} {(within or elements[0][2]).hex()}"
    )


def _spans(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Where each element of a list begins and ends in the request, and its key."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, offset)
        if kind == ELEMENTS_LIST | NESTED:
            place = offset + ATTRIBUTE.size
            while place < offset + length:
                size, _ = ATTRIBUTE.unpack_from(body, place)
                key = attributes(attributes(body[place + 4 : place + size]).get(ELEMENT_KEY, b"")).get(1, b"")
                yield place, place + size, key
                place += (size + 3) & ~3
            return
        offset += (length + 3) & ~3
