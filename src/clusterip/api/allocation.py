"""Choose what a Service gets from the cluster's ranges: addresses and node ports.

Stage: plan.  In: the prepared Service, the one before it, what is taken, the ranges, a random.Random.
Out: the Service completed in place, and what to take and what to release once the write is committed; or an ApiError.
Rules: pure but for the randomness handed in; nothing is kept here.  Whoever writes calls `plan_allocation` after
`prepare_create` or `prepare_update` and before the validation, inside the write's transaction, and applies the
Allocation to its sets in the same transaction; a dry run calls it too and forgets it.  A deletion releases `held`.
Truth: KEP-3070 (bands of addresses), KEP-3668 (bands of node ports).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterip.api import errors
from clusterip.api.errors import ApiError
from clusterip.api.families import Address as Address
from clusterip.api.families import Network, keeps_prefer_dual_stack, refuse, settle_families
from clusterip.api.families import Ranges as Ranges
from clusterip.api.meta import Tree, name_of
from clusterip.api.names import parse_address
from clusterip.api.service import (
    cluster_ips_of,
    is_headless,
    needs_health_check_port,
    needs_node_ports,
    node_ports_of,
    ports_of,
    spec_of,
    type_of,
)

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

OUT_OF_RANGE = "the provided network does not match the current range"
ADDRESS_TAKEN = "provided IP is already allocated"
PORT_TAKEN = "provided port is already allocated"
FULL = "range is full"


@dataclass(frozen=True, slots=True)
class Taken:
    """What others hold. Any collections with a quick `in` will do."""

    addresses: Collection[Address] = frozenset()
    ports: Collection[int] = frozenset()


@dataclass(slots=True)
class Allocation:
    """What a write changes in the sets, once it is committed."""

    take_addresses: set[Address] = field(default_factory=set)
    take_ports: set[int] = field(default_factory=set)
    release_addresses: set[Address] = field(default_factory=set)
    release_ports: set[int] = field(default_factory=set)


def held(service: Tree) -> tuple[set[Address], set[int]]:
    """The addresses and node ports of a stored Service: to rebuild the sets at start, and to release at deletion."""
    addresses = _addresses(cluster_ips_of(service))
    ports = set(node_ports_of(service)) if needs_node_ports(service) else set()
    if needs_health_check_port(service) and spec_of(service).get("healthCheckNodePort"):
        ports.add(spec_of(service)["healthCheckNodePort"])
    return addresses, ports


def _addresses(texts: list[str]) -> set[Address]:
    """Those that are addresses: None and nothing are not."""
    return {address for address in map(parse_address, texts) if address is not None}


def plan_allocation(new: Tree, old: Tree | None, taken: Taken, ranges: Ranges, rng: Random) -> Allocation:
    """Complete the Service in place and say what changes hands; ApiError when it cannot be had."""
    if old is None or not keeps_prefer_dual_stack(new, old):
        settle_families(new, old, ranges)
    allocation = Allocation()
    _plan_addresses(new, old, taken, ranges, rng, allocation)
    _plan_ports(new, old, taken, ranges, rng, allocation)
    return allocation


# --- addresses -------------------------------------------------------------------------------------------------------


def _plan_addresses(
    new: Tree, old: Tree | None, taken: Taken, ranges: Ranges, rng: Random, allocation: Allocation
) -> None:
    mine = _addresses(cluster_ips_of(old or {}))
    if type_of(new) == "ExternalName":
        allocation.release_addresses |= mine
        return
    if is_headless(new) or (old is not None and is_headless(old)):
        return
    spec = new["spec"]
    families = spec.get("ipFamilies") or []
    given = list(spec.get("clusterIPs") or [])[: len(families)]
    if mine and len(families) == len(spec_of(old or {}).get("ipFamilies") or []):
        return  # neither gained nor lost a family: whatever else changed is judged by the validation
    wanted = given + [""] * (len(families) - len(given))
    for index, family in enumerate(families):
        if index < len(mine) and mine and parse_address(wanted[index]) in mine:
            continue
        address = _take_address(new, wanted, index, family, taken, ranges, rng)
        allocation.take_addresses.add(address)
        wanted[index] = wanted[index] or str(address)
    allocation.release_addresses |= mine - _addresses(wanted)
    if wanted:
        spec["clusterIPs"], spec["clusterIP"] = wanted, wanted[0]


def _take_address(
    new: Tree, wanted: list[str], index: int, family: str, taken: Taken, ranges: Ranges, rng: Random
) -> Address:
    network = ranges.network_of(family)
    if network is None:
        raise ApiError.internal(f"no range of {family}")
    if not wanted[index]:
        address = choose_address(network, taken.addresses, rng)
        if address is None or not name_of(new):
            raise refuse(new, errors.invalid("spec.clusterIPs", wanted, f"failed to allocate IP: {_why(address)}"))
        return address
    asked = parse_address(wanted[index])
    reason = address_refusal(asked, network, taken.addresses) if asked else OUT_OF_RANGE
    if reason or asked is None:
        detail = f"failed to allocate IP {wanted[index]}: {reason}"
        raise refuse(new, errors.invalid("spec.clusterIPs", spec_of(new).get("clusterIPs"), detail))
    return asked


def _why(address: Address | None) -> str:
    """An address is kept under its Service's name: without one it cannot be."""
    if address is None:
        return FULL
    found = [errors.required("spec.parentRef.name")]
    return ApiError.invalid("networking.k8s.io", "IPAddress", str(address), found).message


