"""Reads a table by netlink dumps into a State.

Stage: read.  In: the kernel's answers.  Out: chains, sets and elements that compare equal with compiled ones.
Rules: what is not of our shapes becomes a value that equals nothing of ours, never an error: it is then replaced.  What
dynamic sets hold is the kernel's and not read.
Truth: linux/netfilter/nf_tables.h; the order of attributes is the kernel's (nf_tables_api.c, nf_tables_fill_setelem).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from functools import lru_cache

from clusterip.kernel.netlink import ATTRIBUTE, KIND_MASK, attribute, attributes, nest
from clusterip.kernel.nfnetlink import Nfnetlink, Refusal, Request
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    ElementsByKey,
    Hook,
    Key,
    Kind,
    SetSpec,
    State,
    Table,
    TableSpec,
    Value,
    chain_key,
    joined,
    set_key,
)
from clusterip.kernel.nft_expression import ADDED, VERDICT_NAMES, Rule, sequence, string
from clusterip.kernel.nft_field import EXPRESSION_CONCAT, FAMILY_NUMBERS, KINDS, Field, Fields
from clusterip.kernel.nft_message import (
    CHAIN_HOOK,
    CHAIN_NAME,
    CHAIN_POLICY,
    CHAIN_TYPE,
    CHAIN_USER,
    ELEMENT_DATA,
    ELEMENT_EXPRESSION,
    ELEMENT_KEY,
    ELEMENT_USER,
    ELEMENTS_LIST,
    ELEMENTS_SET,
    GET_CHAIN,
    GET_ELEMENTS,
    GET_GENERATION,
    GET_RULE,
    GET_SET,
    GET_TABLE,
    HOOKS,
    IS_DYNAMIC,
    LIST_ELEMENT,
    NAME_OF_TABLE,
    POLICIES,
    RULE_CHAIN,
    RULE_EXPRESSIONS,
    RULE_USER,
    SET_EXPRESSION,
    SET_FLAGS,
    SET_NAME,
    SET_TIMEOUT,
    SET_USER,
    SET_VALUE_TYPE,
    TABLE_USER,
    USER_COMMENT,
    USER_KEY,
    USER_VALUE,
    VERDICT_TYPE,
    listed,
)

ATTEMPTS = 4
OWNER = 7
HOOK_NAMES = {number: name for name, number in HOOKS.items()}
POLICY_NAMES = {number: name for name, number in POLICIES.items()}
NESTED_PARTS = {"cmp": (3,), "bitwise": (4, 5), "immediate": (2,)}  # attributes that hold data
FOREIGN = "?"  # what stands for a thing that cannot be ours


class Reader:
    """Asks about one table."""

    def __init__(self, link: Nfnetlink, table: Table) -> None:
        self._link, self._family, self._number = link, table.family, FAMILY_NUMBERS[table.family]
        self._name = string(NAME_OF_TABLE, table.name)

    def _request(self, kind: int, *attributes: bytes) -> Request:
        return Request(kind, 0, self._number, b"".join((self._name, *attributes)))

    def read(self) -> State:
        """One moment's state; a change in between makes it ask again, unless changes do not end: they bring doubt."""
        for _ in range(ATTEMPTS):
            before = self._generation()
            try:
                state = self._read()
            except Refusal as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # it changed, or a set went
                    continue
                raise
            if self._generation() == before:
                break
        return state

    def _generation(self) -> bytes:
        answers = [*self._link.ask(Request(GET_GENERATION, 0, 0, b""))]
        return attributes(answers[0]).get(1, b"") if answers else b""

    def table(self) -> dict[int, bytes] | None:
        """The attributes of the table itself, if it is there."""
        try:
            return attributes(next(self._link.ask(self._request(GET_TABLE))))
        except Refusal as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def _read(self) -> State:
        found = self.table()
        if found is None:
            return {}
        state: dict[Key, Value] = {TABLE: TableSpec(_comment(found.get(TABLE_USER, b"")))}
        sets = {_text(told[SET_NAME]): self._set(told) for told in self._dump(GET_SET)}
        state |= {set_key(name): spec for name, spec in sets.items()}
        for name, spec in sets.items():
            if not spec.is_dynamic:
                elements = self._elements(name)
                if spec.has_runs:
                    elements = joined(elements)
                state.update((Key(Kind.ELEMENT, name, key), element) for key, element in elements.items())
        return state | self._chains()

    def _dump(self, kind: int) -> Iterator[dict[int, bytes]]:
        mine = self._name[4:].rstrip(b"\0")
        for body in self._link.dump(self._request(kind)):
            told = attributes(body)
            if told[NAME_OF_TABLE].rstrip(b"\0") == mine:
                yield told

    def _chains(self) -> dict[Key, Value]:
        rules: dict[str, list[Rule]] = {}
        for told in self._dump(GET_RULE):
            expressions = normal(told.get(RULE_EXPRESSIONS, b""))
            rules.setdefault(_text(told[RULE_CHAIN]), []).append(Rule(expressions, _comment(told.get(RULE_USER, b""))))
        chains: dict[Key, Value] = {}
        for told in self._dump(GET_CHAIN):
            name = _text(told[CHAIN_NAME])
            chains[chain_key(name)] = Chain(
                tuple(rules.get(name, ())), _hook(told), _comment(told.get(CHAIN_USER, b""))
            )
        return chains

    def _set(self, told: dict[int, bytes]) -> SetSpec:
        user = _entries(told.get(SET_USER, b""))
        has_verdicts = _number(told.get(SET_VALUE_TYPE, b"")) == VERDICT_TYPE
        return SetSpec(
            _fields(user.get(USER_KEY, b""), self._family),
            () if has_verdicts or USER_VALUE not in user else _fields(user[USER_VALUE], self._family),
            has_verdicts,
            int.from_bytes(told.get(SET_TIMEOUT, b""), "big") // 1000,
            bool(_number(told.get(SET_FLAGS, b"")) & IS_DYNAMIC),
            attributes(told.get(SET_EXPRESSION, b"")).get(1) == b"counter\0",
            user.get(USER_COMMENT, b"").rstrip(b"\0").decode(errors="replace"),
        )

    def _elements(self, name: str) -> ElementsByKey:
        found: ElementsByKey = {}
        for body in self._link.dump(self._request(GET_ELEMENTS, string(ELEMENTS_SET, name))):
            for key, element in _listed(body):
                found[key] = element
        return found

    def counters(self, name: str, keys: list[bytes]) -> Iterator[tuple[tuple[str, bytes], bytes]]:
        """What elements of a set have counted, as the attribute that gives it to another element."""
        for start in range(0, len(keys), 1000):
            asked = b"".join([listed(key) for key in keys[start : start + 1000]])
            request = self._request(GET_ELEMENTS, string(ELEMENTS_SET, name), attribute(ELEMENTS_LIST | 0x8000, asked))
            for body in self._link.ask(request):
                for key, _, _, counted in _spans(body):
                    if counted:
                        yield (name, key), counted


