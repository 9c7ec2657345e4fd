"""DNS messages on the wire: questions in, record bytes and whole replies out.

Stage: edge, pure.  In: packets, names, addresses.  Out: `Query` values, records as bytes, replies.
Rules: a packet that cannot be read is a value (`Refusal` or None), never an exception; names are kept as they were
asked, so that a client which varies their case gets its own spelling back.
Truth: RFC 1035, RFC 6891 (EDNS), RFC 2782 (SRV), RFC 3596 (AAAA).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 16, 28, 33, 41
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, AA, TC, RD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0010
OPCODES = 0x7800
DO = 0x8000
SMALLEST = 512
OUR_SIZE = 1232
HEADER = struct.Struct("!HHHHHH")
_TYPE_CLASS = struct.Struct("!HH")
OPT_RECORD = struct.Struct("!BHHBBHH")
THE_QUESTION = b"\xc0\x0c"  # a pointer to the name that was asked
ECHOED_OPTIONS = frozenset({10})  # the cookie; a server that keeps none hands it back


@dataclass(frozen=True, slots=True)
class Query:
    """A question that can be answered."""

    id: int
    flags: int
    question: bytes  # as it came: name, type, class
    name: bytes  # in wire form, lower case
    type: int
    class_: int
    edns: bool = False
    edns_version: int = 0
    size: int = SMALLEST  # the largest reply by UDP
    do: bool = False
    options: bytes = b""  # those that go back as they are

    def turned(self, turn: int) -> Query:
        """The same question under another id."""
        return replace(self, id=turn)

    def about(self, name: bytes) -> Query:
        """The same question about another name."""
        return replace(self, question=name + _TYPE_CLASS.pack(self.type, self.class_), name=name.lower())


@dataclass(frozen=True, slots=True)
class Refusal:
    """A packet that asks something, but not in a way that can be answered."""

    id: int
    flags: int
    rcode: int


def parse(packet: bytes) -> Query | Refusal | None:
    """What a packet asks; None for what deserves no reply at all."""
    if len(packet) < 12:
        return None
    id, flags, questions, answers, authorities, additionals = HEADER.unpack_from(packet)
    if flags & QR:
        return None
    if flags & OPCODES:
        return Refusal(id, flags, NOTIMP)
    if questions != 1 or answers or authorities or additionals > 2:
        return Refusal(id, flags, FORMERR)
    end = name_end(packet, 12)
    if end is None or len(packet) < end + 4:
        return Refusal(id, flags, FORMERR)
    type, class_ = _TYPE_CLASS.unpack_from(packet, end)
    name = packet[12:end].lower()  # a length is below 64, so no length is a letter
    query = Query(id, flags, packet[12 : end + 4], name, type, class_)
    return query if additionals == 0 else _with_edns(query, packet, end + 4, additionals)


def name_end(packet: bytes, at: int) -> int | None:
    """Where the name that begins here ends; None for one that is broken, too long or compressed."""
    start, size = at, len(packet)
    while at < size:
        length = packet[at]
        if length > 63:
            return None
        at += length + 1
        if length == 0:
            return at if at - start <= 255 else None
    return None


def _with_edns(query: Query, packet: bytes, at: int, count: int) -> Query | Refusal:
    """The query with what its OPT record says; other additional records (TSIG) are not understood."""
    for _ in range(count):
        end = name_end(packet, at)
        if end is None or len(packet) < end + 10:
            return Refusal(query.id, query.flags, FORMERR)
        is_root = end == at + 1
        type, size, _, version, flags, length = struct.unpack_from("!HHBBHH", packet, end)
        at = end + 10 + length
        if at > len(packet):
            return Refusal(query.id, query.flags, FORMERR)
        if type == OPT:
            if query.edns or not is_root:
                return Refusal(query.id, query.flags, FORMERR)
            options = _echoed(packet[end + 10 : at])
            size = max(SMALLEST, min(size, OUR_SIZE))
            query = replace(query, edns=True, edns_version=version, size=size, do=bool(flags & DO), options=options)
    return query


def _echoed(options: bytes) -> bytes:
    """The options that go back; broken ones are dropped."""
    found, at = b"", 0
    while at + 4 <= len(options):
        code, length = _TYPE_CLASS.unpack_from(options, at)
        end = at + 4 + length
        if end > len(options):
            break
        if code in ECHOED_OPTIONS:
            found += options[at:end]
        at = end
    return found


@dataclass(frozen=True, slots=True)
class Sections:
    """An answer without its question: records as bytes, the question's name as a pointer."""

    rcode: int = NOERROR
    answers: tuple[bytes, ...] = ()
    authority: tuple[bytes, ...] = ()
    additional: tuple[bytes, ...] = ()
    authoritative: bool = True
    target: bytes = b""  # an alias of the world, whose addresses are still to be asked for


