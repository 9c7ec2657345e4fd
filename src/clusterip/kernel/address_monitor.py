"""Tells when an address of this network namespace comes or goes: rtnetlink events, without a poll.

Stage: watch.  In: the kernel's notifications.  Out: one call per burst.
Rules: the addresses themselves are read elsewhere; those of one device may be ignored; lost events are a change.
Truth: rtnetlink(7), linux/rtnetlink.h (RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from clusterip.kernel.netlink import messages, waiting
from clusterip.kernel.rtnetlink import IFADDR

GROUPS = 0x10 | 0x100
RECEIVE_BUFFER = 1 << 20
RECEIVE_BYTES = 1 << 16


class AddressMonitor:
    """A socket for a loop's reader: `fileno`, and `drain` when it is readable."""

    def __init__(self, on_change: Callable[[], None], ignored_device: str = "") -> None:
        self._on_change, self._ignored = on_change, ignored_device
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.bind((0, GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Read all that waits; one call when any of it counts."""
        found = [each is None or self._counts(each) for each in waiting(self._socket, RECEIVE_BYTES, "address")]
        if any(found):
            self._on_change()

    def _counts(self, datagram: bytes) -> bool:
        ignored = _index(self._ignored)
        return any(IFADDR.unpack_from(body)[4] != ignored for _, _, _, body in messages(datagram))

    def close(self) -> None:
        self._socket.close()


def _index(device: str) -> int:
    """The device's number; 0, which none has, when it is not there."""
    try:
        return socket.if_nametoindex(device) if device else 0
    except OSError:
        return 0
