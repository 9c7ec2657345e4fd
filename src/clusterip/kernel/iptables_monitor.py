"""Tells when somebody else changes iptables rules of ours: nfnetlink events of the nft variant, without a poll.

Stage: watch.  In: the kernel's notifications.  Out: one call per burst of foreign changes.
Rules: our own programs are known by their netlink port, which is their process id; of the others' events only those
count that name one of our chains, as the chain that changed or as the target of a rule; the tables are everybody's.
Events that were lost while a program of ours ran are our own, a first load is more than any buffer holds.
Truth: linux/netfilter/nf_tables.h; nf_tables_api.c, which sends the events of a transaction with the port of who asked.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Collection

from clusterip.kernel.netlink import HEADER, netfilter_socket, waiting

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
GROUP_NFTABLES, SUBSYSTEM_NFTABLES = 7, 10
RECEIVE_BUFFER = 1 << 24
RECEIVE_BYTES = 1 << 18
ANY_OF_KUBERNETES = re.compile(rb"KUBE-")  # names end with a zero byte
FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6


def foreign(datagram: bytes, family: int, own_ports: Collection[int], ours: re.Pattern[bytes]) -> bool:
    """Whether a datagram tells of a change by somebody else that names a chain of ours. All of one has one sender."""
    if len(datagram) <= HEADER.size or not ours.search(datagram):
        return False
    _, kind, _, _, port = HEADER.unpack_from(datagram)
    return kind >> 8 == SUBSYSTEM_NFTABLES and port not in own_ports and datagram[HEADER.size] == FAMILIES[family]


class Monitor:
    """A socket for a loop's reader: `fileno`, and `drain` when it is readable."""

    def __init__(
        self,
        family: int,
        own_ports: Collection[int],
        is_busy: Callable[[], bool],
        on_change: Callable[[], None],
        ours: re.Pattern[bytes] = ANY_OF_KUBERNETES,
    ) -> None:
        self._family, self._own_ports, self._ours = family, own_ports, ours
        self._is_busy, self._on_change = is_busy, on_change
        self._socket = netfilter_socket(RECEIVE_BUFFER, socket.SOCK_NONBLOCK)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Read all that waits; one call when any of it was foreign."""
        found = [self._counts(each) for each in waiting(self._socket, RECEIVE_BYTES, "iptables")]
        if any(found):
            self._on_change()

    def _counts(self, datagram: bytes | None) -> bool:
        if datagram is None:
            return not self._is_busy()
        return foreign(datagram, self._family, self._own_ports, self._ours)

    def close(self) -> None:
        self._socket.close()
