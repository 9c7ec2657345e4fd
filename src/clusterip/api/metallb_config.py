"""One configuration out of all objects of metallb.io, valid as a whole or refused.

Stage: plan.  In: Resources (trees).  Out: a Configuration; ConfigError, WaitsForOther when what is named may come.
Rules: pure; whoever runs keeps the last configuration that was valid.
Truth: MetalLB 0.16: what it checks between objects.  `Rule` is what a way of speaking BGP refuses on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree, name_of, spec_of
from clusterip.api.metallb import (
    BfdProfile,
    BgpAdvertisement,
    BgpPeer,
    ConfigError,
    Configuration,
    L2Advertisement,
    Network,
    Pool,
    Resources,
    WaitsForOther,
)
from clusterip.api.metallb_advertisements import pools_for, read_bgp, read_communities, read_l2
from clusterip.api.metallb_peers import read_peer, read_profile
from clusterip.api.metallb_pools import read_pool

Rule = Callable[[Resources], None]


def no_more(_: Resources) -> None:
    """The rule of who can do all that can be declared."""


def configure(found: Resources, rule: Rule = no_more) -> Configuration:
    """What all objects together mean."""
    rule(found)
    profiles = {name_of(tree): _named("bfd profile", tree, read_profile) for tree in found.profiles}
    peers = _peers(found, profiles)
    pools = _pools(found)
    _check_echo(pools, peers, profiles)
    return Configuration(pools, peers, profiles)


def judge(found: Resources, rule: Rule = no_more) -> None:
    """As configure, but for what a write may still wait for: profiles, Secrets and aliases that are not there."""
    configure(replace(found, peers=_peers_alone(found.peers), bgp=_values_alone(found.bgp)), rule)


def _peers_alone(trees: Iterable[Tree]) -> tuple[Tree, ...]:
    return tuple(tree | {"spec": spec_of(tree) | {"bfdProfile": "", "passwordSecret": {}}} for tree in trees)


def _values_alone(trees: Iterable[Tree]) -> tuple[Tree, ...]:
    kept = [(tree, [c for c in spec_of(tree).get("communities") or () if ":" in c]) for tree in trees]
    return tuple(tree | {"spec": spec_of(tree) | {"communities": communities}} for tree, communities in kept)


def _named(title: str, tree: Tree, read: Callable[[Tree], Any]) -> Any:
    try:
        return read(tree)
    except ConfigError as error:
        raise type(error)(f"parsing {title} {name_of(tree)}: {error}") from None


# --- peers -----------------------------------------------------------------------------------------------------------


def _peers(found: Resources, profiles: Mapping[str, BfdProfile]) -> dict[str, BgpPeer]:
    secrets = {name_of(secret): secret for secret in found.secrets}
    peers: dict[str, BgpPeer] = {}
    for tree in found.peers:
        peer: BgpPeer = _named("peer", tree, lambda each: read_peer(each, secrets))
        if peer.bfd_profile and peer.bfd_profile not in profiles:
            raise WaitsForOther(f"peer {peer.name} referencing non existing bfd profile {peer.bfd_profile}")
        peers[peer.name] = peer
    return peers


def _check_echo(pools: Mapping[str, Pool], peers: Mapping[str, BgpPeer], profiles: Mapping[str, BfdProfile]) -> None:
    """BFD's echo knows IPv4 alone."""
    echoing = {name for name, peer in peers.items() if peer.bfd_profile and profiles[peer.bfd_profile].echo_mode}
    for pool in pools.values():
        if not any(network.version == 6 for network in pool.networks):
            continue
        for advertisement in pool.bgp:
            for name in sorted(echoing & (advertisement.peers or echoing)):
                raise ConfigError(
                    f"pool {pool.name} has bgpadvertisement {advertisement.name} which references peer {name} "
                    "which has bfd echo enabled, which is not possible"
                )


# --- pools -----------------------------------------------------------------------------------------------------------


def _pools(found: Resources) -> dict[str, Pool]:
    aliases = read_communities(found.communities)
    pools: dict[str, Pool] = {}
    for tree in found.pools:
        pool: Pool = _named("address pool", tree, lambda each: read_pool(each, found.namespaces))
        pools[pool.name] = pool
    _check_overlaps(pools.values())
    for tree in found.l2:
        l2: L2Advertisement = _named("l2 advertisement", tree, lambda each: read_l2(each, found.nodes))
        for name in pools_for(tree, found.pools, pools):
            pools[name] = replace(pools[name], l2=_with(pools[name].l2, l2))
    for tree in found.bgp:
        bgp: BgpAdvertisement = _named("bgp advertisement", tree, lambda each: read_bgp(each, found.nodes, aliases))
        for name in pools_for(tree, found.pools, pools):
            _check_bgp(bgp, pools[name])
            pools[name] = replace(pools[name], bgp=(*pools[name].bgp, bgp))
    return pools


