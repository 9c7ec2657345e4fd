"""Which addresses a Service gets: those it asks for, those of the pool it asks for, or the best that can be had.

Stage: plan.  In: a Service, the Ledger.  Out: a Holding (entered in the ledger), or Refusal.
Truth: MetalLB 0.16: pools pinned to a namespace or to labels first, by priority; then pools for all; dual stack.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.api.errors import quoted
from clusterip.api.metallb import ADDRESS_POOL, ADDRESSES, PREFIX, Address, Pool, annotation
from clusterip.api.names import parse_address
from clusterip.loadbalancer.ledger import Holding, Ledger, Refusal, listed
from clusterip.loadbalancer.model import PREFER_DUAL, REQUIRE_DUAL, Service

Pair = dict[int, Address]  # by family


def allocate(ledger: Ledger, service: Service) -> Holding:
    """Addresses for a Service that has none."""
    wanted, pool_name = wanted_addresses(service), annotation(service.annotations, ADDRESS_POOL)
    if wanted:
        return _exactly(ledger, service, wanted, pool_name)
    if pool_name:
        return _from_pool(ledger, service, pool_name)
    for pools in (_pinned(ledger, service), _for_all(ledger)):
        found = _best(ledger, service, pools)
        if found is not None:
            return ledger.assign(service, found)
    raise Refusal("no available IPs")


def wanted_addresses(service: Service) -> tuple[Address, ...]:
    """The addresses that the Service asks for by name."""
    text = annotation(service.annotations, ADDRESSES)
    if text and service.wanted_address:
        raise Refusal(f"service can not have both {PREFIX}{ADDRESSES} and svc.Spec.LoadBalancerIP")
    if not text and not service.wanted_address:
        return ()
    found = tuple(parse_address(each.strip()) for each in (text or service.wanted_address).split(","))
    known = tuple(each for each in found if each is not None)
    if len(known) != len(found) or (not text and len(found) > 1):
        field = f"{PREFIX}{ADDRESSES}:" if text else "spec.loadBalancerIP"
        raise Refusal(f"invalid {field} {quoted(text or service.wanted_address)}")
    if len(known) > 2 or len({each.version for each in known}) != len(known):
        raise Refusal(f"more than one address of a family: {listed(known)}")
    return known


def _exactly(ledger: Ledger, service: Service, wanted: tuple[Address, ...], pool_name: str) -> Holding:
    family = 0 if len(wanted) == 2 else wanted[0].version
    if family != service.family:
        raise Refusal(f"requested loadBalancer IP(s) {listed(wanted)} does not match the ipFamily of the service")
    holding = ledger.assign(service, wanted)
    if pool_name and holding.pool != pool_name:
        ledger.release(service.key)
        why = f"is not compatible with requested address pool {pool_name}"
        raise Refusal(f"requested loadBalancer IP(s) {listed(wanted)} {why}")
    return holding


def _from_pool(ledger: Ledger, service: Service, name: str) -> Holding:
    pool = ledger.pools.get(name)
    if pool is None:
        raise Refusal(f"unknown pool {quoted(name)}")
    pair = _pair(ledger, service, pool)
    if not pair:
        raise Refusal(f"no available IPs in pool {name}")
    found = _suitable(service, pair)
    if found is None:
        raise Refusal(f"no available IPs in pool {name} for {family_name(service.family)} IPFamily")
    return ledger.assign(service, found)


def additional(ledger: Ledger, service: Service, held: Holding) -> Address:
    """The address of the other family, beside the one held, out of the same pool."""
    (first,) = held.addresses
    version = 6 if first.version == 4 else 4
    found = ledger.first(ledger.pools[held.pool], service, version)
    if found is None:
        raise Refusal(f"no available IPs in pool {held.pool} for {family_name(version)} IPFamily")
    ledger.assign(service, (first, found))
    return found


def family_name(family: int) -> str:
    return {4: "ipv4", 6: "ipv6"}.get(family, "dual")


# --- choice ----------------------------------------------------------------------------------------------------------


def _pinned(ledger: Ledger, service: Service) -> list[Pool]:
    """Pools that are for this Service, the most urgent first."""
    found = [
        pool
        for pool in ledger.pools.values()
        if pool.auto_assign and pool.allocation is not None and pool.allocation.allows(service.key[0], service.labels)
    ]
    return sorted(found, key=_urgency)


def _urgency(pool: Pool) -> tuple[bool, int, str]:
    priority = pool.allocation.priority if pool.allocation else 0
    return priority == 0, priority, pool.name


def _for_all(ledger: Ledger) -> list[Pool]:
    return [pool for _, pool in sorted(ledger.pools.items()) if pool.auto_assign and pool.allocation is None]


def _best(ledger: Ledger, service: Service, pools: Iterable[Pool]) -> tuple[Address, ...] | None:
    """The first pool that has all that is wanted; with PreferDualStack, else the first that has a part."""
    part: tuple[Address, ...] | None = None
    part_is_first = False
    for pool in pools:
        found = _suitable(service, _pair(ledger, service, pool))
        if found is None:
            continue
        if service.family or len(found) == 2:
            return found
        is_first = found[0].version == service.first_family
        if part is None or (is_first and not part_is_first):
            part, part_is_first = found, is_first
    return part


def _pair(ledger: Ledger, service: Service, pool: Pool) -> Pair:
    versions = (service.family,) if service.family else (4, 6)
    found = {version: ledger.first(pool, service, version) for version in versions}
    return {version: address for version, address in found.items() if address is not None}


def _suitable(service: Service, pair: Pair) -> tuple[Address, ...] | None:
    """What of a pool's offer the Service takes."""
    if service.family:
        return (pair[service.family],) if service.family in pair else None
    both = tuple(pair[version] for version in (4, 6) if version in pair)
    if service.family_policy == REQUIRE_DUAL:
        return both if len(both) == 2 else None
    if service.family_policy == PREFER_DUAL:
        return both or None
    return None
