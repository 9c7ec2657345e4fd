"""Rules as the kernel knows them: statements become lists of expressions, in one normal form.

Stage: compile.  In: statements, a family.  Out: Rule; the bytes of its expressions are what rules are compared by.
Rules: pure.  Registers are those that nft 1.0.6 would take, because it lists rules by following them.  Normal form:
attributes in order of their kind, without those that the kernel adds to a rule by itself.
Truth: linux/netfilter/nf_tables.h; `nft --debug=netlink`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from clusterip.kernel.netlink import ATTRIBUTE, attribute, attributes, nest
from clusterip.kernel.nft_field import NUMBER, PORT, PROTOCOLS, Field, Fields, length_of, offsets
from clusterip.kernel.nft_statement import (
    Accept,
    Dispatch,
    Drop,
    Established,
    FlipMark,
    FromElsewhere,
    Goto,
    InSet,
    Is,
    IsLocal,
    Jump,
    LacksMark,
    Masquerade,
    NewConnection,
    PortBetween,
    Reject,
    Remember,
    Return,
    SetMark,
    Spread,
    Statement,
    Translate,
    TranslateByMap,
    Translated,
)

LIST_ELEMENT, EXPRESSION_NAME, EXPRESSION_CONTENT = 1, 1, 2
VERDICT_REGISTER, FIRST, SECOND, FIRST_SHORT = 0, 1, 2, 8
DATA_VALUE, DATA_VERDICT, VERDICT_CODE, VERDICT_CHAIN = 1, 2, 1, 2
VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
VERDICT_NAMES = {code: word for word, code in VERDICTS.items()}
EQUAL, UNEQUAL, AT_MOST, AT_LEAST = 0, 1, 3, 5
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
META_MARK, META_INPUT_NAME, META_PROTOCOL = 3, 6, 16
CT_STATE, CT_STATUS, STATE_NEW, STATUS_DNAT = 0, 2, 1 << 3, 1 << 5
STATE_ESTABLISHED_OR_RELATED = 1 << 1 | 1 << 2
ADDRESS_PLACES = {"ip": {Field.SOURCE: 12, Field.DESTINATION: 16}, "ip6": {Field.SOURCE: 8, Field.DESTINATION: 24}}
FAMILY_NUMBERS = {"ip": 2, "ip6": 10}
DESTINATION_PORT = 2  # its place in the transport header
LOCAL, OF_SOURCE, OF_DESTINATION, ADDRESS_TYPE = 2, 1, 2, 3
BY_INPUT, IS_THERE, OUTPUT_LINK = 8, 32, 1
NAT_DESTINATION, RANDOM, RANDOM_FULLY, UPDATE = 1, 1, 0x10, 1
PORT_UNREACHABLE = {"ip": 3, "ip6": 4}
INTERFACE_BYTES = 16
ALL = 0xFFFFFFFF
# attributes that a kernel adds when it lists a rule, by expression
ADDED = {"lookup": {5}, "nat": {4, 6, 7}, "bitwise": {6}, "dynset": {6, 9}, "numgen": set[int](), "masq": {2, 3}}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Rules are equal when the kernel does the same for them; one that was read back has no statements."""

    expressions: bytes
    comment: str = ""
    statements: tuple[Statement, ...] = field(default=(), compare=False, repr=False)


def rule(*statements: Statement, comment: str = "", family: str = "ip") -> Rule:
    """A rule that runs the statements from left to right until one does not match."""
    return Rule(b"".join(_packed(statement, family) for statement in statements), comment, statements)


@lru_cache(maxsize=4096)
def _packed(statement: Statement, family: str) -> bytes:
    return b"".join(_PACKERS[type(statement)](statement, family))


@lru_cache(maxsize=1 << 14)
def named(expressions: bytes) -> tuple[str, ...]:
    """The chains and sets that a rule names."""
    found = []
    for content in sequence(expressions):
        outer = attributes(content)
        inner = attributes(outer.get(EXPRESSION_CONTENT, b""))
        match outer.get(EXPRESSION_NAME):
            case b"lookup\0" | b"dynset\0":
                found.append(inner.get(1, b""))
            case b"immediate\0":
                goal = attributes(attributes(inner.get(2, b"")).get(DATA_VERDICT, b""))
                found.append(goal.get(VERDICT_CHAIN, b""))
    return tuple(name.rstrip(b"\0").decode() for name in found if name)