def address_refusal(address: Address, network: Network, taken: Collection[Address]) -> str:
    """Why an address cannot be had; empty when it can."""
    if address.version != network.version or not (_first(network) <= int(address) <= _last(network)):
        return OUT_OF_RANGE
    return ADDRESS_TAKEN if address in taken else ""


def _first(network: Network) -> int:
    return int(network.network_address) + 1


def _last(network: Network) -> int:
    """IPv4 keeps its broadcast address."""
    return int(network.broadcast_address) - (1 if network.version == 4 else 0)


def static_band(size: int, *, smallest: int, divisor: int, largest: int) -> int:
    """How many at the low end are left for those who choose by hand; none of a range that is too small."""
    return 0 if size < smallest else min(max(smallest, size // divisor), largest)


def choose_address(network: Network, taken: Collection[Address], rng: Random) -> Address | None:
    """A free address at random: above the static band first, inside it only when nothing else is left."""
    first, last = _first(network), _last(network)
    split = first + static_band(last - first + 1, smallest=16, divisor=16, largest=256)
    for low, high in ((split, last), (first, split - 1)):
        for number in _around(low, high, rng):
            address = type(network.network_address)(number)
            if address not in taken:
                return address
    return None


def _around(low: int, high: int, rng: Random) -> Iterator[int]:
    """Every number of the band once, from a random one on."""
    if high < low:
        return
    start = rng.randrange(low, high + 1)
    yield from range(start, high + 1)
    yield from range(low, start)


# --- node ports ------------------------------------------------------------------------------------------------------


def _plan_ports(new: Tree, old: Tree | None, taken: Taken, ranges: Ranges, rng: Random, allocation: Allocation) -> None:
    pool = _Ports(new, taken.ports, ranges.node_ports, rng)
    mine = held(old)[1] if old else set()
    kept: set[int] = set()
    if needs_node_ports(new):
        pool.mine |= set(node_ports_of(old)) if old and needs_node_ports(old) else set()
        _fill_node_ports(new, old, pool)
        kept |= set(node_ports_of(new))
    if needs_health_check_port(new):
        _fill_health_check_port(new, old, pool)
        kept.add(new["spec"]["healthCheckNodePort"])
    allocation.take_ports |= pool.fresh
    allocation.release_ports |= mine - kept


class _Ports:
    """The node ports as this write sees them: what it takes is taken for the rest of it."""

    def __init__(self, service: Tree, taken: Collection[int], node_ports: range, rng: Random) -> None:
        self.service, self.taken, self.range, self.rng = service, taken, node_ports, rng
        self.mine: set[int] = set()
        self.fresh: set[int] = set()

    def refusal(self, port: int) -> str:
        if port not in self.range:
            bounds = f"{self.range.start}-{self.range.stop - 1}"
            return f"provided port is not in the valid range. The range of valid ports is {bounds}"
        return PORT_TAKEN if port in self.taken or port in self.fresh else ""

    def take(self, port: int, index: int) -> None:
        if reason := self.refusal(port):
            raise refuse(self.service, errors.invalid(f"spec.ports[{index}].nodePort", port, reason))
        self.fresh.add(port)

    def choose(self, what: str) -> int:
        port = choose_port(self.range, self.taken, self.rng, self.fresh)
        if port is None:
            raise ApiError.internal(f"failed to allocate a {what}: {FULL}")
        self.fresh.add(port)
        return port


def choose_port(
    ports: range, taken: Collection[int], rng: Random, also_taken: Collection[int] = frozenset()
) -> int | None:
    """A free port at random: above the static band first."""
    split = ports.start + static_band(len(ports), smallest=16, divisor=32, largest=128)
    for low, high in ((split, ports.stop - 1), (ports.start, split - 1)):
        for number in _around(low, high, rng):
            if number not in taken and number not in also_taken:
                return number
    return None


def _fill_node_ports(new: Tree, old: Tree | None, pool: _Ports) -> None:
    """Ports asked for are taken, ports missing are chosen; one number serves several protocols of one port."""
    allocates = type_of(new) != "LoadBalancer" or spec_of(new).get("allocateLoadBalancerNodePorts") is not False
    by_port: dict[int, int] = {}
    for index, port in enumerate(ports_of(new)):
        number = port.get("nodePort") or (by_port.get(port.get("port", 0), 0) if old is None else 0)
        if not number and not allocates:
            continue
        if not number and old is None:
            number = _asked_for(new, port.get("port", 0))
        if not number:
            number = pool.choose("nodePort")
        elif number not in pool.mine and not _shared(number, port.get("port", 0), by_port, old):
            pool.take(number, index)
        port["nodePort"] = number
        by_port.setdefault(port.get("port", 0), number)
    if old is not None:
        _check_distinct(new)


def _check_distinct(service: Tree) -> None:
    """An update that asks twice for one number of one protocol is no field's fault, but fails as a whole."""
    seen: set[tuple[str, int]] = set()
    for port in ports_of(service):
        key = (port.get("protocol", ""), port.get("nodePort") or 0)
        if key[1] and key in seen:
            raise ApiError.unclassified(f"duplicate nodePort: {{{key[0]} {key[1]}}}")
        seen.add(key)


def _shared(number: int, port: int, by_port: dict[int, int], old: Tree | None) -> bool:
    """Whether this write has the number already: at creation only the same port may share it."""
    return by_port.get(port) == number if old is None else number in by_port.values()


def _asked_for(service: Tree, port: int) -> int:
    """The node port that another protocol of the same port asks for."""
    asked = (p["nodePort"] for p in ports_of(service) if p.get("port") == port and p.get("nodePort"))
    return next(asked, 0)


def _fill_health_check_port(new: Tree, old: Tree | None, pool: _Ports) -> None:
    spec = new["spec"]
    asked = spec.get("healthCheckNodePort") or 0
    if old and needs_health_check_port(old):
        spec["healthCheckNodePort"] = asked or spec_of(old).get("healthCheckNodePort", 0)
        return  # a change of it is refused by the validation
    if asked and (reason := pool.refusal(asked)):
        raise ApiError.internal(f"failed to allocate requested HealthCheck NodePort {asked}: {reason}")
    if asked:
        pool.fresh.add(asked)
    else:
        spec["healthCheckNodePort"] = pool.choose("HealthCheck NodePort 0")
