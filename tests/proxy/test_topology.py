"""Which endpoints a node may use."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.proxy.model import Endpoint, Node, PortName, ServicePort, Target
from clusterip.proxy.topology import choose

NODE = Node("node-1", zone="a")
STATES = {
    "ready": Endpoint(Target(IPv4Address("10.0.0.1"), 80)),
    "terminating": Endpoint(Target(IPv4Address("10.0.0.1"), 80), False, True, True),
    "unready": Endpoint(Target(IPv4Address("10.0.0.1"), 80), False, False, False),
    "dead": Endpoint(Target(IPv4Address("10.0.0.1"), 80), False, False, True),
}


def endpoint(number: int, state: str = "ready", *, local: bool = False, zones: str = "", nodes: str = "") -> Endpoint:
    target = Target(IPv4Address("10.0.0.0") + number, 80, local)
    hints = {"zone_hints": frozenset(zones.split()), "node_hints": frozenset(nodes.split())}
    return STATES[state]._replace(target=target, **hints)


def chosen(*endpoints: Endpoint, local: bool = False, node: Node = NODE) -> tuple[list[int], list[int]]:
    port = ServicePort(PortName("ns", "web", "http", "tcp"), (), endpoints, external_policy_local=local)
    found = choose(port, node)
    first = int(IPv4Address("10.0.0.0"))
    cluster, here = ([int(target.address) - first for target in targets] for targets in (found.cluster, found.local))
    return cluster, here


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["ready", "ready"], [1, 2]),
        (["ready", "terminating"], [1]),
        (["terminating", "terminating"], [1, 2]),
        (["terminating", "dead"], [1]),
        (["unready", "dead"], []),
        ([], []),
    ],
)
def test_ready_ones_else_those_that_still_serve(states: list[str], expected: list[int]) -> None:
    assert chosen(*(endpoint(number, state) for number, state in enumerate(states, 1)))[0] == expected


def test_local_ones_only_when_a_policy_asks() -> None:
    here, there = endpoint(1, local=True), endpoint(2)
    assert chosen(here, there) == ([1, 2], [])
    assert chosen(here, there, local=True) == ([1, 2], [1])


def test_local_terminating_beats_remote_ready_for_policy_local_only() -> None:
    assert chosen(endpoint(1, "terminating", local=True), endpoint(2), local=True) == ([2], [1])


@pytest.mark.parametrize(
    ("hints", "zone", "expected"),
    [
        (["a", "b"], "a", [1]),
        (["a", "b"], "c", [1, 2]),
        (["a", "b"], "", [1, 2]),
        (["a", ""], "a", [1, 2]),
        (["a b", "b"], "b", [1, 2]),
    ],
)
def test_zone_hints(hints: list[str], zone: str, expected: list[int]) -> None:
    endpoints = [endpoint(number, zones=zones) for number, zones in enumerate(hints, 1)]
    assert chosen(*endpoints, node=replace(NODE, zone=zone))[0] == expected


def test_node_hints_come_before_zone_hints() -> None:
    endpoints = endpoint(1, zones="a", nodes="node-1"), endpoint(2, zones="a", nodes="node-2")
    assert chosen(*endpoints)[0] == [1]
    assert chosen(*endpoints, node=replace(NODE, name="node-3"))[0] == [1, 2]


def test_hints_do_not_matter_to_terminating_ones_nor_to_policy_local() -> None:
    assert chosen(endpoint(1, "terminating", zones="b"), endpoint(2, "terminating", zones="a"))[0] == [1, 2]
    assert chosen(endpoint(1, zones="b", local=True), endpoint(2, zones="a"), local=True) == ([2], [1])


@given(st.permutations([endpoint(1), endpoint(2, "terminating"), endpoint(3, local=True), endpoint(4, "dead")]))
def test_order_does_not_matter(endpoints: list[Endpoint]) -> None:
    assert chosen(*endpoints, local=True) == ([1, 3], [3])
