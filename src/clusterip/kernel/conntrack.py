"""Connection tracking: which UDP flows the kernel knows, and making it forget some.

Stage: read and commit.  In: netlink dumps.  Out: Flow values; delete: entries that are gone.
Rules: one socket a call, so that a call may run in any thread; an entry that ended meanwhile is no error; an
interrupted dump is used as far as it came (the kernel's table moves while it is read).
Truth: linux/netfilter/nfnetlink_conntrack.h.  The kernel filters by protocol from 5.8 on; older ones send all.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol

NETLINK_NETFILTER = 12
SUBSYSTEM, GET, DELETE = 1 << 8, 1, 2
REQUEST, ACK, DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NESTED = 0x8000
TUPLE_ORIGINAL, TUPLE_REPLY, ID, FILTER = 1, 2, 12, 25
TUPLE_IP, TUPLE_PROTOCOL = 1, 2
IP_SOURCE, IP_DESTINATION = 1, 2
PROTOCOL_NUMBER, PORT_SOURCE, PORT_DESTINATION = 1, 2, 3
FILTER_ORIGINAL, FILTER_REPLY = 1, 2
FILTER_BY_PROTOCOL = 1 << 3
UDP = 17
SO_RCVBUFFORCE = 33
HEADER = struct.Struct("=IHHII")
RECEIVE_BYTES = 1 << 18
BATCH = 200  # deletions in one send


class Tuple(NamedTuple):
    """One direction of a flow."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """One entry: as the first packet was sent, and as answers are expected. Translated flows answer from elsewhere."""

    original: Tuple
    reply: Tuple
    id: int = 0


class Conntrack(Protocol):
    """What the kernel offers, and what the fake does too."""

    def udp_flows(self) -> list[Flow]: ...

    def delete(self, flows: Iterable[Flow]) -> int:
        """Forget the flows; how many there were still."""
        ...


class FakeConntrack:
    """Flows in a list, for tests."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.flows = list(flows)

    def udp_flows(self) -> list[Flow]:
        return list(self.flows)

    def delete(self, flows: Iterable[Flow]) -> int:
        found = [flow for flow in flows if flow in self.flows]
        self.flows = [flow for flow in self.flows if flow not in found]
        return len(found)


class KernelConntrack:
    """The table of the calling thread's network namespace."""

    def udp_flows(self) -> list[Flow]:
        try:
            return list(_dump(_filter_udp()))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return list(_dump(b""))

    def delete(self, flows: Iterable[Flow]) -> int:
        wanted = list(flows)
        gone = 0
        with _open() as sock:
            for start in range(0, len(wanted), BATCH):
                gone += _delete(sock, wanted[start : start + BATCH])
        return gone


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, 0))
    sock.settimeout(5.0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    return sock


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _nest(kind: int, *values: bytes) -> bytes:
    return _attribute(kind | NESTED, b"".join(values))


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    content = struct.pack("=BBH", socket.AF_INET, 0, 0) + body
    return HEADER.pack(HEADER.size + len(content), SUBSYSTEM | kind, REQUEST | flags, sequence, 0) + content


def _filter_udp() -> bytes:
    """Only UDP; a filter must bring the tuple that it speaks of, and flags for both directions."""
    flags = (
        _attribute(FILTER_ORIGINAL, struct.pack("=I", FILTER_BY_PROTOCOL)),
        _attribute(FILTER_REPLY, struct.pack("=I", 0)),
    )
    protocol = _nest(TUPLE_PROTOCOL, _attribute(PROTOCOL_NUMBER, bytes([UDP])))
    return _nest(TUPLE_ORIGINAL, protocol) + _nest(FILTER, *flags)


def _dump(body: bytes) -> Iterator[Flow]:
    with _open() as sock:
        sock.send(_message(GET, DUMP, 1, body))
        while True:
            for kind, content in _messages(sock.recv(RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    raise OSError(code, f"cannot list conntrack entries: {os.strerror(code)}")
                if flow := _flow(content[4:]):
                    yield flow


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, _, _, _ = HEADER.unpack_from(datagram, offset)
        yield kind, datagram[offset + HEADER.size : offset + length]
        offset += max((length + 3) & ~3, HEADER.size)


def _attributes(content: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(content):
        length, kind = struct.unpack_from("=HH", content, offset)
        found[kind & 0x3FFF] = content[offset + 4 : offset + length]
        offset += max((length + 3) & ~3, 4)
    return found


def _flow(content: bytes) -> Flow | None:
    found = _attributes(content)
    original, reply = (_tuple(found.get(kind, b"")) for kind in (TUPLE_ORIGINAL, TUPLE_REPLY))
    if original is None or reply is None:
        return None
    return Flow(original, reply, int.from_bytes(found.get(ID, b""), "big"))


def _tuple(content: bytes) -> Tuple | None:
    parts = _attributes(content)
    addresses, protocol = _attributes(parts.get(TUPLE_IP, b"")), _attributes(parts.get(TUPLE_PROTOCOL, b""))
    if protocol.get(PROTOCOL_NUMBER) != bytes([UDP]) or len(addresses.get(IP_SOURCE, b"")) != 4:
        return None
    return Tuple(
        IPv4Address(addresses[IP_SOURCE]),
        int.from_bytes(protocol[PORT_SOURCE], "big"),
        IPv4Address(addresses[IP_DESTINATION]),
        int.from_bytes(protocol[PORT_DESTINATION], "big"),
    )


def _delete(sock: socket.socket, flows: list[Flow]) -> int:
    """One message a flow, all in one send; each is answered."""
    sock.send(b"".join(_message(DELETE, ACK, number, _identify(flow)) for number, flow in enumerate(flows)))
    answers = gone = 0
    while answers < len(flows):
        for kind, content in _messages(sock.recv(RECEIVE_BYTES)):
            if kind != NLMSG_ERROR:
                continue
            answers += 1
            code = -struct.unpack_from("=i", content)[0]
            if code not in (0, errno.ENOENT):
                raise OSError(code, f"cannot delete a conntrack entry: {os.strerror(code)}")
            gone += not code
    return gone


def _identify(flow: Flow) -> bytes:
    """By tuple, and by id: the same tuple may be another flow by now."""
    source, source_port, destination, port = flow.original
    addresses = _attribute(IP_SOURCE, source.packed), _attribute(IP_DESTINATION, destination.packed)
    ports = (
        _attribute(PROTOCOL_NUMBER, bytes([UDP])),
        _attribute(PORT_SOURCE, struct.pack(">H", source_port)),
        _attribute(PORT_DESTINATION, struct.pack(">H", port)),
    )
    named = _attribute(ID, struct.pack(">I", flow.id)) if flow.id else b""
    return _nest(TUPLE_ORIGINAL, _nest(TUPLE_IP, *addresses), _nest(TUPLE_PROTOCOL, *ports)) + named
