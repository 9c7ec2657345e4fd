"""A configuration is valid as a whole or refused, with the object that is to blame."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.metallb import ConfigError, Resources, WaitsForOther
from clusterip.api.metallb_config import RULES, configure, judge

Tree = dict[str, Any]


def tree(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Tree:
    return {"metadata": {"name": name, "namespace": "metallb-system", "labels": labels or {}}, "spec": spec}


NODES = (tree("n1", {"rack": "a"}), tree("n2", {"rack": "b"}))
PEER = {"myASN": 64500, "peerASN": 64501, "peerAddress": "10.0.0.1"}


def test_advertisements_belong_to_the_pools_they_name_or_to_all() -> None:
    found = configure(
        Resources(
            pools=(tree("p1", addresses=["10.1.0.0/24"]), tree("p2", {"kind": "x"}, addresses=["10.2.0.1-10.2.0.9"])),
            l2=(tree("all"), tree("one", ipAddressPoolSelectors=[{"matchLabels": {"kind": "x"}}], interfaces=["eth0"])),
            bgp=(tree("b", ipAddressPools=["p1", "gone"]),),
            nodes=NODES,
        )
    )
    assert {name: [each.name for each in pool.l2] for name, pool in found.pools.items()} == {
        "p1": ["all"],
        "p2": ["all", "one"],
    }
    assert [each.name for each in found.pools["p1"].bgp] == ["b"]
    assert found.pools["p2"].l2[0].nodes == {"n1", "n2"}
    assert found.pools["p2"].l2[1].interfaces == {"eth0"}


def test_weights_of_preferred_nodes_add_up_among_eligible_nodes_only() -> None:
    term = {"weight": 10, "preference": {"matchLabels": {"rack": "a"}}}
    every = {"weight": 5, "preference": {}}
    pools = (tree("p", addresses=["10.0.0.0/24"]),)
    found = configure(Resources(pools=pools, l2=(tree("x", preferredNodeSelectors=[term, every]),), nodes=NODES))
    assert found.pools["p"].l2[0].preferred == {"n1": 15, "n2": 5}
    only = tree("x", nodeSelectors=[{"matchLabels": {"rack": "b"}}], preferredNodeSelectors=[term])
    assert configure(Resources(pools=pools, l2=(only,), nodes=NODES)).pools["p"].l2[0].preferred == {}


def test_the_same_advertisement_twice_counts_once() -> None:
    found = configure(Resources(pools=(tree("p", addresses=["10.0.0.0/24"]),), l2=(tree("x"), tree("y")), nodes=NODES))
    assert [each.name for each in found.pools["p"].l2] == ["x"]


REFUSED = [
    ({"pools": [tree("p", addresses=["10.0.0.0/24"]), tree("q", addresses=["10.0.0.9-10.0.0.9"])]}, "overlaps"),
    ({"pools": [tree("p", addresses=["10.0.0.0/24", "10.0.0.128/25"])]}, "overlaps"),
    ({"pools": [tree("p", addresses=["10.0.0.9-10.0.0.1"])]}, "is after the end IP"),
    ({"pools": [tree("p", addresses=["10.0.0.1"])]}, 'invalid CIDR "10.0.0.1"'),
    ({"pools": [tree("p", addresses=["10.0.0.0/255.255.255.0"])]}, "invalid CIDR"),
    ({"pools": [tree("p", addresses=[])]}, "no prefixes"),
    ({"pools": [tree("p", addresses=["10.0.0.0/24"], serviceAllocation={"namespaces": ["a", "a"]})]}, "namespaces"),
    ({"l2": [tree("a", ipAddressPools=["p", "p"])]}, "duplicate definition of ipAddressPools"),
    ({"l2": [tree("a", nodeSelectors=[{"matchLabels": {"a": "b"}}] * 2)]}, "duplicate definition of nodeSelectors"),
    ({"bgp": [tree("a", aggregationLength=33)]}, "invalid aggregation length 33"),
    ({"bgp": [tree("a", aggregationLength=24, serviceSelectors=[{}])]}, "mutually exclusive"),
    ({"bgp": [tree("a", communities=["1:99999"])]}, "invalid community value"),
    ({"bgp": [tree("a", communities=["small:1:2:3"])]}, "large:<uint32>"),
    (
        {"pools": [tree("p", addresses=["10.0.0.0/24"])], "bgp": [tree("a", aggregationLength=16)]},
        "invalid aggregation length 16",
    ),
    (
        {
            "pools": [tree("p", addresses=["10.0.0.0/24"])],
            "bgp": [tree("a", localPref=1), tree("b", localPref=2)],
            "nodes": NODES,
        },
        "local preference",
    ),
    ({"communities": [tree("c", communities=[{"name": "x", "value": "1:2"}, {"name": "x", "value": "1:3"}])]}, "dupl"),
    ({"peers": [tree("p", peerASN=1, peerAddress="10.0.0.1")]}, "missing local ASN"),
    ({"peers": [tree("p", myASN=1, peerAddress="10.0.0.1")]}, "missing peer ASN"),
    ({"peers": [tree("p", **PEER, dynamicASN="internal")]}, "both peer ASN"),
    ({"peers": [tree("p", **PEER, interface="eth0")]}, "both Address and Interface"),
    ({"peers": [tree("p", **{**PEER, "peerAddress": "router"})]}, 'invalid BGPPeer address "router"'),
    ({"peers": [tree("p", **PEER, holdTime="2s")]}, "must be 0 or >=3s"),
    ({"peers": [tree("p", **PEER, holdTime="9s", keepaliveTime="10s")]}, "must be lower"),
    ({"peers": [tree("p", **PEER, holdTime="soon")]}, "invalid duration"),
    ({"peers": [tree("p", **{**PEER, "peerASN": 64500}, ebgpMultiHop=True)]}, "ibgp peer"),
    ({"profiles": [tree("f", detectMultiplier=1)]}, "must be in 2-255"),
]


@pytest.mark.parametrize(("declared", "why"), REFUSED)
def test_what_is_wrong_is_refused_and_named(declared: dict[str, Any], why: str) -> None:
    resources = Resources(**{field: tuple(trees) for field, trees in declared.items()})
    with pytest.raises(ConfigError, match=why) as caught:
        judge(resources)
    assert not isinstance(caught.value, WaitsForOther)


@pytest.mark.parametrize(
    "declared",
    [
        {"peers": [tree("p", **PEER, bfdProfile="later")]},
        {"peers": [tree("p", **PEER, passwordSecret={"name": "later"})]},
        {"bgp": [tree("b", communities=["later"])]},
    ],
)
def test_what_may_still_come_refuses_no_write(declared: dict[str, Any]) -> None:
    resources = Resources(**{field: tuple(trees) for field, trees in declared.items()})
    judge(resources)
    with pytest.raises(WaitsForOther):
        configure(resources)


def test_a_password_comes_from_one_place() -> None:
    both = tree("p", **PEER, password="x", passwordSecret={"name": "s"})
    with pytest.raises(ConfigError, match="both password and secret"):
        configure(Resources(peers=(both,)))


def test_a_peer_whole() -> None:
    secret = {"metadata": {"name": "s"}, "type": "kubernetes.io/basic-auth", "data": {"password": "c2VjcmV0"}}
    spec = {**PEER, "holdTime": "9s", "passwordSecret": {"name": "s"}, "connectTime": "1m", "routerID": "1.1.1.1"}
    found = configure(Resources(peers=(tree("p", **spec),), secrets=(secret,))).peers["p"]
    assert (found.hold_seconds, found.keepalive_seconds, found.connect_seconds) == (9, 3, 60)
    assert found.password == "secret"
    assert "secret" not in repr(found)
    assert found.port == 179


def test_preferences_may_differ_where_no_router_hears_both() -> None:
    pools = (tree("p", addresses=["10.0.0.0/24"]),)
    apart = [
        (tree("a", localPref=1, peers=["x"]), tree("b", localPref=2, peers=["y"])),
        (tree("a", localPref=1), tree("b", localPref=2, aggregationLength=24)),
        (
            tree("a", localPref=1, nodeSelectors=[{"matchLabels": {"rack": "a"}}]),
            tree("b", localPref=2, nodeSelectors=[{"matchLabels": {"rack": "b"}}]),
        ),
    ]
    for advertisements in apart:
        found = configure(Resources(pools=pools, bgp=advertisements, nodes=NODES))
        assert len(found.pools["p"].bgp) == 2


def test_what_ways_of_speaking_bgp_refuse() -> None:
    dynamic = Resources(peers=(tree("p", myASN=1, dynamicASN="external", peerAddress="10.0.0.1"),))
    judge(dynamic, RULES[""])
    with pytest.raises(ConfigError, match="native"):
        judge(dynamic, RULES["native"])
    twins = Resources(peers=(tree("p", **PEER), tree("q", **PEER)))
    with pytest.raises(ConfigError, match="already exists"):
        judge(twins, RULES["frr"])
    racks = [[{"matchLabels": {"rack": rack}}] for rack in "ab"]
    apart = Resources(peers=tuple(tree(f"p{i}", **PEER, nodeSelectors=s) for i, s in enumerate(racks)), nodes=NODES)
    judge(apart, RULES["frr"])


def test_no_echo_where_a_pool_has_ipv6() -> None:
    with pytest.raises(ConfigError, match="echo"):
        configure(
            Resources(
                pools=(tree("p", addresses=["fd00::/120"]),),
                bgp=(tree("b"),),
                peers=(tree("x", **PEER, bfdProfile="f"),),
                profiles=(tree("f", echoMode=True),),
            )
        )
