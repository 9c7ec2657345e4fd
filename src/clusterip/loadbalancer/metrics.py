"""Numbers of the address controller.

Stage: status.  In: the ledger, what happened.  Out: exposition text.
Truth: MetalLB's metric names, labels and help texts' meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clusterip.api.metallb import Pool
from clusterip.api.metallb_pools import ENDLESS, capacity
from clusterip.loadbalancer.ledger import Ledger
from clusterip.transport.exposition import Kind, Labels, Metric, Registry

POOL = ("pool",)
USED, ALL, SERVICES = "addresses_in_use_total", "addresses_total", "services_allocated_total"
ALLOCATOR = "metallb_allocator_"
CLIENT = "metallb_k8s_client_"
UPDATES, UPDATE_ERRORS = CLIENT + "updates_total", CLIENT + "update_errors_total"
LOADED, STALE = CLIENT + "config_loaded_bool", CLIENT + "config_stale_bool"

METRICS = (
    Metric(ALLOCATOR + ALL, Kind.GAUGE, "Addresses that a pool can give.", POOL, stability=""),
    Metric(ALLOCATOR + "ipv4_" + ALL, Kind.GAUGE, "IPv4 addresses that a pool can give.", POOL, stability=""),
    Metric(ALLOCATOR + "ipv6_" + ALL, Kind.GAUGE, "IPv6 addresses that a pool can give.", POOL, stability=""),
    Metric(ALLOCATOR + USED, Kind.GAUGE, "Addresses of a pool in use.", POOL, stability=""),
    Metric(ALLOCATOR + "ipv4_" + USED, Kind.GAUGE, "IPv4 addresses of a pool in use.", POOL, stability=""),
    Metric(ALLOCATOR + "ipv6_" + USED, Kind.GAUGE, "IPv6 addresses of a pool in use.", POOL, stability=""),
    Metric(ALLOCATOR + SERVICES, Kind.GAUGE, "Services that have addresses of a pool.", POOL, stability=""),
    Metric(UPDATES, Kind.COUNTER, "Services looked at.", stability=""),
    Metric(UPDATE_ERRORS, Kind.COUNTER, "Services that could not be settled.", stability=""),
    Metric(LOADED, Kind.GAUGE, "1 once a configuration was valid.", stability=""),
    Metric(STALE, Kind.GAUGE, "1 while the newest configuration is not valid and an older one is used.", stability=""),
)


def registry(ledger: Ledger) -> Registry:
    """The numbers; those of pools are read off the ledger when they are asked for."""
    made = Registry(METRICS)
    for prefix, versions in (("", (4, 6)), ("ipv4_", (4,)), ("ipv6_", (6,))):
        made.follow(ALLOCATOR + prefix + ALL, _per_pool(ledger, _capacity(versions)))
        made.follow(ALLOCATOR + prefix + USED, _per_pool(ledger, _used(ledger, versions)))
    made.follow(ALLOCATOR + SERVICES, lambda: _services(ledger))
    return made


def _per_pool(ledger: Ledger, number: Callable[[Pool], float]) -> Callable[[], Mapping[Labels, float]]:
    return lambda: {(name,): number(pool) for name, pool in ledger.pools.items()}


def _capacity(versions: tuple[int, ...]) -> Callable[[Pool], float]:
    def number(pool: Pool) -> float:
        four, six = capacity(pool)
        return min(sum(count for version, count in ((4, four), (6, six)) if version in versions), ENDLESS)

    return number


def _used(ledger: Ledger, versions: tuple[int, ...]) -> Callable[[Pool], float]:
    return lambda pool: sum(address.version in versions for address in ledger.held(pool.name))


def _services(ledger: Ledger) -> Mapping[Labels, float]:
    found: dict[Labels, float] = {(name,): 0.0 for name in ledger.pools}
    for holding in ledger.holdings().values():
        found[(holding.pool,)] = found.get((holding.pool,), 0.0) + 1
    return found


def pool_status(ledger: Ledger, pool: Pool) -> dict[str, int]:
    """The status of an IPAddressPool."""
    four, six = capacity(pool)
    held = [address.version for address in ledger.held(pool.name)]
    return {
        "assignedIPv4": held.count(4),
        "assignedIPv6": held.count(6),
        "availableIPv4": four - held.count(4),
        "availableIPv6": six - held.count(6),
    }
