"""Who answers for an address: the same node whoever asks, by preference, then by the hash of node and address."""

from __future__ import annotations

import random
from hashlib import sha256
from ipaddress import ip_address, ip_network

from clusterip.api.metallb import EXCLUDED_NODE_LABEL, L2Advertisement, Pool
from clusterip.api.selectors import parse_labels
from clusterip.speaker.election import Surroundings, elect, interfaces
from clusterip.speaker.model import Node, Service

NAMES = ("node-1", "node-2", "node-3")
ALL = frozenset(NAMES)


def pool(*advertisements: L2Advertisement) -> Pool:
    return Pool("p", (ip_network("192.168.4.0/24"),), l2=advertisements or (L2Advertisement("all", ALL),))


def around(*alive: str, **nodes: Node) -> Surroundings:
    known = {name: Node(name) for name in NAMES} | {node.name: node for node in nodes.values()}
    return Surroundings(known, alive or NAMES)


def service(address: str = "192.168.4.10", local: bool = False, shares: bool = False, **labels: str) -> Service:
    return Service(("default", "web"), addresses=(ip_address(address),), is_local=local, shares=shares, labels=labels)


def test_the_least_hash_of_node_and_address_wins() -> None:
    for last in range(10, 21):
        address = f"192.168.4.{last}"
        expected = sorted(NAMES, key=lambda name: sha256(f"{name}#{address}".encode()).hexdigest())
        shuffled = random.Random(last).sample(NAMES, 3)
        found = elect(service(address), pool(), {"node-1"}, around(*shuffled))
        assert list(found.candidates) == expected
        assert found.node == expected[0]


def test_recorded_elections() -> None:
    """sha256 of node-N#192.168.4.10 begins with these; nobody may change the order."""
    heads = {name: sha256(f"{name}#192.168.4.10".encode()).hexdigest()[:8] for name in NAMES}
    assert min(heads, key=lambda name: heads[name]) == "node-1"
    assert elect(service(), pool(), {""}, around()).candidates == ("node-1", "node-2", "node-3")


def test_the_next_one_follows_when_the_first_is_gone() -> None:
    _, second, third = elect(service(), pool(), {"node-1"}, around()).candidates
    assert elect(service(), pool(), {"node-1"}, around(second, third)).node == second


def test_nobody_answers_for_what_nobody_serves() -> None:
    assert elect(service(), pool(), frozenset(), around()).why == "no endpoint is ready"
    other = Pool("p", (ip_network("192.168.4.0/24"),))
    assert "no L2Advertisement" in elect(service(), other, {"node-1"}, around()).why


def test_local_traffic_needs_an_endpoint_of_the_nodes_own() -> None:
    assert elect(service(local=True), pool(), {"node-3"}, around()).node == "node-3"
    assert elect(service(local=True), pool(), {"node-3"}, around("node-1", "node-2")).node is None


def test_nodes_that_must_not_are_passed_over() -> None:
    excluded = Node("node-1", labels={EXCLUDED_NODE_LABEL: ""})
    assert elect(service(), pool(), {""}, around(a=excluded)).node == "node-2"
    assert elect(service(), pool(), {""}, around(a=Node("node-1", is_cut_off=True))).node == "node-2"
    ignoring = Surroundings(around(a=excluded).nodes, NAMES, ignore_excluded=True)
    assert elect(service(), pool(), {""}, ignoring).node == "node-1"


def test_without_looking_after_speakers_every_node_counts() -> None:
    assert elect(service(), pool(), {""}, Surroundings(around().nodes, None)).node == "node-1"


def test_preferred_nodes_come_first_and_weights_add_up() -> None:
    one = L2Advertisement("one", ALL, preferred={"node-2": 10, "node-3": 15})
    two = L2Advertisement("two", ALL, preferred={"node-2": 10})
    assert elect(service(), pool(one), {""}, around()).candidates == ("node-3", "node-2", "node-1")
    assert elect(service(), pool(one, two), {""}, around()).node == "node-2"
    assert elect(service(), pool(one), {""}, around("node-1")).node == "node-1"


def test_advertisements_choose_nodes_services_and_interfaces() -> None:
    web = L2Advertisement("web", frozenset({"node-3"}), frozenset({"eth1"}), (parse_labels("app=web"),))
    rest = L2Advertisement("rest", frozenset({"node-2"}), frozenset({"eth2"}))
    assert elect(service(app="web"), pool(web), {""}, around()).node == "node-3"
    assert elect(service(app="db"), pool(web), {""}, around()).node is None
    assert elect(service(app="web", shares=True), pool(web), {""}, around()).node is None
    assert interfaces(pool(web, rest), service(app="web"), "node-3") == {"eth1"}
    assert interfaces(pool(L2Advertisement("all", ALL), web), service(app="web"), "node-3") is None
