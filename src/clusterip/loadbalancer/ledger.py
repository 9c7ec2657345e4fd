"""Who holds which address, and which one is free next.

Stage: plan.  In: pools; requests of Services.  Out: addresses, or Refusal with the reason.
Rules: no clock, no log, no API.  No address is held twice unless all its holders share it (equal claims, different
ports).  The first free address of a pool, in the order declared, is taken; the cost does not grow with what is taken.
Truth: MetalLB 0.16's allocator: what may share, what a pool gives, in which words it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from clusterip.api.errors import quoted
from clusterip.api.metallb import Address, Pool, pool_of
from clusterip.loadbalancer.model import Claim, Key, Port, Service
from clusterip.loadbalancer.space import Space


class Refusal(Exception):
    """Why a Service cannot have what it asks for."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one Service holds."""

    pool: str
    addresses: tuple[Address, ...]
    ports: tuple[Port, ...]
    claim: Claim


@dataclass(slots=True)
class Use:
    """The holders of one address: never empty."""

    claim: Claim
    ports: dict[Port, Key] = field(default_factory=dict)
    holders: set[Key] = field(default_factory=set)


class Ledger:
    """All addresses held. Changes are by `assign`, `release` and `set_pools` alone."""

    def __init__(self) -> None:
        self.pools: Mapping[str, Pool] = {}
        self._spaces: dict[str, Space] = {}
        self._holdings: dict[Key, Holding] = {}
        self._uses: dict[Address, Use] = {}
        self._shared: dict[Claim, dict[Address, None]] = {}
        self._counts: dict[str, dict[Address, None]] = {}

    # --- what it knows -----------------------------------------------------------------------------------------------

    def holding(self, key: Key) -> Holding | None:
        return self._holdings.get(key)

    def holdings(self) -> Mapping[Key, Holding]:
        return self._holdings

    def held(self, pool: str) -> Iterable[Address]:
        """The addresses of a pool that somebody holds, each once."""
        return self._counts.get(pool, {})

    # --- changes -----------------------------------------------------------------------------------------------------

    def set_pools(self, pools: Mapping[str, Pool]) -> None:
        """Other pools from now on; what no pool gives any more is released, what another gives is its own."""
        kept = {name for name, pool in pools.items() if name in self.pools and self._same(pool, self.pools[name])}
        self._spaces = {name: space for name, space in self._spaces.items() if name in kept}
        self.pools = pools
        for key, holding in list(self._holdings.items()):
            pool = pool_of(pools, holding.addresses)
            if pool is None or pool.name != holding.pool:
                self.release(key)
            if pool is not None and pool.name != holding.pool:
                self._hold(key, Holding(pool.name, holding.addresses, holding.ports, holding.claim))

    @staticmethod
    def _same(new: Pool, old: Pool) -> bool:
        return new.networks == old.networks and new.avoid_buggy == old.avoid_buggy

    def assign(self, service: Service, addresses: tuple[Address, ...]) -> Holding:
        """Give the Service exactly these; Refusal when the pools or other holders are against it."""
        pool = pool_of(self.pools, addresses)
        shown = listed(addresses)
        if pool is None:
            raise Refusal(f"{shown} is not allowed in config")
        if pool.allocation is not None and not pool.allocation.allows(service.key[0], service.labels):
            raise Refusal(f"pool {pool.name} not compatible for ip assignment")
        if len(addresses) > 2:
            raise Refusal(f"more than two addresses {shown}")
        if len({each.version for each in addresses}) != len(addresses):
            raise Refusal(f"{shown} has the same family")
        for address in addresses:
            self._check(service, address)
        holding = Holding(pool.name, addresses, service.ports, service.claim)
        if self._holdings.get(service.key) == holding:
            return holding
        self.release(service.key)
        self._hold(service.key, holding)
        return holding

    def release(self, key: Key) -> Holding | None:
        """The Service holds nothing any more; what it held."""
        holding = self._holdings.pop(key, None)
        if holding is None:
            return None
        for address in holding.addresses:
            self._leave(key, address, holding)
        return holding

    def _hold(self, key: Key, holding: Holding) -> None:
        self._holdings[key] = holding
        for address in holding.addresses:
            use = self._uses.setdefault(address, Use(holding.claim))
            use.holders.add(key)
            use.ports.update(dict.fromkeys(holding.ports, key))
            self._counts.setdefault(holding.pool, {})[address] = None
            if holding.claim.sharing:
                self._shared.setdefault(holding.claim, {})[address] = None

    def _leave(self, key: Key, address: Address, holding: Holding) -> None:
        use = self._uses[address]
        use.holders.discard(key)
        for port in holding.ports:
            if use.ports.get(port) == key:
                del use.ports[port]
        if use.holders:
            return
        del self._uses[address]
        del self._counts[holding.pool][address]
        if use.claim in self._shared:
            self._shared[use.claim].pop(address, None)
            if not self._shared[use.claim]:
                del self._shared[use.claim]
        if holding.pool in self._spaces:
            self._spaces[holding.pool].freed(address)

    # --- who may ------------------------------------------------------------------------------------------------------

    def _check(self, service: Service, address: Address) -> None:
        """Refusal when the address cannot be the Service's, too."""
        use = self._uses.get(address)
        if use is None:
            return
        others = sorted("/".join(holder) for holder in use.holders if holder != service.key)
        if others and not self._agree(use.claim, service.claim):
            names = ",".join(others)
            raise Refusal(f"can't change sharing key for {quoted(service.name)}, address also in use by {names}")
        for port in service.ports:
            if use.ports.get(port, service.key) != service.key:
                raise Refusal(f'port {port} is already in use on "{address}"')

    @staticmethod
    def _agree(old: Claim, new: Claim) -> bool:
        return bool(old.sharing) and old == new

    def _may_hold(self, service: Service, address: Address) -> bool:
        try:
            self._check(service, address)
        except Refusal:
            return False
        return True

    # --- which is next ------------------------------------------------------------------------------------------------

    def first(self, pool: Pool, service: Service, version: int) -> Address | None:
        """The first address of that family in the pool that the Service may have."""
        space = self._space(pool)
        free = space.first(version, self._uses)
        ranks = [(rank, address) for address, rank in self._sharable(pool, space, service, version)]
        if free is not None:
            ranks.append((space.rank(free), free))
        return min(ranks)[1] if ranks else None

    def _sharable(
        self, pool: Pool, space: Space, service: Service, version: int
    ) -> Iterator[tuple[Address, tuple[int, int]]]:
        """Held addresses of the pool that the Service may share."""
        for address in self._shared.get(service.claim, ()) if service.claim.sharing else ():
            fits = address.version == version and address in pool and space.gives(address)
            if fits and self._may_hold(service, address):
                yield address, space.rank(address)

    def _space(self, pool: Pool) -> Space:
        if pool.name not in self._spaces:
            self._spaces[pool.name] = Space(pool)
        return self._spaces[pool.name]


def listed(addresses: Iterable[Address]) -> str:
    """Addresses as messages show them."""
    return "[" + " ".join(f'"{address}"' for address in addresses) + "]"