def reply(query: Query, sections: Sections, limit: int) -> bytes:
    """The whole reply; what does not fit is left out from the end, and TC says so when an answer was."""
    flags = QR | (query.flags & (RD | CD)) | (sections.rcode & 15)
    if sections.authoritative:
        flags |= AA
    opt = opt_record(query, sections.rcode) if query.edns else b""
    answers, authority, additional = rotated(sections.answers, query.id), sections.authority, sections.additional
    body = b"".join((*answers, *authority, *additional))
    if 12 + len(query.question) + len(body) + len(opt) > limit:
        room = limit - 12 - len(query.question) - len(opt)
        answers, room = _fitting(answers, room)
        complete = len(answers) == len(sections.answers)
        authority, room = _fitting(authority if complete else (), room)
        additional, _ = _fitting(additional if complete else (), room)
        if not complete:
            flags |= TC
        body = b"".join((*answers, *authority, *additional))
    extra = len(additional) + (1 if opt else 0)
    return HEADER.pack(query.id, flags, 1, len(answers), len(authority), extra) + query.question + body + opt


def rotated(records: tuple[bytes, ...], turn: int) -> tuple[bytes, ...]:
    """The records with another one first, so that clients which take the first spread; a CNAME stays in front."""
    if len(records) < 2 or records[0][2:4] == b"\0\x05":
        return records
    turn %= len(records)
    return records[turn:] + records[:turn]


def refuse(refusal: Refusal) -> bytes:
    """A reply without the question, since it could not be read."""
    flags = QR | (refusal.flags & (OPCODES | RD | CD)) | refusal.rcode
    return HEADER.pack(refusal.id, flags, 0, 0, 0, 0)


def _fitting(records: Sequence[bytes], room: int) -> tuple[tuple[bytes, ...], int]:
    """As many records as fit, and the room that is left."""
    taken = []
    for record in records:
        if len(record) > room:
            break
        taken.append(record)
        room -= len(record)
    return tuple(taken), room


def opt_record(query: Query, rcode: int) -> bytes:
    flags = DO if query.do else 0
    return OPT_RECORD.pack(0, OPT, OUR_SIZE, rcode >> 4, 0, flags, len(query.options)) + query.options


def name(text: str) -> bytes:
    """A dotted name in wire form; ValueError when it is none."""
    wire = bytearray()
    for label in text.rstrip(".").split(".") if text.rstrip(".") else ():
        raw = label.encode("ascii")
        if not 0 < len(raw) < 64:
            raise ValueError(f"{text!r} is no name")
        wire += bytes((len(raw),)) + raw
    if len(wire) > 254:
        raise ValueError(f"{text!r} is too long a name")
    return bytes(wire) + b"\0"


def question(number: int, asked: str, kind: int) -> bytes:
    """A query for one name that asks for recursion, without EDNS."""
    return HEADER.pack(number, RD, 1, 0, 0, 0) + name(asked) + _TYPE_CLASS.pack(kind, IN)


def labels(wire: bytes) -> list[bytes]:
    """The labels of an uncompressed name."""
    found, at = [], 0
    while wire[at]:
        found.append(wire[at + 1 : at + 1 + wire[at]])
        at += wire[at] + 1
    return found


def record(owner: bytes, type: int, ttl: int, content: bytes) -> bytes:
    return owner + struct.pack("!HHIH", type, IN, ttl, len(content)) + content


def address(owner: bytes, ttl: int, ip: IPv4Address | IPv6Address) -> bytes:
    return record(owner, A if ip.version == 4 else AAAA, ttl, ip.packed)


def service(owner: bytes, ttl: int, weight: int, port: int, target: bytes) -> bytes:
    return record(owner, SRV, ttl, struct.pack("!HHH", 0, weight, port) + target)


def text(owner: bytes, ttl: int, content: str) -> bytes:
    raw = content.encode()
    return record(owner, TXT, ttl, bytes((len(raw),)) + raw)


def start_of_authority(owner: bytes, ttl: int, server: bytes, mailbox: bytes, serial: int) -> bytes:
    times = struct.pack("!IIIII", serial & 0xFFFFFFFF, 7200, 1800, 86400, ttl)
    return record(owner, SOA, ttl, server + mailbox + times)
