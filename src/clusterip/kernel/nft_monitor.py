"""Tells when somebody else changes a table: nfnetlink events, without a poll.

Stage: watch.  In: the kernel's notifications.  Out: one call per burst of foreign changes.
Rules: our own changes are known by the netlink port of who asked; other tables are ignored; lost events are a change.
Truth: linux/netfilter/nfnetlink.h (NFNLGRP_NFTABLES = 7), nf_tables.h: attribute 1 of every object names its table.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Container

from clusterip.kernel.netlink import attributes, messages, netfilter_socket, waiting
from clusterip.kernel.nft import Nft, Table

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
GROUP_NFTABLES = 7
SUBSYSTEM_NFTABLES = 10
NEW_GENERATION = 15
FAMILIES = {2: "ip", 10: "ip6", 1: "inet", 3: "arp", 7: "bridge", 5: "netdev"}
FAMILY_HEADER_BYTES = 4  # struct nfgenmsg
TABLE_NAME = 1
RECEIVE_BUFFER = 1 << 24
RECEIVE_BYTES = 1 << 18


def foreign(datagram: bytes, table: Table, own_ports: Container[int]) -> bool:
    """Whether a datagram tells of a change of the table that was asked for from none of our ports."""
    return any(
        kind >> 8 == SUBSYSTEM_NFTABLES
        and kind & 0xFF != NEW_GENERATION
        and port not in own_ports
        and _table_of(body) == table
        for kind, _, port, body in messages(datagram)
    )


def _table_of(body: bytes) -> Table | None:
    name = attributes(body[FAMILY_HEADER_BYTES:]).get(TABLE_NAME)
    return None if name is None else Table(FAMILIES.get(body[0], "?"), name.rstrip(b"\0").decode())


class Monitor:
    """A socket for a loop's reader: `fileno`, and `drain` when it is readable."""

    def __init__(self, table: Table, ours: Nft, on_change: Callable[[], None]) -> None:
        self._table, self._ours, self._on_change = table, ours, on_change
        self._socket = netfilter_socket(RECEIVE_BUFFER, socket.SOCK_NONBLOCK)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Read all that waits; one call when any of it was foreign."""
        ports, waits = self._ours.ports, waiting(self._socket, RECEIVE_BYTES, "nftables")
        found = [each is None or foreign(each, self._table, ports) for each in waits]
        if any(found):
            self._on_change()

    def close(self) -> None:
        self._socket.close()
