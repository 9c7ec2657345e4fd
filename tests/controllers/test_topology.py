"""Zones for endpoints, by what the zones' nodes can carry."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.controllers.model import Node, decoder
from clusterip.controllers.topology import ZONE, allot, shares

HALVES = {"a": 0.5, "b": 0.5}
THIRDS = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}


def node(zone: str | None, cpu: str = "2", *, ready: bool = True, **labels: str) -> Node:
    tree: dict[str, Any] = {
        "metadata": {"name": "n", "labels": {**labels, **({ZONE: zone} if zone else {})}},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    return decoder(Node)(tree)


def test_shares_go_by_processors_of_nodes_that_serve() -> None:
    control = node("c", **{"node-role.kubernetes.io/control-plane": ""})
    assert shares([node("a", "1"), node("b", "2500m"), node("b", "500m"), control, node("d", ready=False)]) == {
        "a": 0.25,
        "b": 0.75,
    }


@pytest.mark.parametrize("nodes", [[], [node("a")], [node("a"), node("b"), node(None)], [node("a"), node("b", "0")]])
def test_no_shares_without_zones_and_sizes(nodes: list[Node]) -> None:
    assert shares(nodes) == {}


@pytest.mark.parametrize(
    ("zones", "parts", "hints"),
    [
        ("ab", HALVES, "ab"),
        ("aabb", HALVES, "aabb"),
        ("aaab", HALVES, "baab"),
        ("aaaa", HALVES, "bbaa"),
        ("aaa", THIRDS, "cba"),
        ("a", HALVES, ""),  # fewer endpoints than zones
        ("aab", HALVES, ""),  # each zone needs two
        ("ab", {}, ""),
    ],
)
def test_each_zone_gets_its_share(zones: str, parts: dict[str, float], hints: str) -> None:
    assert "".join(allot(zones, parts)) == hints


def test_an_endpoint_without_zone_takes_all_hints_away() -> None:
    assert allot(["a", "b", None], HALVES) == []
