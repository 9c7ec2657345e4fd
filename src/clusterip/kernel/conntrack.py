"""Connection tracking: which flows the kernel knows, and making it forget some of UDP.

Stage: read and commit.  In: netlink dumps.  Out: Flow values; delete: entries that are gone.
Rules: one socket a call, so that a call may run in any thread; an entry that ended meanwhile is no error; an
interrupted dump is used as far as it came (the kernel's table moves while it is read); zones other than the first
belong to others.
Truth: linux/netfilter/nfnetlink_conntrack.h.  The kernel filters dumps from 5.8 on and deletions by the same filters
from 6.8 on; older ones send all, and refuse a filtered deletion without deleting anything.  Of IPv6 addresses the
filter takes those that differ (seen in 6.18; ctnetlink_filter_match_tuple), so IPv6 is never filtered by address.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol, TypeAlias

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
TUPLE_ORIGINAL, TUPLE_REPLY, ID, ZONE, FILTER = 1, 2, 12, 18, 25
TUPLE_IP, TUPLE_PROTOCOL = 1, 2
PROTOCOL_NUMBER, PORT_SOURCE, PORT_DESTINATION = 1, 2, 3
FILTER_ORIGINAL, FILTER_REPLY = 1, 2
BY_SOURCE, BY_DESTINATION, BY_PROTOCOL, BY_SOURCE_PORT, BY_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 5
TCP, UDP = 6, 17
RECEIVE_BUFFER = 1 << 23
RECEIVE_BYTES = 1 << 18
BATCH = 200  # deletions in one send
MANY_ALIKE = 64  # from here on one filtered deletion walks the table faster than naming each
UNFILTERED = (errno.EINVAL, errno.EOPNOTSUPP)

IPAddress: TypeAlias = IPv4Address | IPv6Address


class Tuple(NamedTuple):
    """One direction of a flow."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """One entry: as the first packet was sent, and as answers are expected. Translated flows answer from elsewhere."""

    original: Tuple
    reply: Tuple
    id: int = 0


class Alike(NamedTuple):
    """Flows to one place that are answered from one place."""

    destination: IPAddress
    port: int
    answerer: IPAddress
    answer_port: int

    @classmethod
    def of(cls, flow: Flow) -> Alike:
        return cls(flow.original.destination, flow.original.port, flow.reply.source, flow.reply.source_port)


class Conntrack(Protocol):
    """What the kernel offers, and what the fake does too."""

    def udp_flows(self, version: int = 4, port: int = 0) -> list[Flow]:
        """The flows of one IP version; with a port, those that were sent to it."""
        ...

    def delete(self, flows: Iterable[Flow]) -> int:
        """Forget the flows; how many there were still (many alike are counted as they were listed)."""
        ...


class FakeConntrack:
    """Flows in a list, for tests."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.flows = list(flows)

    def udp_flows(self, version: int = 4, port: int = 0) -> list[Flow]:
        found = (flow for flow in self.flows if flow.original.destination.version == version)
        return [flow for flow in found if port in (0, flow.original.port)]

    def delete(self, flows: Iterable[Flow]) -> int:
        found = [flow for flow in flows if flow in self.flows]
        self.flows = [flow for flow in self.flows if flow not in found]
        return len(found)


class KernelConntrack:
    """The table of the calling thread's network namespace."""

    def __init__(self) -> None:
        self._deletes_alike = True

    def udp_flows(self, version: int = 4, port: int = 0) -> list[Flow]:
        try:
            return list(_dump(version, _filter(port)))
        except OSError as error:
            if error.errno not in UNFILTERED:
                raise
            return [flow for flow in _dump(version, b"") if port in (0, flow.original.port)]

    def tcp_flows(self, version: int = 4) -> list[Flow]:
        """Connections that stand, and those that ended a little while ago."""
        return list(_dump(version, b"", TCP))

    def delete(self, flows: Iterable[Flow]) -> int:
        """Many alike go by one message that names what they have in common, where the kernel can; others one by one."""
        groups: Mapping[Alike, list[Flow]] = defaultdict(list)
        for flow in flows:
            groups[Alike.of(flow)].append(flow)
        gone, single = 0, []
        with _open() as sock:
            for alike, members in groups.items():
                if len(members) >= MANY_ALIKE and self._delete_alike(sock, alike):
                    gone += len(members)
                else:
                    single += members
            for start in range(0, len(single), BATCH):
                gone += _delete(sock, single[start : start + BATCH])
        return gone

    def _delete_alike(self, sock: socket.socket, alike: Alike) -> bool:
        """Whether the kernel did it; one that cannot is not asked again."""
        if not self._deletes_alike or alike.destination.version == 6:
            return False
        sock.send(_message(DELETE, alike.destination.version, NLM_F_ACK, 1, _name_alike(alike)))
        code = _answer(sock)
        if code in UNFILTERED:
            self._deletes_alike = False
            return False
        if code not in (0, errno.ENOENT):
            raise OSError(code, f"cannot delete conntrack entries: {os.strerror(code)}")
        return True


