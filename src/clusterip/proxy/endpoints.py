"""The endpoints of a Service's ports, out of its EndpointSlices.

Stage: snapshot.  In: EndpointSlices.  Out: endpoints by port name and protocol, merged over slices; weights.
Rules: each slice is read once; ports match by name and protocol, never by number; of two endpoints with one address and
port the more usable one counts, and it is local when either is (upstream takes whichever comes last).
Truth: discovery/v1: no condition means ready and serving; no port or port 0 is nothing; the first address is the one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain
from typing import NamedTuple

from clusterip.proxy.model import NO_HINTS, NO_WEIGHTS, Endpoint, Family, Node, PortName, Target
from clusterip.proxy.objects import EndpointSlice, Hint, SliceEndpoint
from clusterip.proxy.texts import parse

logger = logging.getLogger(__name__)

ADDRESS_TYPES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
MAXIMUM_WEIGHT = 65535
PortKey = tuple[str, str]  # name and protocol


class ReadSlice(NamedTuple):
    """A slice, and the endpoints in it by port."""

    source: EndpointSlice
    ports: Mapping[PortKey, tuple[Endpoint, ...]]


def read_slice(source: EndpointSlice, node: Node) -> ReadSlice:
    """A slice of another family, or of names, has nothing for us."""
    ports: dict[PortKey, tuple[Endpoint, ...]] = {}
    if source.address_type == ADDRESS_TYPES[node.family]:
        for port in source.ports or ():
            if port.port:
                key = (port.name or "", (port.protocol or "TCP").lower())
                ports[key] = _merged((*ports.get(key, ()), *_endpoints(source, port.port, node)))
    return ReadSlice(source, ports)


def _endpoints(source: EndpointSlice, port: int, node: Node) -> Iterator[Endpoint]:
    for found in source.endpoints or ():
        if found.addresses and (address := parse(found.addresses[0], node.family)):
            yield _endpoint(found, Target(address, port, found.node_name == node.name))


def _endpoint(found: SliceEndpoint, target: Target) -> Endpoint:
    conditions, hints = found.conditions, found.hints
    return Endpoint(
        target,
        conditions is None or conditions.ready is not False,
        conditions is None or conditions.serving is not False,
        conditions is not None and conditions.terminating is True,
        _names(hints.for_zones) if hints else NO_HINTS,
        _names(hints.for_nodes) if hints else NO_HINTS,
    )


def _names(hints: tuple[Hint, ...] | None) -> frozenset[str]:
    return frozenset(hint.name for hint in hints) if hints else NO_HINTS


def endpoints_of(name: PortName, slices: Iterable[ReadSlice]) -> tuple[Endpoint, ...]:
    """The endpoints of one port, over all slices."""
    key = (name.port, name.protocol)
    parts = tuple([found for read in slices if (found := read.ports.get(key))])
    return parts[0] if len(parts) == 1 else _merged(chain.from_iterable(parts))


def _merged(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Each place once."""
    found: dict[tuple[int, int], Endpoint] = {}
    for new in endpoints:
        target = new[0]
        place = (int(target[0]), target[1])
        old = found.get(place)
        found[place] = new if old is None else _better(old, new)
    return tuple(found.values())


def _better(old: Endpoint, new: Endpoint) -> Endpoint:
    """The more usable one of two; all else being equal the one that has hints for fewer."""
    first, second = sorted((old, new), key=_usability, reverse=True)
    is_local = first.target.is_local or second.target.is_local
    return first._replace(target=first.target._replace(is_local=is_local))


def _usability(endpoint: Endpoint) -> tuple[object, ...]:
    """So that the order of slices means nothing."""
    _, is_ready, is_serving, is_terminating, zones, nodes = endpoint
    return is_ready, is_serving, is_terminating, sorted(zones), sorted(nodes)


def weights_of(text: str, name: PortName, slices: Iterable[ReadSlice]) -> Mapping[Target, int]:
    """The weights that `10.244.1.5=3,web-*=2` gives: by address, else by the first pattern of the target's name."""
    if not text:
        return NO_WEIGHTS
    wanted = dict(_weights(text, name))
    found: dict[Target, int] = {}
    for read in slices:
        names = {entry.addresses[0]: _name(entry) for entry in read.source.endpoints or () if entry.addresses}
        for endpoint in read.ports.get((name.port, name.protocol), ()):
            address = str(endpoint.target.address)
            pattern = next((pattern for pattern in wanted if fnmatchcase(names.get(address, ""), pattern)), address)
            weight = wanted.get(address, wanted.get(pattern, 1))
            if weight != 1:
                found[endpoint.target] = weight
    return found


def _name(entry: SliceEndpoint) -> str:
    return entry.target_ref.name if entry.target_ref else ""


def _weights(text: str, name: PortName) -> Iterator[tuple[str, int]]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        who, _, number = part.partition("=")
        if number.strip().isdecimal() and int(number) <= MAXIMUM_WEIGHT:
            yield who.strip(), int(number)
        else:
            values = {"servicePort": name, "weight": part}
            logger.warning("Ignoring a weight that is not name=number", extra={"kv": values})
