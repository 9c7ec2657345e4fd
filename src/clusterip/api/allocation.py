"""Choose what a Service gets from the cluster's ranges: addresses and node ports.

Stage: plan.  In: the prepared Service, the one before it, what is taken, the ranges, a random.Random.
Out: the Service completed in place, and what to take and what to release once the write is committed; or an ApiError.
Rules: pure but for the randomness handed in; nothing is kept here.  Whoever writes calls `plan_allocation` after
`prepare_create` or `prepare_update` and before the validation, inside the write's transaction, and keeps what the
Service then holds (`held`) in the same transaction.  A dry run takes nothing, so it shows placeholders: the network's
own address, and ports beyond those there are.
Truth: KEP-3070 (bands of addresses), KEP-3668 (bands of node ports), kube-apiserver's registry/core/service/storage.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterip.api import errors
from clusterip.api.errors import ApiError, quoted
from clusterip.api.families import Address as Address
from clusterip.api.families import Network, keeps_prefer_dual_stack, refuse, settle_families
from clusterip.api.families import Ranges as Ranges
from clusterip.api.meta import Tree, name_of, spec_of
from clusterip.api.names import parse_address
from clusterip.api.service import (
    HEADLESS,
    cluster_ips_of,
    drop_what_the_type_has_not,
    needs_health_check_port,
    needs_node_ports,
    node_ports_of,
    ports_of,
    type_of,
)

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

OUT_OF_RANGE = "the provided network does not match the current range"
ADDRESS_TAKEN = "provided IP is already allocated"
PORT_TAKEN = "provided port is already allocated"
FULL = "range is full"
PLACEHOLDER_PORT = 32768  # a dry run's first node port is the one after it


@dataclass(frozen=True, slots=True)
class Taken:
    """What others hold. Anything with a quick `in` will do."""

    addresses: Container[Address] = frozenset()
    ports: Container[int] = frozenset()


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


def plan_allocation(
    new: Tree, old: Tree | None, taken: Taken, ranges: Ranges, rng: Random, *, dry: bool = False
) -> Allocation:
    """Complete the Service in place and say what changes hands; ApiError when it cannot be had."""
    if old is None or not keeps_prefer_dual_stack(new, old):
        settle_families(new, old, ranges)
    allocation = Allocation()
    _plan_addresses(new, old, _Addresses(new, taken.addresses, ranges, rng, dry), allocation)
    _plan_ports(new, old, _Ports(new, taken.ports, ranges.node_ports, rng, dry), allocation)
    if old is not None:
        drop_what_the_type_has_not(new, old)
    return allocation


# --- addresses -------------------------------------------------------------------------------------------------------


class _Addresses:
    """The free addresses as this write sees them."""

    def __init__(self, service: Tree, taken: Container[Address], ranges: Ranges, rng: Random, dry: bool) -> None:
        self.service, self.taken, self.ranges, self.rng, self.dry = service, taken, ranges, rng, dry

    def take(self, asked: str, family: str) -> str:
        """The address asked for, or one that is free; as the Service writes it."""
        networks = self.ranges.open_networks(family)
        if asked:
            if reason := self._refusal(parse_address(asked), networks):
                raise self._refused(f"failed to allocate IP {asked}: {reason}")
            return asked
        if self.dry:
            return str(networks[0].network_address) if networks else ""
        address = self._choose(networks)
        if not name_of(self.service):
            raise self._refused(f"failed to allocate IP: {_nameless(address)}")
        return str(address)

    def _refusal(self, asked: Address | None, networks: tuple[Network, ...]) -> str:
        if asked is None:
            return OUT_OF_RANGE
        if self.dry:
            outside = not networks or address_refusal(asked, networks[0], frozenset())
            valid = f"The range of valid IPs is {networks[0] if networks else ''}"
            return f"the provided IP ({asked}) is not in the valid range. {valid}" if outside else ""
        reasons = [address_refusal(asked, network, self.taken) for network in networks]
        return next((reason for reason in reasons if reason != OUT_OF_RANGE), OUT_OF_RANGE)

    def _choose(self, networks: tuple[Network, ...]) -> Address:
        for network in networks:
            address = choose_address(network, self.taken, self.rng)
            if address is not None:
                return address
        name = quoted(name_of(self.service))
        raise ApiError.internal(f"failed to allocate a serviceIP for Service {name}: {FULL}")

    def _refused(self, detail: str) -> ApiError:
        """Shown are the addresses so far, an empty text for each that is missing."""
        return refuse(self.service, errors.invalid("spec.clusterIPs", spec_of(self.service).get("clusterIPs"), detail))


def _nameless(address: Address) -> str:
    """An address is kept under its Service's name: without one it cannot be."""
    found = [errors.required("spec.parentRef.name")]
    return ApiError.invalid("networking.k8s.io", "IPAddress", str(address), found).message


