"""Routing netlink as bytes: requests and answers of links, addresses, routes and neighbours.

Stage: kernel, its pure half.  In: values.  Out: bytes; and back.
Rules: no socket here.  One request is one `Request`; sequence numbers are the socket's business.
Truth: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/veth.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from clusterip.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attribute, message

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH = 28

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_NET_NS_FD = 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 7, 15
NDA_DST, NDA_LLADDR = 1, 2

AF_INET, AF_INET6 = 2, 10
IFF_UP = 0x1
NUD_PERMANENT = 0x80
RT_TABLE_MAIN, RTPROT_STATIC = 254, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTNH_F_ONLINK = 4
RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE, RTN_UNREACHABLE = 1, 2, 6, 7
ROUTE_KINDS = {"unicast": RTN_UNICAST, "local": RTN_LOCAL, "blackhole": RTN_BLACKHOLE, "unreachable": RTN_UNREACHABLE}

IFINFO = struct.Struct("=BxHiII")
IFADDR = struct.Struct("=BBBBI")
RTMSG = struct.Struct("=BBBBBBBBI")
NDMSG = struct.Struct("=BxxxiHBB")


@dataclass(frozen=True, slots=True)
class Request:
    """One message without its header, and what it is for (for a person who reads the error)."""

    kind: int
    flags: int
    body: bytes
    what: str

    def to_wire(self, sequence: int, flags: int = 0) -> bytes:
        return message(self.kind, self.flags | flags, sequence, self.body)


def text(kind: int, value: str) -> bytes:
    """An attribute that is a C string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that is an unsigned 32-bit number."""
    return attribute(kind, value.to_bytes(4, "little"))


def mac_bytes(mac: str) -> bytes:
    """02:00:... as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg."""
    return IFINFO.pack(0, 0, index, flags, change)


def link_kind(kind: str, details: bytes = b"") -> bytes:
    """IFLA_LINKINFO of a new link."""
    inner = text(IFLA_INFO_KIND, kind) + (attribute(IFLA_INFO_DATA, details) if details else b"")
    return attribute(IFLA_LINKINFO, inner)


def new_link(name: str, kind: str, details: bytes = b"", more: bytes = b"") -> Request:
    """A link that must not exist yet."""
    body = link_header() + text(IFLA_IFNAME, name) + more + link_kind(kind, details)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"add {kind} {name}")


def veth(
    name: str, peer: str, peer_netns: int | None, mac: str | None, peer_mac: str | None, mtu: int | None
) -> Request:
    """A veth pair, the peer born in its own namespace: it is never seen in this one."""
    size = number(IFLA_MTU, mtu) if mtu else b""
    far = text(IFLA_IFNAME, peer) + size
    if peer_netns is not None:
        far += number(IFLA_NET_NS_FD, peer_netns)
    if peer_mac:
        far += attribute(IFLA_ADDRESS, mac_bytes(peer_mac))
    near = size + (attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b"")
    return new_link(name, "veth", attribute(VETH_INFO_PEER, link_header() + far), near)


def address(kind: int, flags: int, index: int, packed: bytes, prefix: int, what: str) -> Request:
    """Add or remove an address of a link."""
    family = AF_INET if len(packed) == 4 else AF_INET6
    nodad = 0x02 if family == AF_INET6 else 0  # IFA_F_NODAD: usable at once
    body = IFADDR.pack(family, prefix, nodad, 0, index) + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    return Request(kind, flags, body, what)


@dataclass(frozen=True, slots=True)
class RouteWire:
    """A route in the kernel's terms; empty bytes and 0 mean: not given."""

    family: int
    destination: bytes
    prefix: int
    gateway: bytes = b""
    oif: int = 0
    source: bytes = b""
    kind: int = RTN_UNICAST
    scope: int = RT_SCOPE_UNIVERSE
    flags: int = 0
    table: int = RT_TABLE_MAIN

    def question(self) -> bytes:
        """Which way leads to the destination."""
        return RTMSG.pack(self.family, self.prefix, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, self.destination)

    def body(self) -> bytes:
        head = RTMSG.pack(
            self.family, self.prefix, 0, 0, min(self.table, 255), RTPROT_STATIC, self.scope, self.kind, self.flags
        )
        optional = ((RTA_DST, self.destination if self.prefix else b""), (RTA_GATEWAY, self.gateway))
        parts = [attribute(kind, value) for kind, value in (*optional, (RTA_PREFSRC, self.source)) if value]
        return head + b"".join(parts) + (number(RTA_OIF, self.oif) if self.oif else b"") + number(RTA_TABLE, self.table)


def neighbour(index: int, packed: bytes, mac: str, what: str) -> Request:
    """A permanent neighbour: no ARP is ever asked for it."""
    family = AF_INET if len(packed) == 4 else AF_INET6
    head = NDMSG.pack(family, index, NUD_PERMANENT, 0, RTN_UNICAST)
    body = head + attribute(NDA_DST, packed) + attribute(NDA_LLADDR, mac_bytes(mac))
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body, what)
