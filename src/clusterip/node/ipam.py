"""Which address of the node's range a new pod gets.

Stage: plan.  In: the range, taken addresses, the last one given.  Out: an address, or None when all are taken.
Rules: pure; goes round the range, so that an address is not used again at once by another pod.
Truth: the host-local plug-in: network, first (the gateway's) and broadcast address are never given.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


def choose(network: IPv4Network, taken: Collection[IPv4Address], last: IPv4Address | None) -> IPv4Address | None:
    """The next free address after the last one given."""
    first, end = int(network.network_address) + 2, int(network.broadcast_address)
    size = end - first
    start = int(last) + 1 if last is not None and first <= int(last) < end else first
    for step in range(size):
        address = IPv4Address(first + (start - first + step) % size)
        if address not in taken:
            return address
    return None


def partner(address: IPv4Address, network: IPv4Network, second: IPv6Network) -> IPv6Address:
    """The pod's address in the second family's range: at the same place as in the first's."""
    return second[int(address) - int(network.network_address)]
