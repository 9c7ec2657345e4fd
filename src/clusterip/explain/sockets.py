"""What processes listen on, as the kernel lists it.

Stage: read (pure).  In: the text of /proc/PID/net/{tcp,tcp6,udp,udp6}.  Out: Sockets that wait for traffic.
Rules: pure; a line that makes no sense is no socket.
Truth: proc(5): addresses are words in the machine's own byte order (little endian here), ports are not; state 0A is
LISTEN, an unconnected UDP socket is in state 07.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

WAITING = {"tcp": "0A", "udp": "07"}


class Socket(NamedTuple):
    """Where something waits for traffic."""

    protocol: str  # tcp, udp
    address: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}/{self.protocol}"

    @property
    def is_for_others(self) -> bool:
        """Whether packets that come in from outside can reach it."""
        return not self.address.is_loopback


def parse(text: str, protocol: str) -> Iterator[Socket]:
    """The waiting sockets of one listing; its first line is a head."""
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            local, state = words[1], words[3]
            host, port = local.split(":")
            if state == WAITING[protocol]:
                yield Socket(protocol, _address(host), int(port, 16))
        except (IndexError, ValueError):
            continue


def _address(text: str) -> IPv4Address | IPv6Address:
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
    return IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
