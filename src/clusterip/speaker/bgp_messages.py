"""BGP messages as bytes: OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH.

Stage: plan.  In: values; bytes of a router.  Out: bytes; values, Malformed with the codes that the router is told.
Rules: pure; whatever bytes come, Malformed is all that is raised.  AS numbers have four bytes on paper; whoever has
no capability for them is sent two.  What a router announces is checked for its shape and not kept.
Truth: RFC 4271, 2918 (refresh), 4724 (graceful restart), 4760 (families), 5492, 6793 (AS numbers), 8950 (next hops).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from clusterip.api.metallb import Network

MARKER = b"\xff" * 16
HEADER, LONGEST = 19, 4096
VERSION = 4
AS_TRANS = 23456
UNICAST = 1


class Kind(IntEnum):
    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    REFRESH = 5


LEAST = {Kind.OPEN: 29, Kind.UPDATE: 23, Kind.NOTIFICATION: 21, Kind.KEEPALIVE: 19, Kind.REFRESH: 23}


class Fault(IntEnum):
    """Error codes of a NOTIFICATION."""

    HEADER = 1
    OPEN = 2
    UPDATE = 3
    HOLD = 4
    MACHINE = 5
    CEASE = 6


class Capability(IntEnum):
    FAMILY = 1
    REFRESH = 2
    NEXT_HOP = 5
    RESTART = 64
    LONG_AS = 65


class Malformed(ValueError):
    """What came is no BGP, or not acceptable."""

    def __init__(self, why: str, code: Fault, subcode: int = 0, rest: bytes = b"") -> None:
        super().__init__(why)
        self.code, self.subcode, self.rest = code, subcode, rest


@dataclass(frozen=True, slots=True)
class Open:
    """Who speaks."""

    asn: int
    hold_seconds: int
    router_id: IPv4Address
    families: frozenset[int] = frozenset()  # AFIs, all of them unicast
    long_as: bool = True
    refresh: bool = True
    v6_next_hops: bool = False  # of IPv4 prefixes
    restart_seconds: int | None = None  # graceful restart; None: not meant


@dataclass(frozen=True, slots=True)
class Notification:
    """Why a session ends."""

    code: int
    subcode: int = 0
    rest: bytes = b""

    def __str__(self) -> str:
        name = Fault(self.code).name.lower() if self.code in set(Fault) else "unknown"
        return f"{name} ({self.code}/{self.subcode})"


@dataclass(frozen=True, slots=True)
class Update:
    """What a router announces, no deeper than its shape."""

    withdrawn: tuple[Network, ...] = ()
    attributes: dict[int, bytes] = field(default_factory=dict)
    prefixes: tuple[Network, ...] = ()


# -- writing ----------------------------------------------------------------------------------------------------------


def message(kind: Kind, body: bytes = b"") -> bytes:
    return MARKER + struct.pack("!HB", HEADER + len(body), kind) + body


KEEPALIVE = message(Kind.KEEPALIVE)


def write_open(said: Open) -> bytes:
    options = b"".join(_parameter(code, body) for code, body in _capabilities(said))
    short = said.asn if said.asn < 1 << 16 else AS_TRANS
    head = struct.pack("!BHH", VERSION, short, said.hold_seconds) + said.router_id.packed
    return message(Kind.OPEN, head + bytes((len(options),)) + options)


def _parameter(code: int, body: bytes) -> bytes:
    return bytes((2, len(body) + 2, code, len(body))) + body


def _capabilities(said: Open) -> Iterator[tuple[int, bytes]]:
    for family in sorted(said.families):
        yield Capability.FAMILY, struct.pack("!HBB", family, 0, UNICAST)
    if said.refresh:
        yield Capability.REFRESH, b""
    if said.v6_next_hops:
        yield Capability.NEXT_HOP, struct.pack("!HHH", 1, UNICAST, 2)
    if said.restart_seconds is not None:
        kept = b"".join(struct.pack("!HBB", family, UNICAST, 0x80) for family in sorted(said.families))
        yield Capability.RESTART, struct.pack("!H", 0x8000 | said.restart_seconds & 0xFFF) + kept
    if said.long_as:
        yield Capability.LONG_AS, struct.pack("!I", said.asn)


def write_notification(said: Notification) -> bytes:
    return message(Kind.NOTIFICATION, bytes((said.code, said.subcode)) + said.rest)


def write_update(withdrawn: bytes = b"", attributes: bytes = b"", prefixes: bytes = b"") -> bytes:
    parts = (struct.pack("!H", len(withdrawn)), withdrawn, struct.pack("!H", len(attributes)), attributes, prefixes)
    return message(Kind.UPDATE, b"".join(parts))


def write_prefix(network: Network) -> bytes:
    return bytes((network.prefixlen,)) + network.network_address.packed[: (network.prefixlen + 7) // 8]


# -- reading ----------------------------------------------------------------------------------------------------------


def cut(buffer: bytearray) -> Iterator[tuple[Kind, bytes]]:
    """The whole messages at the buffer's start; they are taken off it."""
    while len(buffer) >= HEADER:
        length, kind = _head(bytes(buffer[:HEADER]))
        if len(buffer) < length:
            return
        body = bytes(buffer[HEADER:length])
        del buffer[:length]
        yield kind, body