def _plan_addresses(new: Tree, old: Tree | None, pool: _Addresses, allocation: Allocation) -> None:
    """All for a Service that had none; the second for one that gains a family; else what it has stays."""
    if old is None or type_of(old) == "ExternalName":
        if type_of(new) != "ExternalName" and cluster_ips_of(new)[:1] != [HEADLESS]:
            _fill_addresses(new, 0, pool, allocation)
        return
    held_before = cluster_ips_of(old)
    if held_before[:1] == [HEADLESS]:
        return
    families, before = (spec_of(tree).get("ipFamilies") or [] for tree in (new, old))
    if type_of(new) == "ExternalName":
        allocation.release_addresses |= _addresses(held_before)
    elif (len(before), len(families)) == (1, 2):
        _fill_addresses(new, 1, pool, allocation)
    elif (len(before), len(families)) == (2, 1):
        allocation.release_addresses |= _addresses(held_before[1:])


def _fill_addresses(new: Tree, first: int, pool: _Addresses, allocation: Allocation) -> None:
    spec = new["spec"]
    families = spec.get("ipFamilies") or []
    ips = list(spec.get("clusterIPs") or [])
    ips += [""] * (len(families) - len(ips))
    for index, family in enumerate(families[first:], first):
        spec["clusterIPs"] = ips
        ips[index] = pool.take(ips[index], family)
        allocation.take_addresses |= _addresses([ips[index]])
    if ips and not first:
        spec["clusterIP"] = ips[0]