def _with(known: tuple[L2Advertisement, ...], new: L2Advertisement) -> tuple[L2Advertisement, ...]:
    """The same said twice counts once, but for preferences: their weights add up."""
    if not new.preferred and any(replace(each, name=new.name) == new for each in known):
        return known
    return (*known, new)


def _check_overlaps(pools: Iterable[Pool]) -> None:
    """No address in two ranges. Sorted by first address, only what follows can begin inside."""
    ranges = [
        (network.version, int(network.network_address), -network.prefixlen, pool.name, network)
        for pool in pools
        for network in pool.networks
    ]
    widest: Network | None = None
    for *_, name, network in sorted(ranges, key=lambda each: each[:3]):
        if widest is not None and widest.version == network.version and widest.overlaps(network):
            why = f'CIDR "{network}" in pool {quoted(name)} overlaps with already defined CIDR "{widest}"'
            raise ConfigError(why)
        widest = network


def _check_bgp(new: BgpAdvertisement, pool: Pool) -> None:
    for networks in pool.entries:
        lowest = min(network.prefixlen for network in networks)
        length = new.length4 if networks[0].version == 4 else new.length6
        if length < lowest:
            raise ConfigError(
                f"invalid aggregation length {length}: prefix {lowest} in this pool is more specific than the "
                f"aggregation length for addresses {networks[0]}"
            )
    if new.services:
        return
    for old in (each for each in pool.bgp if not each.services):
        if not compatible_preference(new, old, pool):
            raise ConfigError(
                f"invalid local preference {new.local_preference}: local preference {old.local_preference} was "
                "already set for the same type of BGP update. Check existing BGP advertisements with common pools "
                "and aggregation lengths"
            )


def compatible_preference(new: BgpAdvertisement, old: BgpAdvertisement, pool: Pool) -> bool:
    """Whether one router can never hear two preferences for one prefix."""
    if new.local_preference == old.local_preference or _other_lengths(new, old, pool):
        return True
    if new.peers and old.peers and not new.peers & old.peers:
        return True
    return not new.nodes & old.nodes


def _other_lengths(new: BgpAdvertisement, old: BgpAdvertisement, pool: Pool) -> bool:
    versions = {network.version for network in pool.networks}
    return all(
        differs
        for version, differs in ((4, new.length4 != old.length4), (6, new.length6 != old.length6))
        if version in versions
    )


# --- what a way of speaking BGP refuses ------------------------------------------------------------------------------

ONLY_FRR = {
    "bfdProfile": "bfd-profile",
    "vrf": "vrf",
    "connectTime": "connect time",
    "enableGracefulRestart": "EnableGracefulRestart flag",
    "disableMP": "disable MP flag",
    "dualStackAddressFamily": "dualstackaddressfamily flag",
    "dynamicASN": "dynamicASN",
    "interface": "interface",
    "localASN": "localASN",
}


def native(found: Resources) -> None:
    """What MetalLB's native mode cannot do. Asked for by METALLB_BGP_TYPE=native alone: our speaker can do it."""
    for spec in map(spec_of, found.peers):
        for field, title in {**ONLY_FRR, "keepaliveTime": "keepalive-time"}.items():
            if spec.get(field) and spec[field] not in ("0s", "0"):
                raise ConfigError(f"peer {spec.get('peerAddress', '')} has {title} set on native bgp mode")
    if found.profiles:
        raise ConfigError("bfd profiles section set")


def frr(found: Resources) -> None:
    """What two peers of one node may not differ in where one daemon speaks for all."""
    for old, new in combinations(found.peers, 2):
        left, right = read_peer(_peers_alone([new])[0]), read_peer(_peers_alone([old])[0])
        if not _share_a_node(left, right, found.nodes):
            continue
        if left.router_id != right.router_id:
            raise ConfigError(f"peer {left.name} has RouterID different from {right.name} on the same node")
        if left.identifier == right.identifier:
            raise ConfigError(f"peer {left.identifier} already exists: two BGPPeers for one node are the same session")
        if left.my_asn != right.my_asn and left.vrf == right.vrf:
            raise ConfigError(f"peer {left.identifier} has myASN different from {right.identifier} on the same node")


def _share_a_node(left: BgpPeer, right: BgpPeer, nodes: Iterable[Tree]) -> bool:
    labels = [(tree.get("metadata") or {}).get("labels") or {} for tree in nodes]
    return not labels or any(left.selects(each) and right.selects(each) for each in labels)


RULES: Mapping[str, Rule] = {"": no_more, "native": native, "frr": frr, "frr-k8s": frr}
