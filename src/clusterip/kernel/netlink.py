"""Netlink as every family speaks it: a header, attributes of kind and length, answers; and netfilter's socket.

Stage: kernel.  In: values, datagrams.  Out: bytes; messages and attributes.
Rules: what a kind means is the business of the module that asks; a length that cannot be ends the reading.
Truth: netlink(7), linux/netlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

NETLINK_NETFILTER = 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
NESTED, KIND_MASK = 0x8000, 0x3FFF
SO_RCVBUFFORCE = 33

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")


class Message(NamedTuple):
    """One message of a datagram; the port is that of who asked for what it tells."""

    kind: int
    sequence: int
    port: int
    body: bytes


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request with its header."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four bytes."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nest(kind: int, *values: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(kind | NESTED, b"".join(values))


def messages(datagram: bytes) -> Iterator[Message]:
    """What one read returned."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, _, sequence, port = HEADER.unpack_from(datagram, offset)
        if length < HEADER.size:
            return
        yield Message(kind, sequence, port, datagram[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attributes(content: bytes) -> dict[int, bytes]:
    """The attributes by kind; the nested flag is taken off."""
    found, offset = {}, 0
    while offset + ATTRIBUTE.size <= len(content):
        length, kind = ATTRIBUTE.unpack_from(content, offset)
        if length < ATTRIBUTE.size:
            break
        found[kind & KIND_MASK] = content[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def error_of(body: bytes) -> int:
    """The errno of an NLMSG_ERROR or NLMSG_DONE body; 0 is an acknowledgement."""
    return -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0


def netfilter_socket(receive_buffer: int, flags: int = 0) -> socket.socket:
    """A socket for netfilter's subsystems with a buffer as large as asked, or as the caller's rights allow."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags, NETLINK_NETFILTER)
    opened.bind((0, 0))
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return opened


def waiting(events: socket.socket, size: int, what: str) -> Iterator[bytes | None]:
    """Every datagram that waits on a socket that does not; None where some were lost."""
    while True:
        try:
            datagram: bytes | None = events.recv(size)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise OSError(error.errno, f"{what} events: {os.strerror(error.errno or 0)}") from error
            datagram = None
        yield datagram
