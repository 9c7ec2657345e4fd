"""Whole frames on this namespace's interfaces: ARP, and IPv6 neighbour discovery.

Stage: kernel.  In: interfaces, frames.  Out: interfaces as values, frames heard.
Rules: a port hears only what somebody asks for (a filter in the kernel): ARP, and neighbour solicitations for its own
addresses' groups.  Nothing here understands a frame.  The fake is packet_fake.py.
Truth: packet(7), linux/filter.h; the kernel joins multicast groups for an IPv6 socket, so that snooping bridges know.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from clusterip.kernel.link import Netlink

ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD
IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_NOARP = 0x1, 0x2, 0x8, 0x80
SO_ATTACH_FILTER = 26
PACKET_OUTGOING = 4
RECEIVE_BUFFER = 1 << 20
FRAME_BYTES = 2048
BATCH = 256
GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses

# (code, jump if true, jump if false, value): ARP, or an ICMPv6 neighbour solicitation without extension headers
FILTER = (
    (0x28, 0, 0, 12),  # the frame's type
    (0x15, 5, 0, ETH_P_ARP),
    (0x15, 0, 5, ETH_P_IPV6),
    (0x30, 0, 0, 20),  # the next header
    (0x15, 0, 3, 58),
    (0x30, 0, 0, 54),  # the ICMPv6 type
    (0x15, 0, 1, 135),
    (0x06, 0, 0, 0x40000),
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class LanInterface:
    """An interface on which neighbours can be spoken to."""

    name: str
    index: int
    mac: bytes
    broadcast: bool = True  # ARP makes sense here
    link_local: IPv6Address | None = None  # whose absence means that IPv6 does not


class Port(Protocol):
    """One interface, open."""

    def fileno(self) -> int: ...

    def receive(self) -> Iterator[bytes]:
        """The frames that wait."""
        ...

    def send(self, frame: bytes) -> None:
        """OSError when the interface cannot take it."""
        ...

    def join(self, group: IPv6Address) -> None: ...

    def leave(self, group: IPv6Address) -> None: ...

    def close(self) -> None: ...


class Lan(Protocol):
    """All interfaces of a machine."""

    def interfaces(self) -> list[LanInterface]: ...

    def open(self, interface: LanInterface) -> Port: ...


class KernelLan:
    """The interfaces of this namespace."""

    def interfaces(self) -> list[LanInterface]:
        """Those that are up, no part of a bridge or bond, and speak ARP or IPv6."""
        with Netlink() as net:
            local = {a.dev: a.address.ip for a in net.addresses() if a.address.ip.is_link_local}
            found = [
                link for link in net.links() if link.flags & IFF_UP and not link.flags & (IFF_LOOPBACK | IFF_NOARP)
            ]
        return [
            LanInterface(
                link.name,
                link.index,
                bytes.fromhex(link.mac.replace(":", "")),
                bool(link.flags & IFF_BROADCAST),
                address if isinstance(address := local.get(link.name), IPv6Address) else None,
            )
            for link in found
            if not link.master and len(link.mac) == 17
        ]

    def open(self, interface: LanInterface) -> Port:
        return KernelPort(interface)


class KernelPort:
    """A packet socket on one interface."""

    def __init__(self, interface: LanInterface) -> None:
        self._index = interface.index
        self._groups: socket.socket | None = None
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # deaf until it is bound: the filter comes first
        try:
            _attach(self._socket)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._socket.bind((interface.name, ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Iterator[bytes]:
        for _ in range(BATCH):
            try:
                frame, sender = self._socket.recvfrom(FRAME_BYTES)
            except OSError:
                return  # nothing waits, or the interface is gone: its monitor tells
            if sender[2] != PACKET_OUTGOING:
                yield frame

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def join(self, group: IPv6Address) -> None:
        self._member(socket.IPV6_JOIN_GROUP, group)

    def leave(self, group: IPv6Address) -> None:
        self._member(socket.IPV6_LEAVE_GROUP, group)

    def _member(self, option: int, group: IPv6Address) -> None:
        if self._groups is None:
            self._groups = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(OSError):  # twice is no error; without IPv6 nobody asks
            self._groups.setsockopt(socket.IPPROTO_IPV6, option, group.packed + struct.pack("@I", self._index))

    def close(self) -> None:
        self._socket.close()
        if self._groups is not None:
            self._groups.close()


def _attach(sock: socket.socket) -> None:
    """Set the filter; the kernel copies it."""
    code = b"".join(struct.pack("=HBBI", *each) for each in FILTER)
    held = ctypes.create_string_buffer(code)
    program = struct.pack("@HxxxxxxP", len(FILTER), ctypes.addressof(held))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


class InterfaceMonitor:
    """Tells when an interface or an address comes, goes or changes: `fileno`, and `drain` when it is readable."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Read all that waits; one call for all of it. Lost events are a change."""
        for _ in range(BATCH):
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                continue
        self._on_change()

    def close(self) -> None:
        self._socket.close()
