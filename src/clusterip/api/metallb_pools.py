"""IPAddressPool: its ranges and to whom it gives.

Stage: none; pure.  In: an IPAddressPool's tree, Namespaces for their labels.  Out: a Pool without advertisements.
Rules: ranges are held as networks, in the order declared; ConfigError says which entry cannot be read.
Truth: MetalLB 0.16, spec.addresses (a prefix, or first-last), spec.serviceAllocation.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range
from itertools import chain

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree, name_of, spec_of
from clusterip.api.metallb import Allocation, ConfigError, Network, Pool
from clusterip.api.metallb_reading import selected, selectors
from clusterip.api.names import parse_address
from clusterip.api.selectors import LabelSelector


def read_pool(tree: Tree, namespaces: Iterable[Tree] = ()) -> Pool:
    """The pool declared; ConfigError when it cannot be."""
    name, spec = name_of(tree), spec_of(tree)
    if not spec.get("addresses"):
        raise ConfigError("pool has no prefixes defined")
    entries = tuple(_entry(text, name) for text in spec["addresses"])
    return Pool(
        name,
        tuple(chain.from_iterable(entries)),
        auto_assign=spec.get("autoAssign") is not False,
        avoid_buggy=bool(spec.get("avoidBuggyIPs")),
        allocation=_allocation(spec.get("serviceAllocation"), namespaces),
        entries=entries,
    )


def _entry(text: str, pool: str) -> tuple[Network, ...]:
    try:
        return parse_range(text)
    except ConfigError as error:
        raise ConfigError(f"invalid CIDR {quoted(text)} in pool {quoted(pool)}: {error}") from None


def parse_range(text: str) -> tuple[Network, ...]:
    """The networks of one entry: of a prefix itself, of first-last those that cover it exactly."""
    if "-" not in text:
        return (_prefix(text),)
    left, _, right = text.partition("-")
    first, last = parse_address(left.strip()), parse_address(right.strip())
    if first is None:
        raise ConfigError(f"invalid IP range {quoted(text)}: invalid start IP {quoted(left)}")
    if last is None:
        raise ConfigError(f"invalid IP range {quoted(text)}: invalid end IP {quoted(right)}")
    if isinstance(first, IPv4Address) and isinstance(last, IPv4Address) and first <= last:
        return tuple(summarize_address_range(first, last))
    if isinstance(first, IPv6Address) and isinstance(last, IPv6Address) and first <= last:
        return tuple(summarize_address_range(first, last))
    if first.version != last.version:
        raise ConfigError(f"invalid IP range {quoted(text)}: start and end are of different families")
    why = f'start IP "{first}" is after the end IP "{last}"'
    raise ConfigError(f"invalid IP range {quoted(text)}: {why}")


def _prefix(text: str) -> Network:
    address, slash, length = text.partition("/")
    if slash and length.isascii() and length.isdigit() and "%" not in address:
        try:
            return ip_network(text, strict=False)
        except ValueError:
            pass
    raise ConfigError(f"invalid CIDR {quoted(text)}")


def _allocation(tree: Tree | None, namespaces: Iterable[Tree]) -> Allocation | None:
    if tree is None:
        return None
    named = tree.get("namespaces") or []
    if len(set(named)) != len(named):
        raise ConfigError("duplicate definition in namespaces field")
    by_label = selectors(tree, "namespaceSelectors")
    services = selectors(tree, "serviceSelectors")
    if not named and not by_label and not services:
        services = (LabelSelector(),)
    return Allocation(int(tree.get("priority") or 0), frozenset(named) | selected(namespaces, by_label), services)


def capacity(pool: Pool) -> tuple[int, int]:
    """How many addresses it can give away: IPv4, IPv6."""
    four, six = (sum(_usable(net, pool.avoid_buggy) for net in pool.networks if net.version == v) for v in (4, 6))
    return min(four, ENDLESS), min(six, ENDLESS)


ENDLESS = 2**63 - 1


def _usable(network: Network, avoid_buggy: bool) -> int:
    if network.version == 6 and network.prefixlen <= 66:
        return ENDLESS
    return network.num_addresses - (_buggy(network) if avoid_buggy and network.version == 4 else 0)


def _buggy(network: Network) -> int:
    if network.prefixlen <= 24:
        return 2 << (24 - network.prefixlen)
    ends = {network.network_address.packed[3], network.broadcast_address.packed[3]}
    return len(ends & {0, 255})
