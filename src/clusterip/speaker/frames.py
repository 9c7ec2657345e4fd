"""ARP packets and IPv6 neighbour discovery messages as Ethernet frames.

Stage: none; pure.  In: bytes.  Out: frozen questions and claims, None for what is not well formed; and frames to send.
Rules: what cannot be true is not believed: a neighbour that is a group, a message that was routed, a wrong checksum.
Truth: RFC 826, RFC 5227 (probes, announcements), RFC 4861 (7.1.1 what makes a solicitation valid, 7.2.4, 7.2.6).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from clusterip.api.metallb import Address

BROADCAST = b"\xff" * 6
ALL_NODES = IPv6Address("ff02::1")
TYPE_ARP, TYPE_IPV6 = b"\x08\x06", b"\x86\xdd"
ARP = struct.Struct("!HHBBH6s4s6s4s")
ETHERNET, IPV4 = 1, 0x0800
REQUEST, REPLY = 1, 2
ICMP6, SOLICITATION, ADVERTISEMENT = 58, 135, 136
SOURCE_OPTION, TARGET_OPTION = 1, 2
SOLICITED, OVERRIDE = 0x40000000, 0x20000000
HOP_LIMIT = 255


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody asks who has an address."""

    target: Address
    sender: Address | None  # None: a probe, before an address is taken
    mac: bytes  # where to answer


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody says that an address is his."""

    address: Address
    mac: bytes


def read(frame: bytes, mac: bytes) -> Question | Claim | None:
    """What a frame says, heard by the interface of that mac."""
    if len(frame) < 42 or frame[6:12] == mac:
        return None
    if frame[12:14] == TYPE_ARP:
        return _read_arp(frame, mac)
    return _read_solicitation(frame) if frame[12:14] == TYPE_IPV6 else None


def _read_arp(frame: bytes, mac: bytes) -> Question | Claim | None:
    hardware, protocol, hlen, plen, operation, sha, spa, _, tpa = ARP.unpack_from(frame, 14)
    if (hardware, protocol, hlen, plen) != (ETHERNET, IPV4, 6, 4) or not _is_unicast(sha) or operation not in (1, 2):
        return None
    sender, target = IPv4Address(spa), IPv4Address(tpa)
    if operation == REPLY or sender == target:
        return Claim(sender, sha)
    if frame[:6] not in (BROADCAST, mac):
        return None
    return Question(target, sender if int(sender) else None, sha)


def _is_unicast(mac: bytes) -> bool:
    return not mac[0] & 1 and any(mac)


def _read_solicitation(frame: bytes) -> Question | None:
    packet = frame[14:]
    if len(packet) < 64 or packet[6] != ICMP6 or packet[7] != HOP_LIMIT:
        return None
    length = int.from_bytes(packet[4:6], "big")
    message, source = packet[40 : 40 + length], IPv6Address(packet[8:24])
    if len(message) != length or length < 24 or message[0] != SOLICITATION or message[1]:
        return None
    if _sum(packet[8:40], message):
        return None
    target, mac = IPv6Address(message[8:24]), _option(message[24:], SOURCE_OPTION)
    if target.is_multicast or (mac is None) != source.is_unspecified:
        return None
    if mac is None:
        return Question(target, None, multicast_mac(ALL_NODES))
    return Question(target, source, mac) if _is_unicast(mac) else None


def _option(rest: bytes, wanted: int) -> bytes | None:
    """The link-layer address of that option."""
    while len(rest) >= 8 and rest[1]:
        if rest[0] == wanted and rest[1] == 1:
            return rest[2:8]
        rest = rest[8 * rest[1] :]
    return None


# --- what is sent ----------------------------------------------------------------------------------------------------


def arp_reply(question: Question, mac: bytes) -> bytes:
    """The answer to who asked."""
    asker = question.sender.packed if question.sender is not None else bytes(4)
    return _arp(question.mac, REPLY, mac, question.target, question.mac, asker)


def arp_announcements(address: IPv4Address, mac: bytes) -> list[bytes]:
    """To everybody, both ways: some devices learn from requests alone, some from replies alone."""
    return [_arp(BROADCAST, kind, mac, address, BROADCAST, address.packed) for kind in (REQUEST, REPLY)]


def _arp(to: bytes, operation: int, mac: bytes, address: Address, asker: bytes, asker_address: bytes) -> bytes:
    body = ARP.pack(ETHERNET, IPV4, 6, 4, operation, mac, address.packed, asker, asker_address)
    return to + mac + TYPE_ARP + body


def advertisement(address: IPv6Address, mac: bytes, source: IPv6Address, question: Question | None = None) -> bytes:
    """A neighbour advertisement: the answer to a question, or unasked to everybody."""
    asker = question.sender if question is not None else None
    to = asker if isinstance(asker, IPv6Address) else ALL_NODES
    flags = SOLICITED if asker is not None else OVERRIDE
    message = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, flags) + address.packed + bytes((TARGET_OPTION, 1)) + mac
    ends = source.packed + to.packed
    message = message[:2] + _sum(ends, message).to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMP6, HOP_LIMIT)
    where = question.mac if question is not None else multicast_mac(ALL_NODES)
    return where + mac + TYPE_IPV6 + header + ends + message


def multicast_mac(group: IPv6Address) -> bytes:
    return b"\x33\x33" + group.packed[12:]


def solicited_group(address: IPv6Address) -> IPv6Address:
    """The group that questions for an address are sent to."""
    return IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:])


def _sum(ends: bytes, message: bytes) -> int:
    """The checksum; 0 for a message whose own is right."""
    whole = ends + struct.pack("!II", len(message), ICMP6) + message
    whole += b"\0" * (len(whole) % 2)
    total: int = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
