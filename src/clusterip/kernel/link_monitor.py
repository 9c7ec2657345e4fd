"""Tells when a link of this network namespace is up again after it was down: rtnetlink events, without a poll.

Stage: watch.  In: the kernel's notifications.  Out: one call per burst.
Rules: a link that went down and came up within one burst counts.  After a loss the link is read: one that is up may
have come back.
Truth: rtnetlink(7), linux/rtnetlink.h (RTMGRP_LINK); routes through a link that goes down are gone for good.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from clusterip.kernel.netlink import messages, waiting
from clusterip.kernel.rtnetlink import IFF_UP, IFINFO, RTM_NEWLINK

GROUP = 0x1
RECEIVE_BYTES = 1 << 16


class LinkMonitor:
    """A socket for a loop's reader: `fileno`, and `drain` when it is readable. is_up reads the link."""

    def __init__(self, index: int, on_return: Callable[[], None], is_up: Callable[[], bool]) -> None:
        self._index, self._on_return, self._is_up = index, on_return, is_up
        self._is_down = False
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, GROUP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Read all that waits."""
        found = [
            self._read_link() if datagram is None else self._read(datagram)
            for datagram in waiting(self._socket, RECEIVE_BYTES, "link")
        ]
        if any(found) and not self._is_down:
            self._on_return()

    def _read_link(self) -> bool:
        """After a loss: whether the link is up."""
        self._is_down = not self._is_up()
        return not self._is_down

    def _read(self, datagram: bytes) -> bool:
        """Whether the link came up."""
        is_back = False
        for kind, _, _, body in messages(datagram):
            if kind != RTM_NEWLINK or IFINFO.unpack_from(body)[2] != self._index:
                continue
            was_down, self._is_down = self._is_down, not IFINFO.unpack_from(body)[3] & IFF_UP
            is_back = is_back or (was_down and not self._is_down)
        return is_back

    def close(self) -> None:
        self._socket.close()
