"""What each router is to hear: prefixes, and what is said of them.

Stage: plan.  In: the view; a router's routes before and after.  Out: routes by router; UPDATE messages.
Rules: pure.  Advertisements of one prefix are one route: the highest preference, the communities of all.
Truth: MetalLB 0.16's BGP mode; RFC 4271 5.1, 4760 (IPv6), 1997 and 8092 (communities), 8950 (next hops).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import combinations

from clusterip.api.metallb import Address, BgpAdvertisement, Community, Network, Pool
from clusterip.api.metallb_config import compatible_preference
from clusterip.speaker.bgp_messages import AS_TRANS, HEADER, LONGEST, UNICAST, write_prefix, write_update
from clusterip.speaker.model import Key, Service
from clusterip.speaker.view import View

TRANSITIVE, OPTIONAL, LONG = 0x40, 0x80, 0x10
MOST_COMMUNITIES = 63
IGP, SEQUENCE = 0, 2


class Attribute(IntEnum):
    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    LOCAL_PREF = 5
    COMMUNITIES = 8
    REACH = 14
    UNREACH = 15
    AS4_PATH = 17
    LARGE_COMMUNITY = 32


@dataclass(frozen=True, slots=True)
class Route:
    """What is said of a prefix."""

    local_preference: int = 0
    communities: frozenset[Community] = frozenset()

    def with_(self, other: Route) -> Route:
        preference = max(self.local_preference, other.local_preference)
        return Route(preference, self.communities | other.communities)


Routes = Mapping[Network, Route]


@dataclass(frozen=True, slots=True)
class Advertised:
    """One address by one advertisement."""

    prefix: Network
    route: Route
    peers: frozenset[str] = frozenset()  # none: all of them


# -- what -------------------------------------------------------------------------------------------------------------


def why_not(view: View, key: Key) -> str:
    """Why this node does not advertise the Service; empty when it does."""
    service, pool = view.services.get(key), view.pools.get(key)
    if service is None or pool is None:
        return "no address of a pool"
    chosen = _chosen(pool, service, view.me)
    if not chosen:
        return "no BGPAdvertisement speaks of it for this node"
    if _conflict(chosen, pool):
        return _conflict(chosen, pool)
    if view.me not in view.surroundings.eligible():
        return "this node takes no traffic from outside"
    return _no_endpoint(view, service)


def _no_endpoint(view: View, service: Service) -> str:
    endpoints = view.endpoints_of(service.key)
    if service.is_local and view.me not in endpoints:
        return "no endpoint on this node is ready"
    return "" if endpoints else "no endpoint is ready"


def _chosen(pool: Pool, service: Service, node: str) -> list[BgpAdvertisement]:
    return [each for each in pool.bgp if node in each.nodes and each.selects(service.labels)]


def _conflict(chosen: Iterable[BgpAdvertisement], pool: Pool) -> str:
    for old, new in combinations(chosen, 2):
        if not compatible_preference(new, old, pool):
            return f"BGPAdvertisements {old.name} and {new.name} disagree about the local preference"
    return ""


def advertised(view: View, key: Key) -> tuple[Advertised, ...]:
    """What this node tells of a Service."""
    if why_not(view, key):
        return ()
    service, pool = view.services[key], view.pools[key]
    return tuple(
        Advertised(_aggregated(address, each), Route(each.local_preference, each.communities), each.peers)
        for address in service.addresses
        for each in _chosen(pool, service, view.me)
    )


def _aggregated(address: Address, by: BgpAdvertisement) -> Network:
    return ip_network((address, by.length4 if address.version == 4 else by.length6), strict=False)


def routes_for(peer: str, known: Iterable[Advertised]) -> dict[Network, Route]:
    """What one router is to hear."""
    routes: dict[Network, Route] = {}
    for each in known:
        if not each.peers or peer in each.peers:
            routes[each.prefix] = routes.get(each.prefix, Route()).with_(each.route)
    return routes


def hearers(known: Collection[Advertised], peers: Iterable[str]) -> frozenset[str]:
    """The routers that are told something of a Service."""
    return frozenset(peer for peer in peers if any(not each.peers or peer in each.peers for each in known))


# -- how --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """How a router is told: what both sides can do."""

    asn: int
    is_internal: bool = False
    long_as: bool = True
    families: frozenset[int] = frozenset({1})
    hop4: IPv4Address | None = None
    hop6: IPv6Address | None = None
    v6_next_hops: bool = False

    def can(self, prefix: Network) -> bool:
        """Whether the prefix can be told at all."""
        if prefix.version == 6:
            return 2 in self.families and self.hop6 is not None
        return 1 in self.families and (self.hop4 is not None or (self.v6_next_hops and self.hop6 is not None))


def updates(old: Routes, new: Routes, way: Way) -> Iterator[bytes]:
    """The messages that lead a router from what it knows to what it is to know."""
    gone = [prefix for prefix in old if prefix not in new and way.can(prefix)]
    for version in (4, 6):
        yield from _withdrawals([prefix for prefix in gone if prefix.version == version], version)
    alike: dict[tuple[int, Route], list[Network]] = {}
    for prefix, route in new.items():
        if old.get(prefix) != route and way.can(prefix):
            alike.setdefault((prefix.version, route), []).append(prefix)
    for (version, route), prefixes in alike.items():
        yield from _announcements(prefixes, version, route, way)


def end_of(family: int) -> bytes:
    """All of a family was told (RFC 4724)."""
    return write_update() if family == 1 else write_update(attributes=_unreach(b""))


def _withdrawals(prefixes: Iterable[Network], version: int) -> Iterator[bytes]:
    for chunk in _chunks(prefixes, LONGEST - HEADER - 16):
        yield write_update(withdrawn=chunk) if version == 4 else write_update(attributes=_unreach(chunk))


def _announcements(prefixes: Iterable[Network], version: int, route: Route, way: Way) -> Iterator[bytes]:
    said = b"".join(_said(route, way))
    for chunk in _chunks(prefixes, LONGEST - HEADER - 64 - len(said)):
        if version == 4 and way.hop4 is not None:
            hop = _attribute(TRANSITIVE, Attribute.NEXT_HOP, way.hop4.packed)
            yield write_update(attributes=said + hop, prefixes=chunk)
        elif way.hop6 is not None:
            yield write_update(attributes=_reach(1 if version == 4 else 2, way.hop6, chunk) + said)


def _chunks(prefixes: Iterable[Network], room: int) -> Iterator[bytes]:
    """Prefixes as bytes, so many at once as fit into one message."""
    chunk = b""
    for written in map(write_prefix, prefixes):
        if len(chunk) + len(written) > room:
            yield chunk
            chunk = b""
        chunk += written
    if chunk:
        yield chunk


def _said(route: Route, way: Way) -> Iterator[bytes]:
    yield _attribute(TRANSITIVE, Attribute.ORIGIN, bytes((IGP,)))
    yield from _path(way)
    if way.is_internal:
        yield _attribute(TRANSITIVE, Attribute.LOCAL_PREF, struct.pack("!I", route.local_preference or 100))
    yield from _communities(sorted(route.communities)[:MOST_COMMUNITIES])


def _path(way: Way) -> Iterator[bytes]:
    """Our own number, unless the router is of our system."""
    if way.is_internal:
        yield _attribute(TRANSITIVE, Attribute.AS_PATH, b"")
        return
    long = bytes((SEQUENCE, 1)) + struct.pack("!I", way.asn)
    short = bytes((SEQUENCE, 1)) + struct.pack("!H", way.asn if way.asn < 1 << 16 else AS_TRANS)
    yield _attribute(TRANSITIVE, Attribute.AS_PATH, long if way.long_as else short)
    if not way.long_as and way.asn >= 1 << 16:
        yield _attribute(OPTIONAL | TRANSITIVE, Attribute.AS4_PATH, long)


def _communities(known: Collection[Community]) -> Iterator[bytes]:
    plain = b"".join(struct.pack("!HH", *each.numbers) for each in known if not each.is_large)
    large = b"".join(struct.pack("!III", *each.numbers) for each in known if each.is_large)
    for kind, octets in ((Attribute.COMMUNITIES, plain), (Attribute.LARGE_COMMUNITY, large)):
        if octets:
            yield _attribute(OPTIONAL | TRANSITIVE, kind, octets)


def _reach(family: int, hop: IPv6Address, prefixes: bytes) -> bytes:
    head = struct.pack("!HBB", family, UNICAST, len(hop.packed))
    return _attribute(OPTIONAL, Attribute.REACH, head + hop.packed + b"\0" + prefixes)


def _unreach(prefixes: bytes) -> bytes:
    return _attribute(OPTIONAL, Attribute.UNREACH, struct.pack("!HB", 2, UNICAST) + prefixes)


def _attribute(flags: int, kind: Attribute, octets: bytes) -> bytes:
    if len(octets) > 255:
        return bytes((flags | LONG, kind)) + struct.pack("!H", len(octets)) + octets
    return bytes((flags, kind, len(octets))) + octets