def sequence(content: bytes) -> Iterator[bytes]:
    """The entries of a list, whose kinds are all the same."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(content):
        length, _ = ATTRIBUTE.unpack_from(content, offset)
        if length < ATTRIBUTE.size:
            return
        yield content[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def string(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & ALL))


def verdict(text: str) -> bytes:
    """`drop`, or `goto CHAIN`, as data."""
    word, _, chain = text.partition(" ")
    return nest(DATA_VERDICT, number(VERDICT_CODE, VERDICTS[word]), *((string(VERDICT_CHAIN, chain),) if chain else ()))


def _expression(name: str, *attributes: bytes) -> bytes:
    return nest(LIST_ELEMENT, string(EXPRESSION_NAME, name), nest(EXPRESSION_CONTENT, *attributes))


def _data(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(DATA_VALUE, value))


# -- expressions -------------------------------------------------------------------------------------------------------


def _payload(register: int, header: int, offset: int, length: int) -> bytes:
    return _expression("payload", number(1, register), number(2, header), number(3, offset), number(4, length))


def _meta(key: int, register: int) -> bytes:
    return _expression("meta", number(1, register), number(2, key))


def _compare(operation: int, value: bytes) -> bytes:
    return _expression("cmp", number(1, FIRST), number(2, operation), _data(3, value))


def _masked(mask: bytes, flip: bytes) -> bytes:
    size = number(3, len(mask))
    return _expression("bitwise", number(1, FIRST), number(2, FIRST), size, _data(4, mask), _data(5, flip))


def _immediate(register: int, value: bytes) -> bytes:
    return _expression("immediate", number(1, register), _data(2, value))


def _verdict(text: str) -> bytes:
    return _expression("immediate", number(1, VERDICT_REGISTER), nest(2, verdict(text)))


def _lookup(name: str, *into: bytes) -> bytes:
    return _expression("lookup", string(1, name), number(2, FIRST), *into)


def _random(register: int, count: int, offset: int) -> bytes:
    return _expression("numgen", number(1, register), number(2, count), number(3, RANDOM), number(4, offset))


def _nat(family: str, port_register: int) -> bytes:
    return _expression(
        "nat",
        number(1, NAT_DESTINATION),
        number(2, FAMILY_NUMBERS[family]),
        number(3, FIRST),
        number(5, port_register),
    )


def _register(place: int) -> int:
    """The kernel's name for a place: registers of 16 bytes have the lower numbers."""
    return FIRST + place // 16 if place % 16 == 0 else FIRST_SHORT + place // 4


def _loads(fields: Fields, family: str) -> Iterator[bytes]:
    for name, place, _ in offsets(fields, family):
        register = _register(place)
        if name is Field.PROTOCOL:
            yield _meta(META_PROTOCOL, register)
        elif name in (Field.PORT, Field.TCP_PORT):
            yield _payload(register, TRANSPORT_HEADER, DESTINATION_PORT, 2)
        else:
            yield _payload(register, NETWORK_HEADER, ADDRESS_PLACES[family][name], length_of((name,), family))


# -- statements --------------------------------------------------------------------------------------------------------


def _is(statement: Is, family: str) -> Iterator[bytes]:
    operation = UNEQUAL if statement.negate else EQUAL
    if statement.field is Field.PROTOCOL:
        yield _meta(META_PROTOCOL, FIRST)
        yield _compare(operation, bytes((PROTOCOLS[statement.value],)))
    elif statement.field is Field.INTERFACE:
        name = statement.value.encode()
        yield _meta(META_INPUT_NAME, FIRST)
        yield _compare(operation, name[:-1] if name.endswith(b"*") else name.ljust(INTERFACE_BYTES, b"\0"))
    else:
        yield from _in_network(statement, operation, family)


def _in_network(statement: Is, operation: int, family: str) -> Iterator[bytes]:
    """Whole bytes are loaded as such; any other length goes through a mask."""
    network, place = ip_network(statement.value), ADDRESS_PLACES[family][statement.field]
    address, whole = network.network_address.packed, network.prefixlen // 8
    if network.prefixlen % 8 == 0 and whole:
        yield _payload(FIRST, NETWORK_HEADER, place, whole)
        yield _compare(operation, address[:whole])
        return
    yield _payload(FIRST, NETWORK_HEADER, place, len(address))
    yield _masked(network.netmask.packed, bytes(len(address)))
    yield _compare(operation, address)


def _has_bit(load: bytes, bit: int) -> Iterator[bytes]:
    yield load
    yield _masked(NUMBER.pack(bit), bytes(NUMBER.size))
    yield _compare(UNEQUAL, bytes(NUMBER.size))


def _conntrack(key: int) -> bytes:
    return _expression("ct", number(1, FIRST), number(2, key))


