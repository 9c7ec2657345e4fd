"""Give every frontend its rule, and say what a plan means for a packet.

Stage: plan.  In: Snapshot.  Out: Plan; decide: the Verdict on a packet, against which every backend is tested.
Rules: pure; no word of a backend.  A Service's plan is made again only when its view or the node is another object.
Truth: KEP-1860 (paths and masquerading); kpng doc/service-proxy.md; the order of checks is netfilter's: source ranges,
then translation, then what was not translated is refused or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

from clusterip.api.meta import ObjectKey
from clusterip.proxy.model import (
    Deliver,
    Delivery,
    Drop,
    Forward,
    Frontend,
    FrontendKind,
    HealthCheck,
    Ignore,
    Node,
    Outcome,
    Packet,
    Plan,
    Reject,
    Rule,
    Scope,
    ServicePlan,
    ServicePort,
    ServiceView,
    Snapshot,
    Target,
    Verdict,
)
from clusterip.proxy.topology import Chosen, choose

_revisions = count(1)


class Planner:
    """Makes plans and keeps the parts whose inputs stay the same objects."""

    def __init__(self) -> None:
        self._seen: Snapshot | None = None
        self._latest: Plan | None = None

    def plan(self, snapshot: Snapshot) -> Plan:
        before, seen = self._latest, self._seen
        if before is None or seen is None or before.node != snapshot.node:
            self._latest = Plan(snapshot.node, _planned(snapshot, snapshot.services), revision=next(_revisions))
        elif seen is not snapshot:
            self._latest = _replanned(before, seen, snapshot)
        self._seen = snapshot
        assert self._latest is not None
        return self._latest


def _planned(snapshot: Snapshot, keys: Iterable[ObjectKey]) -> dict[ObjectKey, ServicePlan]:
    found = ((key, snapshot.services.get(key)) for key in keys)
    return {key: plan_service(view, snapshot.node) for key, view in found if view is not None}


def _replanned(before: Plan, seen: Snapshot, snapshot: Snapshot) -> Plan:
    """The plan before, with what changed made again."""
    changed = snapshot.changed_since(seen.revision)
    if changed is None:
        keys = seen.services.keys() | snapshot.services.keys()
        changed = frozenset(key for key in keys if seen.services.get(key) is not snapshot.services.get(key))
    services = dict(before.services)
    for key in changed:
        services.pop(key, None)
    services |= _planned(snapshot, changed)
    return Plan(snapshot.node, services, changed, next(_revisions), before.revision)


def make_plan(snapshot: Snapshot) -> Plan:
    """A plan made from nothing but the snapshot."""
    return Planner().plan(snapshot)


def plan_service(view: ServiceView, node: Node) -> ServicePlan:
    """The rules of one Service's frontends."""
    rules: dict[Frontend, Rule] = {}
    flows: dict[Frontend, frozenset[tuple[object, int]]] = {}
    for port in view.ports:
        chosen = choose(port, node)
        if port.name.protocol == "udp":
            flows |= dict.fromkeys((frontend for _, frontend in port.frontends), _serving(port))
        rules |= {frontend: _rule(port, kind, chosen, node) for kind, frontend in port.frontends}
    addresses = {frontend.address for frontend, rule in rules.items() if rule.kind is FrontendKind.CLUSTER_IP}
    cluster_ips = frozenset(address for address in addresses if address)
    return ServicePlan(rules, cluster_ips, flows, _health(view))


def _health(view: ServiceView) -> HealthCheck | None:
    """Terminating endpoints do not count: a load balancer should look elsewhere in time."""
    number = next((port.health_check_node_port for port in view.ports if port.health_check_node_port), 0)
    if not number:
        return None
    endpoints = (endpoint for port in view.ports for endpoint in port.endpoints)
    here = {endpoint.target.address for endpoint in endpoints if endpoint.is_ready and endpoint.target.is_local}
    return HealthCheck(number, len(here))


def _serving(port: ServicePort) -> frozenset[tuple[object, int]]:
    usable = (endpoint for endpoint in port.endpoints if endpoint.is_ready or endpoint.is_serving)
    return frozenset((endpoint.target.address, endpoint.target.port) for endpoint in usable)