def _listed(body: bytes) -> Iterator[tuple[bytes, Element]]:
    """Key and element of each element of an answer."""
    for key, value, user, _ in _spans(body):
        yield key, Element(_value(value) if value else b"", _comment(user) if user else "")


def _spans(body: bytes) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Key, data, user part and counter of each element. The places are fixed, so that this is fast."""
    unpack = ATTRIBUTE.unpack_from
    content = attributes(body).get(ELEMENTS_LIST, b"")
    offset, end = 0, len(content)
    while offset + 4 <= end:
        size, _ = unpack(content, offset)
        place, stop = offset + 4, offset + size
        key = value = user = counted = b""
        while place + 4 <= stop:
            length, kind = unpack(content, place)
            kind &= KIND_MASK
            if kind == ELEMENT_KEY:
                key = content[place + 8 : place + length]
            elif kind == ELEMENT_DATA:
                value = content[place + 4 : place + length]
            elif kind == ELEMENT_USER:
                user = content[place + 4 : place + length]
            elif kind == ELEMENT_EXPRESSION:
                counted = content[place : place + length]
            place += (length + 3) & ~3
        yield key, value, user, counted
        offset += (size + 3) & ~3


def _value(told: bytes) -> str | bytes:
    """Data, or the text of a verdict."""
    return told[4:] if told[2] & 0x7F == 1 else _verdict(told)


@lru_cache(maxsize=1 << 12)
def _verdict(told: bytes) -> str:
    parts = attributes(attributes(told).get(2, b""))
    word = VERDICT_NAMES.get(struct.unpack(">i", parts.get(1, b"\0\0\0\1"))[0], FOREIGN)
    return f"{word} {_text(parts[2])}" if 2 in parts else word


@lru_cache(maxsize=1 << 16)
def _comment(user: bytes) -> str:
    return _entries(user).get(0, b"").rstrip(b"\0").decode(errors="replace")


def _entries(user: bytes) -> dict[int, bytes]:
    """The entries of a user part."""
    found, offset = {}, 0
    while offset + 2 <= len(user):
        kind, length = user[offset], user[offset + 1]
        found[kind] = user[offset + 2 : offset + 2 + length]
        offset += 2 + length
    return found


def _text(told: bytes) -> str:
    return told.rstrip(b"\0").decode(errors="replace")


def _number(told: bytes) -> int:
    return int.from_bytes(told, "big")


@lru_cache(maxsize=64)
def _fields(user: bytes, family: str) -> Fields:
    """The fields of a key or value; none at all when one is not ours."""
    known = {kind.user: field for field, kind in KINDS[family].items()}
    if field := known.get(user):
        return (field,)
    outer = _entries(user)
    if outer.get(0) != struct.pack("=I", EXPRESSION_CONCAT):
        return ()
    parts = [known.get(part) for part in _entries(outer.get(1, b"")).values()]
    found: list[Field] = [field for field in parts if field]
    return tuple(found) if len(found) == len(parts) else ()


def _hook(told: dict[int, bytes]) -> Hook | None:
    if CHAIN_HOOK not in told:
        return None
    place = attributes(told[CHAIN_HOOK])
    number = _number(place.get(1, b""))
    priority = struct.unpack(">i", place.get(2, bytes(4)))[0]
    policy = POLICY_NAMES.get(_number(told.get(CHAIN_POLICY, b"\1")), FOREIGN)
    return Hook(_text(told.get(CHAIN_TYPE, b"")), HOOK_NAMES.get(number, FOREIGN), priority, policy)


@lru_cache(maxsize=1 << 12)
def normal(expressions: bytes) -> bytes:
    """A rule's expressions in the form of nft_expression.py."""
    return b"".join(_expression(found) for found in sequence(expressions))


def _expression(told: bytes) -> bytes:
    outer = attributes(told)
    name = _text(outer.get(1, b""))
    added = ADDED.get(name, ())
    parts = sorted((kind, value) for kind, value in attributes(outer.get(2, b"")).items() if kind not in added)
    nested = NESTED_PARTS.get(name, ())
    content = [_renewed(kind, value) if kind in nested else attribute(kind, value) for kind, value in parts]
    return nest(LIST_ELEMENT, string(1, name), nest(2, *content))


def _renewed(kind: int, value: bytes) -> bytes:
    """Data: a value, or a verdict; kernels differ in which attributes they call nested."""
    return nest(
        kind, *(_verdict_data(told) if data == 2 else attribute(data, told) for data, told in attributes(value).items())
    )


def _verdict_data(told: bytes) -> bytes:
    return nest(2, *(attribute(kind, value) for kind, value in attributes(told).items()))