def _open() -> socket.socket:
    opened = netfilter_socket(RECEIVE_BUFFER)
    opened.settimeout(5.0)
    return opened


def _message(kind: int, version: int, flags: int, sequence: int, body: bytes) -> bytes:
    """The kernel looks at the family of a filtered deletion only in the header's version 1."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    return message(SUBSYSTEM | kind, flags, sequence, struct.pack("=BBH", family, 1, 0) + body)


def _address(value: IPAddress, *, is_source: bool) -> bytes:
    kind = (1 if value.version == 4 else 3) + (not is_source)
    return attribute(kind, value.packed)


def _protocol(source_port: int | None = None, port: int | None = None) -> bytes:
    parts = [attribute(PROTOCOL_NUMBER, bytes([UDP]))]
    if source_port is not None:
        parts.append(attribute(PORT_SOURCE, struct.pack(">H", source_port)))
    if port is not None:
        parts.append(attribute(PORT_DESTINATION, struct.pack(">H", port)))
    return nest(TUPLE_PROTOCOL, *parts)


def _flags(original: int, reply: int) -> bytes:
    """What to compare. A filter must bring the tuples that it speaks of, and flags for both directions."""
    kinds = ((FILTER_ORIGINAL, original), (FILTER_REPLY, reply))
    return nest(FILTER, *(attribute(kind, struct.pack("=I", flags)) for kind, flags in kinds))


def _filter(port: int) -> bytes:
    """Only UDP, and only to the port if there is one."""
    if not port:
        return nest(TUPLE_ORIGINAL, _protocol()) + _flags(BY_PROTOCOL, 0)
    return nest(TUPLE_ORIGINAL, _protocol(port=port)) + _flags(BY_PROTOCOL | BY_PORT, 0)


def _name_alike(alike: Alike) -> bytes:
    original = nest(
        TUPLE_ORIGINAL,
        nest(TUPLE_IP, _address(alike.destination, is_source=False)),
        _protocol(port=alike.port),
    )
    reply = nest(
        TUPLE_REPLY,
        nest(TUPLE_IP, _address(alike.answerer, is_source=True)),
        _protocol(source_port=alike.answer_port),
    )
    flags = _flags(BY_DESTINATION | BY_PROTOCOL | BY_PORT, BY_SOURCE | BY_PROTOCOL | BY_SOURCE_PORT)
    return original + reply + flags


def _dump(version: int, body: bytes, protocol: int = UDP) -> Iterator[Flow]:
    with _open() as sock:
        sock.send(_message(GET, version, NLM_F_DUMP, 1, body))
        while True:
            for kind, _, _, content in messages(sock.recv(RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = error_of(content)
                    raise OSError(code, f"cannot list conntrack entries: {os.strerror(code)}")
                if flow := _flow(content[4:], protocol):
                    yield flow


def _flow(content: bytes, protocol: int) -> Flow | None:
    found = attributes(content)
    if ZONE in found:
        return None
    original, reply = (_tuple(found.get(kind, b""), protocol) for kind in (TUPLE_ORIGINAL, TUPLE_REPLY))
    if original is None or reply is None:
        return None
    return Flow(original, reply, int.from_bytes(found.get(ID, b""), "big"))


def _tuple(content: bytes, wanted: int) -> Tuple | None:
    parts = attributes(content)
    addresses, protocol = attributes(parts.get(TUPLE_IP, b"")), attributes(parts.get(TUPLE_PROTOCOL, b""))
    if protocol.get(PROTOCOL_NUMBER) != bytes([wanted]) or len(addresses) != 2:
        return None
    source, destination = (
        IPv4Address(value) if len(value) == 4 else IPv6Address(value) for _, value in sorted(addresses.items())
    )
    return Tuple(
        source,
        int.from_bytes(protocol[PORT_SOURCE], "big"),
        destination,
        int.from_bytes(protocol[PORT_DESTINATION], "big"),
    )


def _delete(sock: socket.socket, flows: Collection[Flow]) -> int:
    """One message a flow, all in one send; each is answered."""
    sock.send(
        b"".join(
            _message(DELETE, flow.original.destination.version, NLM_F_ACK, number, _identify(flow))
            for number, flow in enumerate(flows)
        )
    )
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


def _answer(sock: socket.socket) -> int:
    """The errno that one request was answered with; 0 when it was done."""
    while True:
        for kind, _, _, content in messages(sock.recv(RECEIVE_BYTES)):
            if kind == NLMSG_ERROR:
                return error_of(content)


def _identify(flow: Flow) -> bytes:
    """By tuple, and by id: the same tuple may be another flow by now."""
    source, source_port, destination, port = flow.original
    addresses = nest(TUPLE_IP, _address(source, is_source=True), _address(destination, is_source=False))
    named = attribute(ID, struct.pack(">I", flow.id)) if flow.id else b""
    return nest(TUPLE_ORIGINAL, addresses, _protocol(source_port, port)) + named