def _rule(port: ServicePort, kind: FrontendKind, chosen: Chosen, node: Node) -> Rule:
    internal = kind is FrontendKind.CLUSTER_IP
    pods, here, others = _internal(port, chosen, node) if internal else _external(port, chosen)
    ranges = port.source_ranges if kind is FrontendKind.LOAD_BALANCER_IP else ()
    return Rule(port.name, kind, pods, here, others, port.affinity_seconds, ranges, port.scheduler, port.weights)


def _internal(port: ServicePort, chosen: Chosen, node: Node) -> tuple[Outcome, Outcome, Outcome]:
    """At a cluster IP pods keep their address; others too when nobody said which traffic is the pods'."""
    hide_others = node.masquerade_all or node.pod_traffic is not None
    scope = Scope.LOCAL if port.internal_policy_local else Scope.CLUSTER
    others = _forward(chosen, scope, hide_others)
    return _forward(chosen, scope, node.masquerade_all), others, others


def _external(port: ServicePort, chosen: Chosen) -> tuple[Outcome, Outcome, Outcome]:
    """Policy Local binds traffic from outside to this node; the node's and the pods' own goes as if by a detour."""
    if not port.external_policy_local:
        same = _forward(chosen, Scope.CLUSTER, True)
        return same, same, same
    return (
        _forward(chosen, Scope.CLUSTER, False),
        _forward(chosen, Scope.CLUSTER, True),
        _forward(chosen, Scope.LOCAL, False),
    )


def _forward(chosen: Chosen, scope: Scope, masquerade: bool) -> Outcome:
    targets = chosen.local if scope is Scope.LOCAL else chosen.cluster
    if targets:
        return Forward(targets, masquerade, scope)
    return Drop() if chosen.has_any else Reject()


def find_rule(plan: Plan, packet: Packet) -> Rule | None:
    """The rule of the frontend that a packet is sent to: an exact address before a node port."""
    exact = Frontend(packet.destination, packet.protocol, packet.port)
    found = _lookup(plan.services, exact)
    if found is None and plan.node.takes_node_ports(packet.destination):
        return _lookup(plan.services, Frontend(None, packet.protocol, packet.port))
    return found


def _lookup(services: Mapping[ObjectKey, ServicePlan], frontend: Frontend) -> Rule | None:
    return next((service.rules[frontend] for service in services.values() if frontend in service.rules), None)


def decide(plan: Plan, packet: Packet) -> Verdict:
    """What becomes of a connection's first packet."""
    rule = find_rule(plan, packet)
    if rule is None:
        return _decide_unknown(plan, packet)
    if rule.source_ranges and not any(packet.source in network for network in rule.source_ranges):
        return Drop()
    outcome = _outcome(rule, packet, plan.node)
    if not isinstance(outcome, Forward):
        return outcome
    return Deliver(frozenset(_delivery(outcome, target, packet, plan.node) for target in outcome.targets))


def _outcome(rule: Rule, packet: Packet, node: Node) -> Outcome:
    if node.pod_traffic and node.pod_traffic.covers(packet):
        return rule.from_pods
    return rule.from_others if packet.interface else rule.from_node


def _delivery(outcome: Forward, target: Target, packet: Packet, node: Node) -> Delivery:
    """A pod that reaches itself must see another sender, or it would answer itself directly.

    What comes in and ends on the node itself never leaves it, and senders are rewritten only on the way out.
    """
    hairpin = target.is_local and target.address == packet.source
    stays = bool(packet.interface) and target.address in node.addresses
    return Delivery(target.address, target.port, (outcome.masquerade or hairpin) and not stays)


def _decide_unknown(plan: Plan, packet: Packet) -> Verdict:
    """A wrong port of a cluster IP is refused; an address that no Service has is a black hole."""
    if any(packet.destination in service.cluster_ips for service in plan.services.values()):
        return Reject()
    if any(packet.destination in network for network in plan.node.service_networks):
        return Drop()
    return Ignore()
