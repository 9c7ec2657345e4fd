"""L2Advertisement, BGPAdvertisement and Community, and to which pools advertisements belong.

Stage: none; pure.  In: trees.  Out: values, ConfigError; WaitsForOther for an alias that nobody has defined yet.
Truth: MetalLB 0.16.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree, labels_of, name_of, spec_of
from clusterip.api.metallb import BgpAdvertisement, Community, ConfigError, L2Advertisement, Pool, WaitsForOther
from clusterip.api.metallb_reading import nodes_of, selected, selector_of, selectors, texts

DIGITS = re.compile(r"\d+", re.ASCII)
LARGE = "large"


def read_l2(tree: Tree, nodes: Iterable[Tree] = ()) -> L2Advertisement:
    spec, known = spec_of(tree), tuple(nodes)
    texts(spec, "ipAddressPools")
    selectors(spec, "ipAddressPoolSelectors")
    eligible = nodes_of(known, selectors(spec, "nodeSelectors"))
    return L2Advertisement(
        name_of(tree),
        eligible,
        frozenset(spec.get("interfaces") or ()),
        selectors(spec, "serviceSelectors"),
        _weights(spec, [node for node in known if name_of(node) in eligible]),
    )


def _weights(spec: Tree, nodes: Iterable[Tree]) -> Mapping[str, int]:
    terms = [
        (int(term.get("weight", 0)), selector_of(term.get("preference") or {}, "preferredNodeSelectors"))
        for term in spec.get("preferredNodeSelectors") or ()
    ]
    sums = {name_of(node): sum(w for w, choice in terms if choice.matches(labels_of(node))) for node in nodes}
    return {name: weight for name, weight in sums.items() if weight}


def read_bgp(tree: Tree, nodes: Iterable[Tree], aliases: Mapping[str, Community]) -> BgpAdvertisement:
    name, spec = name_of(tree), spec_of(tree)
    texts(spec, "ipAddressPools")
    selectors(spec, "ipAddressPoolSelectors")
    services = selectors(spec, "serviceSelectors")
    return BgpAdvertisement(
        name,
        nodes_of(nodes, selectors(spec, "nodeSelectors")),
        _length(spec, "aggregationLength", 32, bool(services), name),
        _length(spec, "aggregationLengthV6", 128, bool(services), name),
        int(spec.get("localPref") or 0),
        frozenset(_community(text, aliases) for text in texts(spec, "communities", "community")),
        frozenset(texts(spec, "peers")),
        services,
    )


def _length(spec: Tree, field: str, most: int, by_service: bool, name: str) -> int:
    found = spec.get(field)
    length = most if found is None else int(found)
    if length > most:
        raise ConfigError(f"invalid aggregation length {length} for IPv{4 if most == 32 else 6} in {name}")
    if by_service and length != most:
        raise ConfigError(f"serviceSelectors and {field} are mutually exclusive, both cannot be set in {name}")
    return length


def read_communities(trees: Iterable[Tree]) -> dict[str, Community]:
    """All aliases; one name means one thing."""
    found: dict[str, Community] = {}
    for alias in (alias for tree in trees for alias in spec_of(tree).get("communities") or ()):
        name = alias.get("name", "")
        if name in found:
            raise ConfigError(f"duplicate definition of community {quoted(name)}")
        try:
            found[name] = parse_community(alias.get("value", ""))
        except ConfigError as error:
            raise ConfigError(f"parsing community {quoted(name)}: {error}") from None
    return found


def _community(text: str, aliases: Mapping[str, Community]) -> Community:
    known = aliases.get(text)
    if known is not None:
        return known
    try:
        return parse_community(text)
    except ConfigError as error:
        raise type(error)(f"invalid community {quoted(text)} in BGP advertisement: {error}") from None


def parse_community(text: str) -> Community:
    """1234:5678 or large:1:2:3; what has another shape may be an alias still to come."""
    parts = text.split(":")
    if len(parts) == 2:
        return Community(tuple(_number(part, 16, text) for part in parts))
    if len(parts) != 4:
        raise WaitsForOther(f"invalid community format: {text}")
    if parts[0] != LARGE:
        why = f"a large community is written {LARGE}:<uint32>:<uint32>:<uint32>, not {quoted(text)}"
        raise ConfigError(f"invalid community value: {why}")
    return Community(tuple(_number(part, 32, text) for part in parts[1:]))


def _number(part: str, bits: int, text: str) -> int:
    if not DIGITS.fullmatch(part) or len(part) > 10 or int(part) >= 2**bits:
        raise ConfigError(f"invalid community value: invalid section {quoted(part)} of community {quoted(text)}")
    return int(part)


def pools_for(tree: Tree, pool_trees: Iterable[Tree], pools: Mapping[str, Pool]) -> list[str]:
    """The names of the pools that an advertisement speaks of; without a choice, all."""
    spec = spec_of(tree)
    named, by_label = spec.get("ipAddressPools") or (), selectors(spec, "ipAddressPoolSelectors")
    if not named and not by_label:
        return list(pools)
    wanted = {*named, *selected(pool_trees, by_label)}
    return [name for name in pools if name in wanted]
