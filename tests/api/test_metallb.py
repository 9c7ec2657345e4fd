"""Values of metallb.io: which pool an address belongs to, whom advertisements and peers select."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from clusterip.api.metallb import Allocation, BgpPeer, L2Advertisement, Pool, annotation, is_buggy, pool_of
from clusterip.api.selectors import parse_labels


def pool(name: str, *networks: str, avoid: bool = False) -> Pool:
    return Pool(name, tuple(map(ip_network, networks)), avoid_buggy=avoid)


def test_an_address_belongs_to_the_pool_that_may_give_it() -> None:
    pools = {"a": pool("a", "10.0.0.0/24", avoid=True), "b": pool("b", "10.0.1.0/24", "fd00::/64")}

    def of(*texts: str) -> str | None:
        found = pool_of(pools, tuple(map(ip_address, texts)))
        return found.name if found else None

    assert of("10.0.0.1") == "a"
    assert of("10.0.0.0") is None, "an address that the pool avoids is not its own"
    assert of("10.0.1.0", "fd00::1") == "b"
    assert of("10.0.0.1", "fd00::1") is None, "one pool must give both"


@pytest.mark.parametrize(
    ("text", "buggy"), [("10.0.0.0", True), ("10.0.0.255", True), ("10.0.0.1", False), ("fd00::", False)]
)
def test_addresses_that_old_devices_drop(text: str, buggy: bool) -> None:
    assert is_buggy(ip_address(text)) is buggy


def test_an_allocation_wants_namespace_and_labels() -> None:
    both = Allocation(0, frozenset({"blue"}), (parse_labels("app=web"),))
    assert both.allows("blue", {"app": "web"})
    assert not both.allows("green", {"app": "web"})
    assert not both.allows("blue", {})
    assert Allocation().allows("any", {})


def test_selectors_of_advertisements_and_peers() -> None:
    assert L2Advertisement("x", frozenset()).selects({})
    assert not L2Advertisement("x", frozenset(), services=(parse_labels("a=b"),)).selects({})
    peer = BgpPeer("p", 64500, 64501, address=ip_address("10.0.0.9"), nodes=(parse_labels("rack=1"),), vrf="red")
    assert peer.selects({"rack": "1"})
    assert not peer.selects({})
    assert peer.identifier == "10.0.0.9-red"


def test_an_annotation_of_today_wins_over_the_deprecated_one() -> None:
    old, new = {"metallb.universe.tf/address-pool": "old"}, {"metallb.io/address-pool": "new"}
    assert annotation(old, "address-pool") == "old"
    assert annotation(old | new, "address-pool") == "new"
    assert annotation({}, "address-pool") == ""