def _head(head: bytes) -> tuple[int, Kind]:
    length, number = struct.unpack_from("!HB", head, 16)
    if head[:16] != MARKER:
        raise Malformed("no marker: this is not BGP", Fault.HEADER, 1)
    if number not in set(Kind):
        raise Malformed(f"a message of unknown type {number}", Fault.HEADER, 3, bytes((number,)))
    kind = Kind(number)
    is_fixed = kind in (Kind.KEEPALIVE, Kind.REFRESH)
    if not LEAST[kind] <= length <= LONGEST or (is_fixed and length != LEAST[kind]):
        raise Malformed(f"{length} bytes for {kind.name}", Fault.HEADER, 2, head[16:18])
    return length, kind


def read_open(body: bytes) -> Open:
    version, asn, hold, router = struct.unpack_from("!BHHI", body)
    if version != VERSION:
        raise Malformed(f"version {version}", Fault.OPEN, 1, struct.pack("!H", VERSION))
    if hold in (1, 2):
        raise Malformed(f"hold time {hold} s", Fault.OPEN, 6)
    if not router:
        raise Malformed("router ID 0.0.0.0", Fault.OPEN, 3)
    return _with_capabilities(Open(asn, hold, IPv4Address(router)), body)


def _with_capabilities(plain: Open, body: bytes) -> Open:
    length, families = 0, set[int]()
    asn: int | None = None
    refresh, v6_next_hops = False, False
    restart: int | None = None
    for code, value in _offered(body):
        length = len(value)
        if code == Capability.FAMILY and length == 4 and value[3] == UNICAST:
            families.add(int.from_bytes(value[:2], "big"))
        elif code == Capability.LONG_AS and length == 4:
            asn = int.from_bytes(value, "big")
        elif code == Capability.RESTART and length >= 2:
            restart = int.from_bytes(value[:2], "big") & 0xFFF
        elif code == Capability.NEXT_HOP:
            v6_next_hops = v6_next_hops or _has_v6_next_hops(value)
        refresh = refresh or code == Capability.REFRESH
    number = plain.asn if asn is None else asn
    if not number:
        raise Malformed("AS 0", Fault.OPEN, 2)
    known = frozenset(families or {1})
    return Open(number, plain.hold_seconds, plain.router_id, known, asn is not None, refresh, v6_next_hops, restart)


def _has_v6_next_hops(value: bytes) -> bool:
    return any(value[at : at + 6] == struct.pack("!HHH", 1, UNICAST, 2) for at in range(0, len(value), 6))


def _offered(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Capabilities; other optional parameters are refused, as the RFC asks."""
    options = body[10:]
    if len(options) != body[9]:
        raise Malformed("optional parameters of another length", Fault.OPEN)
    for code, value in _pairs(options):
        if code != 2:
            raise Malformed(f"optional parameter {code}", Fault.OPEN, 4)
        yield from _pairs(value)


def _pairs(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Type, length, value, again and again."""
    at = 0
    while at < len(octets):
        if at + 2 > len(octets) or at + 2 + octets[at + 1] > len(octets):
            raise Malformed("a parameter that ends too early", Fault.OPEN)
        yield octets[at], octets[at + 2 : at + 2 + octets[at + 1]]
        at += 2 + octets[at + 1]


def read_notification(body: bytes) -> Notification:
    return Notification(body[0], body[1], body[2:])


def read_update(body: bytes) -> Update:
    withdrawn, rest = _counted(body)
    attributes, prefixes = _counted(rest)
    return Update(tuple(read_prefixes(withdrawn, 1)), dict(_attributes(attributes)), tuple(read_prefixes(prefixes, 1)))


def _counted(octets: bytes) -> tuple[bytes, bytes]:
    """A part with its length before it, and what follows."""
    end = 2 + int.from_bytes(octets[:2], "big")
    if len(octets) < max(end, 2):
        raise Malformed("an update that ends too early", Fault.UPDATE, 1)
    return octets[2:end], octets[end:]


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    while octets:
        size = 2 if octets[0] & 0x10 else 1
        end = 2 + size + int.from_bytes(octets[2 : 2 + size], "big")
        if len(octets) < max(end, 2 + size):
            raise Malformed("an attribute that ends too early", Fault.UPDATE, 5)
        yield octets[1], octets[2 + size : end]
        octets = octets[end:]


def read_prefixes(octets: bytes, family: int) -> Iterable[Network]:
    longest, made = (32, IPv4Network) if family == 1 else (128, IPv6Network)
    at = 0
    while at < len(octets):
        length, size = octets[at], (octets[at] + 7) // 8
        if length > longest or at + 1 + size > len(octets):
            raise Malformed("a prefix that is none", Fault.UPDATE, 10)
        address = octets[at + 1 : at + 1 + size].ljust(longest // 8, b"\0")
        yield made((address, length), strict=False)
        at += 1 + size
