"""Which zone each endpoint of a Service of topology mode `Auto` is for.

Stage: plan.  In: zones of the endpoints, nodes.  Out: a zone for each endpoint, or none when zones cannot be served.
Rules: pure; equal inputs give equal answers.  A zone gets endpoints by its share of the processors, its own first; with
fewer endpoints than zones, or a zone that would carry a fifth more than its share, there are no hints at all.
Limits: no events say that hints came or went.
Truth: KEP-2433 and the topology cache of kube-controller-manager's endpoint slice controller.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from clusterip.api.quantity import milli
from clusterip.controllers.model import Node

ZONE = "topology.kubernetes.io/zone"
LEFT_OUT = frozenset({"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"})
OVERLOAD = 0.2
LEAST, WHOLE = 0.5, 1.0  # of an endpoint: what is less is not moved

Shares = Mapping[str, float]  # zone -> its part of the processors of all zones


def node_facts(node: Node) -> tuple[str, int] | None:
    """Zone and thousandths of processors of a node that counts; None: it does not."""
    ready = node.condition("Ready")
    if LEFT_OUT & node.metadata.labels.keys() or ready is None or ready.status != "True":
        return None
    return node.metadata.labels.get(ZONE, ""), milli(str(node.status.allocatable.get("cpu", 0)))


def shares(nodes: Iterable[Node]) -> Shares:
    """Each zone's share; none when a node does not say its zone or size, or there is but one zone."""
    sizes: Counter[str] = Counter()
    for facts in filter(None, map(node_facts, nodes)):
        if not all(facts):
            return {}
        sizes[facts[0]] += facts[1]
    return {zone: size / sizes.total() for zone, size in sizes.items()} if len(sizes) > 1 else {}


def allot(zones: Sequence[str | None], parts: Shares) -> list[str]:
    """For which zone each endpoint is, given where it is; none when the zones cannot be served fairly."""
    own = [zone for zone in zones if zone]
    if not parts or len(own) < len(zones) or len(own) < len(parts):
        return []
    exact = {zone: part * len(own) for zone, part in parts.items()}
    least = {zone: math.ceil(round(wanted / (1 + OVERLOAD), 9)) for zone, wanted in exact.items()}
    if sum(least.values()) > len(own):
        return []
    return _moved(own, _moves(Counter(own), {zone: max(exact[zone], least[zone]) for zone in exact}))


def _moves(has: Mapping[str, int], wanted: Mapping[str, float]) -> dict[str, list[str]]:
    """For each zone that has too many endpoints, the zones that get one of them."""
    gives = {zone: has.get(zone, 0) - want for zone, want in wanted.items() if has.get(zone, 0) > want}
    takes = {zone: want - has.get(zone, 0) for zone, want in wanted.items() if has.get(zone, 0) < want}
    moves: dict[str, list[str]] = {}
    while gives and takes:
        giver, taker = (max(rest, key=lambda zone, rest=rest: (rest[zone], zone)) for rest in (gives, takes))  # type: ignore[misc]
        most, fewest = max(gives[giver], takes[taker]), min(gives[giver], takes[taker])
        if most < WHOLE or fewest < LEAST:
            break
        moves.setdefault(giver, []).append(taker)
        gives[giver] -= 1
        takes[taker] -= 1
    return moves


def _moved(own: Iterable[str], moves: dict[str, list[str]]) -> list[str]:
    return [moves[zone].pop(0) if moves.get(zone) else zone for zone in own]
