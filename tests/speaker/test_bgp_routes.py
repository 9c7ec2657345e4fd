"""Which routes a node tells to which router."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

from clusterip.api.metallb import EXCLUDED_NODE_LABEL, BgpAdvertisement, Community, Pool
from clusterip.speaker.bgp_messages import HEADER, read_update
from clusterip.speaker.bgp_routes import Route, Way, advertised, hearers, routes_for, updates, why_not
from clusterip.speaker.model import Node, Service
from clusterip.speaker.view import View

KEY = ("default", "web")
HERE = frozenset({"node-1"})
ONE, TWO = Community((64512, 1)), Community((64512, 2))


def view(*ways: BgpAdvertisement, endpoints: frozenset[str] = HERE, is_local: bool = False, label: str = "") -> View:
    service = Service(KEY, addresses=(ip_address("10.9.1.10"), ip_address("fd00:9::10")), is_local=is_local)
    networks = (ip_network("10.9.0.0/16"), ip_network("fd00:9::/64"))
    nodes = {"node-1": Node("node-1", labels={label: ""} if label else {})}
    return View("node-1", services={KEY: service}, pools={KEY: Pool("p", networks, bgp=ways)},
                endpoints={KEY: endpoints}, nodes=nodes)  # fmt: skip


def test_advertisements_of_one_prefix_are_one_route() -> None:
    first = BgpAdvertisement("first", HERE, 24, 64, 100, frozenset({ONE}))
    second = replace(first, name="second", communities=frozenset({TWO}))
    only = BgpAdvertisement("only", HERE, peers=frozenset({"left"}))
    known = advertised(view(first, second, only), KEY)
    both = Route(100, frozenset({ONE, TWO}))
    assert routes_for("right", known) == {ip_network("10.9.1.0/24"): both, ip_network("fd00:9::/64"): both}
    assert ip_network("10.9.1.10/32") in routes_for("left", known)
    assert hearers(advertised(view(only), KEY), ("left", "right")) == {"left"}


def test_who_has_no_part_in_it() -> None:
    way = BgpAdvertisement("all", HERE)
    there = frozenset({"node-2"})
    assert why_not(view(way, endpoints=there), KEY) == ""
    assert why_not(view(way, endpoints=there, is_local=True), KEY) == "no endpoint on this node is ready"
    assert why_not(view(way, endpoints=frozenset()), KEY) == "no endpoint is ready"
    assert why_not(view(way, label=EXCLUDED_NODE_LABEL), KEY) == "this node takes no traffic from outside"
    assert "for this node" in why_not(view(replace(way, nodes=there)), KEY)


def test_many_prefixes_are_messages_of_lawful_length() -> None:
    prefixes = [ip_network((int(ip_address("10.0.0.0")) + n, 32)) for n in range(2000)]
    way = Way(64512, hop4=IPv4Address("192.0.2.9"))
    messages = list(updates({}, dict.fromkeys(prefixes, Route()), way))
    assert all(len(each) <= 4096 for each in messages)
    assert [p for each in messages for p in read_update(each[HEADER:]).prefixes] == prefixes
