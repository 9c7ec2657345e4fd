"""Choose which endpoints of a service port this node may use.

Stage: plan.  In: Endpoints, the node, the port's traffic policies.  Out: targets in order, cluster-wide and local.
Rules: pure; the order of the input does not matter.
Truth: KEP-1669 terminating endpoints, KEP-2086 internal policy, KEP-2433 and KEP-3015 hints.  As upstream: each set
falls back to terminating endpoints alone, policy Local does not look at hints.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from clusterip.proxy.model import Endpoint, Node, ServicePort, Target


class Chosen(NamedTuple):
    """The targets of a port. `local` is what policy Local may use; without such a policy it is empty."""

    cluster: tuple[Target, ...]
    local: tuple[Target, ...]

    @property
    def has_any(self) -> bool:
        """None at all means reject, some elsewhere means drop."""
        return bool(self.cluster or self.local)


def choose(port: ServicePort, node: Node) -> Chosen:
    """Both sets of a port."""
    cluster = _targets(_hinted(_ready(port.endpoints), node) or _leaving(port.endpoints))
    if not (port.internal_policy_local or port.external_policy_local):
        return Chosen(cluster, ())
    here = [endpoint for endpoint in port.endpoints if endpoint.target.is_local]
    return Chosen(cluster, _targets(_ready(here) or _leaving(here)))


def _ready(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    return [endpoint for endpoint in endpoints if endpoint.is_ready]


def _leaving(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those that still serve while they terminate: better than none."""
    return [endpoint for endpoint in endpoints if endpoint.is_serving and endpoint.is_terminating]


def _hinted(ready: list[Endpoint], node: Node) -> list[Endpoint]:
    """Those hinted for this node, else for its zone; all of them as soon as one has no hint or none is for us."""
    if all(endpoint.node_hints for endpoint in ready):
        by_node = [endpoint for endpoint in ready if node.name in endpoint.node_hints]
        if by_node:
            return by_node
    if all(endpoint.zone_hints for endpoint in ready):
        by_zone = [endpoint for endpoint in ready if node.zone in endpoint.zone_hints]
        if by_zone:
            return by_zone
    return ready


def _targets(endpoints: Iterable[Endpoint]) -> tuple[Target, ...]:
    """In the order of their addresses; two with one address and port are one, which is local when either is."""
    found: dict[tuple[int, int], Target] = {}
    for endpoint in endpoints:
        target = endpoint[0]
        place = (int(target[0]), target[1])  # numbers, which compare faster than addresses
        if place not in found or target[2]:
            found[place] = target
    return tuple([found[place] for place in sorted(found)])
