"""The addresses of one pool in the order declared, and the first that nobody holds.

Stage: plan.  In: a Pool, what is held.  Out: an address, its rank.
Rules: what lies before `fresh` was given away once, and is free only when `returned` has it; asking costs a heap's
logarithm.
"""

from __future__ import annotations

import heapq
from collections.abc import Container

from clusterip.api.metallb import Address, Network, Pool, is_buggy


class Space:
    """One pool's order."""

    def __init__(self, pool: Pool) -> None:
        self._networks, self._avoid = pool.networks, pool.avoid_buggy
        self._fresh = {4: (0, 0), 6: (0, 0)}  # (network, offset) of the first that was never given away
        self._returned: dict[int, list[tuple[int, int]]] = {4: [], 6: []}

    def gives(self, address: Address) -> bool:
        return not (self._avoid and is_buggy(address))

    def rank(self, address: Address) -> tuple[int, int]:
        """Its place: number of the network, and place in it."""
        for index, network in enumerate(self._networks):
            if address in network:
                return index, int(address) - int(network.network_address)
        raise ValueError(f"{address} is not in the pool")

    def freed(self, address: Address) -> None:
        """Nobody holds the address any more."""
        heapq.heappush(self._returned[address.version], self.rank(address))

    def first(self, version: int, held: Container[Address]) -> Address | None:
        """The first of that family that is not held."""
        returned = self._returned[version]
        while returned and not self._is_free(self._at(returned[0]), held):
            heapq.heappop(returned)
        fresh = self._advance(version, held)
        if returned and (fresh is None or returned[0] < fresh):
            return self._at(returned[0])
        return None if fresh is None else self._at(fresh)

    def _advance(self, version: int, held: Container[Address]) -> tuple[int, int] | None:
        """Move on to the first address that is free and was never given away."""
        index, offset = self._fresh[version]
        while index < len(self._networks):
            network = self._networks[index]
            while network.version == version and offset < network.num_addresses:
                if self._is_free(self._at((index, offset)), held):
                    self._fresh[version] = (index, offset)
                    return index, offset
                offset += 1
            index, offset = index + 1, 0
        self._fresh[version] = (index, 0)
        return None

    def _at(self, rank: tuple[int, int]) -> Address:
        network: Network = self._networks[rank[0]]
        return network[rank[1]]

    def _is_free(self, address: Address, held: Container[Address]) -> bool:
        return address not in held and self.gives(address)