def address_refusal(address: Address, network: Network, taken: Container[Address]) -> str:
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
    return 0 if size <= smallest else min(max(smallest, size // divisor), largest)


def choose_address(network: Network, taken: Container[Address], rng: Random) -> Address | None:
    """A free address at random: above the static band first, inside it only when nothing else is left."""
    first, last = _first(network), _last(network)
    split = first + static_band(network.num_addresses, smallest=16, divisor=16, largest=256)
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


class _Ports:
    """The node ports as this write sees them: what it takes is taken for the rest of it."""

    def __init__(self, service: Tree, taken: Container[int], node_ports: range, rng: Random, dry: bool) -> None:
        self.service, self.taken, self.range, self.rng, self.dry = service, taken, node_ports, rng, dry
        self.fresh: set[int] = set()

    def refusal(self, port: int) -> str:
        if port not in self.range and not self.dry:
            bounds = f"{self.range.start}-{self.range.stop - 1}"
            return f"provided port is not in the valid range. The range of valid ports is {bounds}"
        return PORT_TAKEN if port in self.taken or port in self.fresh else ""

    def take(self, port: int, index: int) -> None:
        if reason := self.refusal(port):
            raise refuse(self.service, errors.invalid(f"spec.ports[{index}].nodePort", port, reason))
        self.fresh.add(port)

    def choose(self, what: str) -> int:
        port = self._beyond() if self.dry else choose_port(self.range, self.taken, self.rng, self.fresh)
        if port is None:
            raise ApiError.internal(f"failed to allocate a {what}: {FULL}")
        self.fresh.add(port)
        return port

    def _beyond(self) -> int:
        """What a dry run shows."""
        return max(self.fresh, default=PLACEHOLDER_PORT) + 1


def choose_port(
    ports: range, taken: Container[int], rng: Random, also_taken: Container[int] = frozenset()
) -> int | None:
    """A free port at random: above the static band first."""
    split = ports.start + static_band(len(ports), smallest=16, divisor=32, largest=128)
    for low, high in ((split, ports.stop - 1), (ports.start, split - 1)):
        for number in _around(low, high, rng):
            if number not in taken and number not in also_taken:
                return number
    return None


def _plan_ports(new: Tree, old: Tree | None, pool: _Ports, allocation: Allocation) -> None:
    mine = held(old)[1] if old else set()
    kept: set[int] = set()
    if needs_node_ports(new):
        if old is None:
            _first_node_ports(new, pool)
        else:
            _next_node_ports(new, set(node_ports_of(old)), pool)
        kept |= set(node_ports_of(new))
    if needs_health_check_port(new):
        if old is None or not needs_health_check_port(old):
            _fill_health_check_port(new["spec"], pool)
        kept.add(new["spec"].get("healthCheckNodePort") or 0)
    allocation.take_ports |= pool.fresh
    allocation.release_ports |= mine - kept


def _wants_node_port(service: Tree, port: Tree) -> bool:
    """Those that ask for one get it even where none are given."""
    gives = type_of(service) != "LoadBalancer" or spec_of(service).get("allocateLoadBalancerNodePorts") is not False
    return gives or bool(port.get("nodePort"))


def _first_node_ports(new: Tree, pool: _Ports) -> None:
    """Ports asked for are taken, ports missing are chosen; one number serves several protocols of one port."""
    by_port: dict[int, int] = {}
    for index, port in enumerate(ports_of(new)):
        if not _wants_node_port(new, port):
            continue
        number, shared = port.get("port", 0), by_port.get(port.get("port", 0), 0)
        if shared:
            if port.get("nodePort", shared) not in (0, shared):
                pool.take(port["nodePort"], index)
            else:
                port["nodePort"] = shared
            continue
        asked = _asked_for(new, number)
        if asked:
            pool.take(asked, index)
        port["nodePort"] = by_port[number] = asked or pool.choose("nodePort")


def _asked_for(service: Tree, port: int) -> int:
    """The node port that a protocol of this port asks for."""
    asked = (p["nodePort"] for p in ports_of(service) if p.get("port", 0) == port and p.get("nodePort"))
    return next(asked, 0)


def _next_node_ports(new: Tree, mine: set[int], pool: _Ports) -> None:
    """An update that asks twice for one number of one protocol is no field's fault, but fails as a whole."""
    seen: set[tuple[str, int]] = set()
    asked: set[int] = set()
    for index, port in enumerate(ports_of(new)):
        if not _wants_node_port(new, port):
            continue
        number = port.get("nodePort") or 0
        if not number:
            port["nodePort"] = pool.choose("nodePort")
        elif number not in mine and number not in asked:
            pool.take(number, index)
            asked.add(number)
        key = (port.get("protocol", ""), port["nodePort"])
        if key in seen:
            raise ApiError.unclassified(f"duplicate nodePort: {{{key[0]} {key[1]}}}")
        seen.add(key)


def _fill_health_check_port(spec: Tree, pool: _Ports) -> None:
    asked = spec.get("healthCheckNodePort") or 0
    if asked and (reason := pool.refusal(asked)):
        raise ApiError.internal(f"failed to allocate requested HealthCheck NodePort {asked}: {reason}")
    if asked:
        pool.fresh.add(asked)
    else:
        spec["healthCheckNodePort"] = pool.choose("HealthCheck NodePort 0")
