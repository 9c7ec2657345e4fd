"""UDP for BFD: what comes with how far it came, what goes from an address and as far as can be.

Stage: kernel.  In: addresses, ports.  Out: sockets that do not block; datagrams with their sender and TTL.
Truth: RFC 5881 4 and 5 (source ports 49152 and up, TTL 255), ip(7), ipv6(7).
"""

from __future__ import annotations

import secrets
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from clusterip.kernel.tcp_options import DSCP_CS6

FARTHEST = 255
FIRST_PORT, PORTS = 49152, 65536 - 49152
TRIES = 64
LONGEST = 128
IP_RECVTTL = 12
ASKED = {
    4: ((socket.IPPROTO_IP, IP_RECVTTL),),
    6: ((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT)),
}
REACH = {
    4: ((socket.IPPROTO_IP, socket.IP_TTL, FARTHEST), (socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS6)),
    6: (
        (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, FARTHEST),
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_CS6),
    ),
}
TTL_OF = {(socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}

Address = IPv4Address | IPv6Address
Door = socket.socket


@dataclass(frozen=True, slots=True)
class Datagram:
    """What came."""

    octets: bytes
    source: Address
    ttl: int


def _made(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


def ear(version: int, port: int) -> socket.socket:
    """Everything that comes to the port, in one family; OSError when somebody else listens already."""
    made = _made(version)
    try:
        for level, option in ASKED[version]:
            made.setsockopt(level, option, 1)
        made.bind(("0.0.0.0" if version == 4 else "::", port))
    except BaseException:
        made.close()
        raise
    return made


def hear(door: socket.socket) -> Datagram | None:
    """The next datagram; None: there is none now."""
    try:
        octets, extra, _, source = door.recvmsg(LONGEST, socket.CMSG_SPACE(4) * 2)
    except (BlockingIOError, InterruptedError):
        return None
    ttl = next((struct.unpack("=i", value)[0] for level, kind, value in extra if (level, kind) in TTL_OF), 0)
    return Datagram(octets, ip_address(source[0].partition("%")[0]), ttl)


def mouth(peer: Address, port: int, source: Address | None = None, device: str = "") -> socket.socket:
    """Packets to one router, from a port of our own; OSError while there is no way to it."""
    made = _made(peer.version)
    try:
        for level, option, value in REACH[peer.version]:
            made.setsockopt(level, option, value)
        if device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        _bind(made, str(source) if source is not None else "0.0.0.0" if peer.version == 4 else "::")
        made.connect((str(peer), port))
    except BaseException:
        made.close()
        raise
    return made


def _bind(made: socket.socket, address: str) -> None:
    for _ in range(TRIES):
        with suppress(OSError):
            made.bind((address, FIRST_PORT + secrets.randbelow(PORTS)))
            return
    made.bind((address, FIRST_PORT + secrets.randbelow(PORTS)))
