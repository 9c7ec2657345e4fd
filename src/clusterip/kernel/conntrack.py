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

from clusterip.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    attributes,
    error_of,
    message,
    messages,
    nest,
    netfilter_socket,
)

SUBSYSTEM, GET, DELETE = 1 << 8, 1, 2
TUPLE_ORIGINAL, TUPLE_REPLY, ID, FILTER = 1, 2, 12, 25
TUPLE_IP, TUPLE_PROTOCOL = 1, 2
IP_SOURCE, IP_DESTINATION = 1, 2
PROTOCOL_NUMBER, PORT_SOURCE, PORT_DESTINATION = 1, 2, 3
FILTER_ORIGINAL, FILTER_REPLY = 1, 2
FILTER_BY_PROTOCOL = 1 << 3
UDP = 17
RECEIVE_BUFFER = 1 << 23
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
    opened = netfilter_socket(RECEIVE_BUFFER)
    opened.settimeout(5.0)
    return opened


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return message(SUBSYSTEM | kind, flags, sequence, struct.pack("=BBH", socket.AF_INET, 0, 0) + body)


def _filter_udp() -> bytes:
    """Only UDP; a filter must bring the tuple that it speaks of, and flags for both directions."""
    flags = (
        attribute(FILTER_ORIGINAL, struct.pack("=I", FILTER_BY_PROTOCOL)),
        attribute(FILTER_REPLY, struct.pack("=I", 0)),
    )
    protocol = nest(TUPLE_PROTOCOL, attribute(PROTOCOL_NUMBER, bytes([UDP])))
    return nest(TUPLE_ORIGINAL, protocol) + nest(FILTER, *flags)


def _dump(body: bytes) -> Iterator[Flow]:
    with _open() as sock:
        sock.send(_message(GET, NLM_F_DUMP, 1, body))
        while True:
            for kind, _, _, content in messages(sock.recv(RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = error_of(content)
                    raise OSError(code, f"cannot list conntrack entries: {os.strerror(code)}")
                if flow := _flow(content[4:]):
                    yield flow


def _flow(content: bytes) -> Flow | None:
    found = attributes(content)
    original, reply = (_tuple(found.get(kind, b"")) for kind in (TUPLE_ORIGINAL, TUPLE_REPLY))
    if original is None or reply is None:
        return None
    return Flow(original, reply, int.from_bytes(found.get(ID, b""), "big"))


def _tuple(content: bytes) -> Tuple | None:
    parts = attributes(content)
    addresses, protocol = attributes(parts.get(TUPLE_IP, b"")), attributes(parts.get(TUPLE_PROTOCOL, b""))
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
    sock.send(b"".join(_message(DELETE, NLM_F_ACK, number, _identify(flow)) for number, flow in enumerate(flows)))
    answers = gone = 0
    while answers < len(flows):
        for kind, _, _, content in messages(sock.recv(RECEIVE_BYTES)):
            if kind != NLMSG_ERROR:
                continue
            answers += 1
            code = error_of(content)
            if code not in (0, errno.ENOENT):
                raise OSError(code, f"cannot delete a conntrack entry: {os.strerror(code)}")
            gone += not code
    return gone


def _identify(flow: Flow) -> bytes:
    """By tuple, and by id: the same tuple may be another flow by now."""
    source, source_port, destination, port = flow.original
    addresses = attribute(IP_SOURCE, source.packed), attribute(IP_DESTINATION, destination.packed)
    ports = (
        attribute(PROTOCOL_NUMBER, bytes([UDP])),
        attribute(PORT_SOURCE, struct.pack(">H", source_port)),
        attribute(PORT_DESTINATION, struct.pack(">H", port)),
    )
    named = attribute(ID, struct.pack(">I", flow.id)) if flow.id else b""
    return nest(TUPLE_ORIGINAL, nest(TUPLE_IP, *addresses), nest(TUPLE_PROTOCOL, *ports)) + named
