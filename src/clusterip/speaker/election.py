"""Which node answers for a Service's address on the LAN.

Stage: plan.  In: a Service, its pool, the nodes of its endpoints, living speakers, nodes.  Out: the node, or why none.
Rules: pure, and the same on every node: whoever sees the same world elects the same node, without a word.
Truth: MetalLB 0.16: preferred nodes first, then the least sha256 of `node#address`; an address shared is one node's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from clusterip.api.metallb import L2Advertisement, Pool
from clusterip.speaker.model import Node, Service


@dataclass(frozen=True, slots=True)
class Election:
    """The elected node, or None and the reason; candidates in order."""

    node: str | None
    why: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Who could answer at all."""

    nodes: Mapping[str, Node]
    alive: Collection[str] | None  # None: nobody looks after speakers, each node is taken to have one
    ignore_excluded: bool = False

    def eligible(self) -> list[str]:
        return [name for name in (self.nodes if self.alive is None else self.alive) if self._may(name)]

    def _may(self, name: str) -> bool:
        node = self.nodes.get(name)
        return node is None or not (node.is_cut_off or (node.is_excluded and not self.ignore_excluded))


def elect(service: Service, pool: Pool, endpoints: Collection[str], around: Surroundings) -> Election:
    """The node that answers for all addresses of the Service."""
    if not endpoints:
        return Election(None, "no endpoint is ready")
    chosen = advertisements(pool, service)
    if not chosen:
        return Election(None, f"no L2Advertisement speaks of pool {pool.name}")
    if service.shares and any(each.services for each in chosen):
        return Election(None, "an address that is shared cannot be announced by service selectors")
    nodes = frozenset[str]().union(*(each.nodes for each in chosen))
    eligible = [name for name in around.eligible() if name in nodes]
    if service.is_local:
        eligible = [name for name in eligible if name in endpoints]
    if not eligible:
        return Election(None, "no node with a living speaker may announce it")
    candidates = ranked(eligible, str(service.addresses[0]), scores(chosen))
    return Election(candidates[0], "", candidates)


def advertisements(pool: Pool, service: Service) -> list[L2Advertisement]:
    """The advertisements that concern the Service."""
    return [each for each in pool.l2 if each.selects(service.labels)]


def ranked(names: Iterable[str], address: str, weights: Mapping[str, int]) -> tuple[str, ...]:
    """The candidates, the first one is elected."""
    return tuple(sorted(names, key=lambda name: (-weights.get(name, 0), sha256(f"{name}#{address}".encode()).digest())))


def scores(chosen: Iterable[L2Advertisement]) -> Mapping[str, int]:
    """How much each node is preferred, by all advertisements together."""
    total: Counter[str] = Counter()
    for each in chosen:
        total.update(each.preferred)
    return total


def interfaces(pool: Pool, service: Service, node: str) -> frozenset[str] | None:
    """The interfaces on which that node may answer; None for all."""
    mine = [each for each in advertisements(pool, service) if node in each.nodes]
    if any(not each.interfaces for each in mine):
        return None
    return frozenset[str]().union(*(each.interfaces for each in mine))
