"""A TCP connection to a router: signed by a password, of limited reach, from an address of ours.

Stage: kernel.  In: addresses, a password.  Out: a socket that does not block.
Truth: tcp(7), RFC 2385 (the kernel signs every segment with MD5; a segment without is never answered).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

TCP_MD5SIG = 14
LONGEST_KEY = 80
ONE_HOP = 1
DSCP_CS6 = 0xC0

Connection = socket.socket


def connection_to(
    peer: IPv4Address | IPv6Address,
    *,
    source: IPv4Address | IPv6Address | None = None,
    password: str = "",
    one_hop: bool = False,
    device: str = "",
) -> socket.socket:
    """A socket that is ready to connect; OSError, ValueError for a password that is too long."""
    family = socket.AF_INET if peer.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _reach(made, peer.version, one_hop)
        if password:
            made.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, signature(peer, password))
        if device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        if source is not None:
            made.bind((str(source), 0))
    except BaseException:
        made.close()
        raise
    return made


def _reach(made: socket.socket, version: int, one_hop: bool) -> None:
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if version == 4:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS6)
        if one_hop:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ONE_HOP)
        return
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_CS6)
    if one_hop:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ONE_HOP)


def signature(peer: IPv4Address | IPv6Address, password: str) -> bytes:
    """struct tcp_md5sig."""
    key = password.encode()
    if len(key) > LONGEST_KEY:
        raise ValueError(f"a password of {len(key)} bytes: {LONGEST_KEY} are the most")
    if peer.version == 4:
        address = struct.pack("=HH4s", socket.AF_INET, 0, peer.packed)
    else:
        address = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, peer.packed, 0)
    return struct.pack("=128sBBHi80s", address, 0, 0, len(key), 0, key)
