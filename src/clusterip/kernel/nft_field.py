"""The fields that keys and values of nftables' sets are made of: their text, their bytes, their types.

Stage: none; values.  Rules: pure.  Each field fills whole registers of four bytes; bytes are in network order, numbers
that the kernel made itself in its own.  A set tells `nft list` by its user part which expressions its types came from.
Truth: nft(8) 1.0.6, libnftnl udata.h, nftables datatype.h, proto.h and statement.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple, TypeAlias

REGISTER = 4
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
FAMILY_NUMBERS = {"ip": 2, "ip6": 10}
NUMBER = struct.Struct("=I")
PORT = struct.Struct(">H2x")
EXPRESSION_VERDICT, EXPRESSION_PAYLOAD, EXPRESSION_META, EXPRESSION_CONCAT, EXPRESSION_NUMGEN = 1, 7, 9, 13, 23
HOST_ORDER, NETWORK_ORDER = 1, 2
TYPE_BITS = 6


class Field(StrEnum):
    """What a rule may read of a packet, and what keys and values are made of, as family ip writes it."""

    SOURCE = "ip saddr"
    DESTINATION = "ip daddr"
    PROTOCOL = "meta l4proto"
    PORT = "th dport"
    TCP_PORT = "tcp dport"  # in values: a map of `th dport` nft 1.0.6 declares and then cannot use
    INTERFACE = "iifname"
    NUMBER = "numgen random mod 2"  # in keys: only the type counts, a 32-bit number of the machine's


Fields: TypeAlias = tuple[Field, ...]
ADDRESSES = (Field.SOURCE, Field.DESTINATION)


class _Kind(NamedTuple):
    """A field in one IP family."""

    text: str
    length: int
    type: int
    user: bytes  # the expression, as a set's user part tells it
    pack: Callable[[str], bytes]
    show: Callable[[bytes], str]


def _entry(kind: int, value: bytes) -> bytes:
    """One entry of a user part: kind, length, value."""
    return bytes((kind, len(value))) + value


def _expression(kind: int, content: bytes) -> bytes:
    return _entry(0, NUMBER.pack(kind)) + _entry(1, content)


def _payload(protocol: int, field: int) -> bytes:
    return _expression(EXPRESSION_PAYLOAD, _numbers(protocol, field))


def _numbers(*numbers: int) -> bytes:
    return b"".join(_entry(place, NUMBER.pack(number)) for place, number in enumerate(numbers))


def _show_address(packed: bytes) -> str:
    return str(ip_address(packed))


def _pack_port(text: str) -> bytes:
    return PORT.pack(int(text))


def _show_port(packed: bytes) -> str:
    return str(PORT.unpack(packed)[0])


def _show_protocol(packed: bytes) -> str:
    return PROTOCOL_NAMES.get(packed[0], str(packed[0]))


def _pack_protocol(text: str) -> bytes:
    return bytes((PROTOCOLS[text], 0, 0, 0))


_FIXED = {
    Field.PROTOCOL: _Kind(
        "meta l4proto", 1, 12, _expression(EXPRESSION_META, _numbers(16)), _pack_protocol, _show_protocol
    ),
    Field.PORT: _Kind("th dport", 2, 13, _payload(11, 2), _pack_port, _show_port),
    Field.TCP_PORT: _Kind("tcp dport", 2, 13, _payload(8, 2), _pack_port, _show_port),
    Field.NUMBER: _Kind(
        "numgen random mod 2",
        4,
        4,
        _expression(EXPRESSION_NUMGEN, _numbers(1, 2, 0)),
        lambda text: NUMBER.pack(int(text)),
        lambda packed: str(NUMBER.unpack(packed)[0]),
    ),
}


def _addresses(family: str, length: int, kind: int, header: int, source: int, destination: int) -> dict[Field, _Kind]:
    return {
        field: _Kind(
            f"{family} {field.removeprefix('ip ')}",
            length,
            kind,
            _payload(header, place),
            lambda text: ip_address(text).packed,
            _show_address,
        )
        for field, place in ((Field.SOURCE, source), (Field.DESTINATION, destination))
    }


KINDS = {
    "ip": _FIXED | _addresses("ip", 4, 7, 12, 11, 12),
    "ip6": _FIXED | _addresses("ip6", 16, 8, 13, 8, 9),
}


def text_of(field: Field, family: str) -> str:
    """As a rule of that family writes it."""
    known = KINDS[family].get(field)
    return known.text if known else str(field)


def concatenated(fields: Fields, family: str) -> str:
    """The key of a set or map: `ip daddr . meta l4proto . th dport`."""
    return " . ".join(text_of(field, family) for field in fields)


def _padded(length: int) -> int:
    return (length + REGISTER - 1) & -REGISTER


def offsets(fields: Fields, family: str) -> Iterator[tuple[Field, int, int]]:
    """Each field with the place and the length of its registers."""
    place = 0
    for field in fields:
        length = _padded(KINDS[family][field].length)
        yield field, place, length
        place += length


@lru_cache(maxsize=64)
def length_of(fields: Fields, family: str) -> int:
    """Of a key: whole registers, unless it is one field alone."""
    if len(fields) == 1:
        return KINDS[family][fields[0]].length
    return sum(length for _, _, length in offsets(fields, family))


@lru_cache(maxsize=64)
def type_of(fields: Fields, family: str) -> int:
    """The number of a type; the kernel keeps it for nft."""
    found = 0
    for field in fields:
        found = found << TYPE_BITS | KINDS[family][field].type
    return found


def byte_order(fields: Fields) -> int:
    if len(fields) > 1:
        return 0
    return HOST_ORDER if fields[0] is Field.NUMBER else NETWORK_ORDER


@lru_cache(maxsize=64)
def user_part(fields: Fields, family: str) -> bytes:
    """The expressions of a key or value, as a set's user part tells them."""
    kinds = [KINDS[family][field] for field in fields]
    if len(kinds) == 1:
        return kinds[0].user
    return _expression(EXPRESSION_CONCAT, b"".join(_entry(place, kind.user) for place, kind in enumerate(kinds)))


def pack(text: str, fields: Fields, family: str) -> bytes:
    """The bytes of a key or value that is written as nft prints it: `10.96.0.1 . tcp . 443`."""
    words = text.split(" . ")
    if len(words) != len(fields):
        raise ValueError(f"{text!r} is not {concatenated(fields, family)}")
    return b"".join(KINDS[family][field].pack(word) for field, word in zip(fields, words, strict=True))


def show(packed: bytes, fields: Fields, family: str) -> str:
    """The text of a key or value, as nft prints it."""
    parts = offsets(fields, family)
    return " . ".join(KINDS[family][field].show(packed[place : place + length]) for field, place, length in parts)