def _in_set(statement: InSet, family: str) -> Iterator[bytes]:
    yield from _loads(statement.fields, family)
    yield _lookup(statement.name)


def _port_between(statement: PortBetween, family: str) -> Iterator[bytes]:
    yield _payload(FIRST, TRANSPORT_HEADER, DESTINATION_PORT, 2)
    yield _compare(AT_LEAST, PORT.pack(statement.first)[:2])
    yield _compare(AT_MOST, PORT.pack(statement.last)[:2])


def _is_local(statement: IsLocal, family: str) -> Iterator[bytes]:
    of = OF_SOURCE if statement.field is Field.SOURCE else OF_DESTINATION
    yield _expression("fib", number(1, FIRST), number(2, ADDRESS_TYPE), number(3, of))
    yield _compare(EQUAL, NUMBER.pack(LOCAL))


def _from_elsewhere(statement: FromElsewhere, family: str) -> Iterator[bytes]:
    asked = OF_SOURCE | BY_INPUT | IS_THERE
    yield _expression("fib", number(1, FIRST), number(2, OUTPUT_LINK), number(3, asked))
    yield _compare(EQUAL, NUMBER.pack(0))


def _lacks_mark(statement: LacksMark, family: str) -> Iterator[bytes]:
    yield _meta(META_MARK, FIRST)
    yield _masked(NUMBER.pack(statement.mark), bytes(NUMBER.size))
    yield _compare(UNEQUAL, NUMBER.pack(statement.mark))


def _change_mark(keep: int, flip: int) -> Iterator[bytes]:
    yield _meta(META_MARK, FIRST)
    yield _masked(NUMBER.pack(keep), NUMBER.pack(flip))
    yield _expression("meta", number(2, META_MARK), number(3, FIRST))


def _dispatch(statement: Dispatch, family: str) -> Iterator[bytes]:
    yield from _loads(statement.fields, family)
    yield _lookup(statement.name, number(3, VERDICT_REGISTER))


def _spread(statement: Spread, family: str) -> Iterator[bytes]:
    yield _random(FIRST, statement.count, 0)
    yield _lookup(statement.name, number(3, VERDICT_REGISTER))


def _translate_by_map(statement: TranslateByMap, family: str) -> Iterator[bytes]:
    yield from _loads(statement.fields, family)
    yield _random(_register(length_of(statement.fields, family)), statement.count, statement.offset)
    yield _lookup(statement.name, number(3, FIRST))
    yield _nat(family, _register(length_of((Field.DESTINATION,), family)))


def _translate(statement: Translate, family: str) -> Iterator[bytes]:
    yield _immediate(FIRST, ip_address(statement.address).packed)
    yield _immediate(SECOND, PORT.pack(statement.port)[:2])
    yield _nat(family, SECOND)


def _remember(statement: Remember, family: str) -> Iterator[bytes]:
    yield from _loads((Field.SOURCE,), family)
    yield _expression("dynset", string(1, statement.name), number(3, UPDATE), number(4, FIRST))


def _reject(family: str) -> bytes:
    return _expression("reject", number(1, 0), attribute(2, bytes((PORT_UNREACHABLE[family],))))


_PACKERS: dict[type, Callable[[Any, str], Iterator[bytes]]] = {
    NewConnection: lambda s, f: _has_bit(_conntrack(CT_STATE), STATE_NEW),
    Established: lambda s, f: _has_bit(_conntrack(CT_STATE), STATE_ESTABLISHED_OR_RELATED),
    Translated: lambda s, f: _has_bit(_conntrack(CT_STATUS), STATUS_DNAT),
    Is: _is,
    InSet: _in_set,
    PortBetween: _port_between,
    IsLocal: _is_local,
    FromElsewhere: _from_elsewhere,
    LacksMark: _lacks_mark,
    SetMark: lambda s, f: _change_mark(ALL ^ s.mark, s.mark),
    FlipMark: lambda s, f: _change_mark(ALL, s.mark),
    Dispatch: _dispatch,
    Goto: lambda s, f: iter((_verdict(f"goto {s.chain}"),)),
    Jump: lambda s, f: iter((_verdict(f"jump {s.chain}"),)),
    Return: lambda s, f: iter((_verdict("return"),)),
    Accept: lambda s, f: iter((_verdict("accept"),)),
    Drop: lambda s, f: iter((_verdict("drop"),)),
    Reject: lambda s, f: iter((_reject(f),)),
    Masquerade: lambda s, f: iter((_expression("masq", number(1, RANDOM_FULLY)),)),
    TranslateByMap: _translate_by_map,
    Translate: _translate,
    Spread: _spread,
    Remember: _remember,
}
