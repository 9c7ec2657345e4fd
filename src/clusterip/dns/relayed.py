"""Answers of other servers: read, checked against the question, kept as bytes, told on with another id and lifetime.

Stage: edge, pure.  In: packets of others.  Out: `Relayed` values, replies, records without compression.
Rules: what does not answer the very question that was asked is no answer (None); a broken record ends the reading;
nothing here raises, whatever the packet holds.
Truth: RFC 1035 4.1 (pointers lead backward), RFC 2308 (how long a negative answer holds), RFC 6891, RFC 5452 section 9.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from clusterip.dns import message
from clusterip.dns.message import AA, CD, DO, HEADER, OPT, QR, RD, TC, Query, Sections

RA, AD = 0x0080, 0x0020
_FIXED = struct.Struct("!HHIH")
_TTL = struct.Struct("!I")
MOST_JUMPS = 32
LONGEST = 0x7FFFFFFF


class Record(NamedTuple):
    """Where a record lies in its packet."""

    start: int
    fixed: int  # type, class, lifetime, length
    end: int
    type: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Relayed:
    """Another server's answer: the records after the question, as they came."""

    flags: int  # AA, TC, RA, AD and the code
    packet: bytes
    body: int  # where the records begin
    sections: tuple[tuple[Record, ...], ...]  # answers, authority, additional without OPT

    @property
    def rcode(self) -> int:
        return self.flags & 15

    @property
    def truncated(self) -> bool:
        return bool(self.flags & TC)

    def lifetime(self, most: int) -> int:
        """How many seconds it may be told; what holds no record is told only now."""
        lives = [record.ttl for section in self.sections for record in section]
        return min(min(lives), most) if lives else 0


def ask(id: int, query: Query) -> bytes:
    """The question for another server: the same name in the same spelling, and our own size."""
    opt = message.OPT_RECORD.pack(0, OPT, message.OUR_SIZE, 0, 0, DO if query.do else 0, 0)
    return HEADER.pack(id, query.flags & (RD | CD | AD), 1, 0, 0, 1) + query.question + opt


def read(packet: bytes, id: int, question: bytes) -> Relayed | None:
    """An answer to the question that was asked under this id."""
    if len(packet) < 12 + len(question) or packet[12 : 12 + len(question)].lower() != question.lower():
        return None
    got, flags, questions, *counts = HEADER.unpack_from(packet)
    if got != id or questions != 1 or not flags & QR or flags & message.OPCODES:
        return None
    body = at = 12 + len(question)
    sections = []
    for count in counts:
        records: list[Record] = []
        for _ in range(count):
            record = _record(packet, at)
            if record is None:
                return None
            records.append(record)
            at = record.end
        sections.append(tuple(records))
    additional = [record for record in sections[2] if record.type == OPT]
    kept = tuple(record for record in sections[2] if not additional or record.end <= additional[0].start)
    return Relayed(flags & (AA | TC | RA | AD | 15), packet, body, (sections[0], sections[1], kept))


def _record(packet: bytes, at: int) -> Record | None:
    fixed = _name_end(packet, at)
    if fixed is None or fixed + 10 > len(packet):
        return None
    type, _, ttl, length = _FIXED.unpack_from(packet, fixed)
    end = fixed + 10 + length
    return Record(at, fixed, end, type, min(ttl, LONGEST)) if end <= len(packet) else None


def _name_end(packet: bytes, at: int) -> int | None:
    """Where a name that may end in a pointer ends."""
    while at < len(packet):
        length = packet[at]
        if length >= 0xC0:
            return at + 2
        if length > 63:
            return None
        at += length + 1
        if length == 0:
            return at
    return None


def reply(query: Query, found: Relayed, ttl: int, limit: int) -> bytes:
    """The answer for who asked here; every record lives as long as it may be told."""
    opt = message.opt_record(query, found.rcode) if query.edns else b""
    room = limit - len(opt)
    told = bytearray(found.packet[: found.body])
    counts, flags = [0, 0, 0], found.flags
    for number, section in enumerate(found.sections):
        for record in section:
            if len(told) + record.end - record.start > room:
                flags |= TC if number == 0 else 0
                break
            place = len(told) + record.fixed - record.start + 4
            told += found.packet[record.start : record.end]
            _TTL.pack_into(told, place, min(ttl, record.ttl))
            counts[number] += 1
        else:
            continue
        break
    flags |= QR | (query.flags & (RD | CD))
    HEADER.pack_into(told, 0, query.id, flags, 1, counts[0], counts[1], counts[2] + (1 if opt else 0))
    told[12 : 12 + len(query.question)] = query.question
    return bytes(told) + opt


def addresses(found: Relayed, ttl: int) -> tuple[bytes, ...]:
    """The aliases and addresses of an answer as records that stand alone."""
    records = []
    for record in found.sections[0]:
        owner = whole_name(found.packet, record.start)
        content: bytes | None = found.packet[record.fixed + 10 : record.end]
        if record.type == message.CNAME:
            content = whole_name(found.packet, record.fixed + 10)
        if owner is None or content is None or record.type not in (message.CNAME, message.A, message.AAAA):
            continue
        records.append(message.record(owner, record.type, min(ttl, record.ttl), content))
    return tuple(records)


def whole_name(packet: bytes, at: int) -> bytes | None:
    """A name with its pointers followed; None for one that is broken, too long or goes round."""
    found, jumps = b"", 0
    while at < len(packet) and jumps <= MOST_JUMPS and len(found) < 255:
        length = packet[at]
        if length == 0:
            return found + b"\0"
        if length >= 0xC0:
            if at + 1 >= len(packet):
                return None
            at, jumps = (length & 0x3F) << 8 | packet[at + 1], jumps + 1
            continue
        if length > 63:
            return None
        found += packet[at : at + length + 1]
        at += length + 1
    return None


def followed(sections: Sections, found: Relayed, most: int) -> Sections:
    """An alias of the cluster's with what the world says of where it leads."""
    ttl = found.lifetime(most)
    return Sections(answers=(*sections.answers, *addresses(found, ttl)))
