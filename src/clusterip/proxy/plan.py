"""Give every frontend its rule, and say what a plan means for a packet.

Stage: plan.  In: Snapshot.  Out: Plan; decide: the Verdict on a packet, against which every backend is tested.
Rules: pure; no word of a backend.  A Service's plan is made again only when its view or the node is another object.
Truth: KEP-1860 (paths and masquerading); kpng doc/service-proxy.md; the order of checks is netfilter's: source ranges,
then translation, then what was not translated is refused or dropped.  Unlike upstream an address that is both an
external and a load balancer IP of a Service is bound by source ranges in every mode (in upstream's iptables mode the
external IP comes first and lets everybody in).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from itertools import count
from types import MappingProxyType

from clusterip.api.meta import ObjectKey
from clusterip.proxy.model import (
    Drop,
    Flows,
    Forward,
    Frontend,
    FrontendKind,
    HealthCheck,
    IPNetwork,
    Node,
    Outcome,
    Plan,
    Reject,
    Rule,
    Scope,
    ServicePlan,
    ServicePort,
    ServiceView,
    Snapshot,
    Target,
    Traits,
)
from clusterip.proxy.shards import Shards
from clusterip.proxy.topology import Chosen, choose
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict

_revisions = count(1)
NO_FLOWS: Flows = MappingProxyType({})
DROP, REJECT = Drop(), Reject()


class Planner:
    """Makes plans and keeps the parts whose inputs stay the same objects."""

    def __init__(self) -> None:
        self._seen: Snapshot | None = None
        self._latest: Plan | None = None

    def plan(self, snapshot: Snapshot) -> Plan:
        before, seen = self._latest, self._seen
        if before is None or seen is None or before.node != snapshot.node:
            services = Shards[ObjectKey, ServicePlan]().changed(_planned(snapshot, snapshot.services))
            self._latest = Plan(snapshot.node, services, revision=next(_revisions))
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
    services = before.services
    assert isinstance(services, Shards)
    services = services.changed(_planned(snapshot, changed), changed)
    return Plan(snapshot.node, services, changed, next(_revisions), before.revision)


def plan_service(view: ServiceView, node: Node) -> ServicePlan:
    """The rules of one Service's frontends."""
    rules: dict[Frontend, Rule] = {}
    flows: dict[Frontend, frozenset[tuple[object, int]]] = {}
    for port in view.ports:
        if port.frontends:
            rules |= _rules(port, choose(port, node), node)
        if port.name.protocol == "udp":
            flows |= dict.fromkeys((frontend for _, frontend in port.frontends), _serving(port))
    cluster_ips = [frontend[0] for frontend, rule in rules.items() if rule.kind is FrontendKind.CLUSTER_IP]
    addresses = frozenset(address for address in cluster_ips if address is not None)
    count = sum([len(port.endpoints) for port in view.ports])
    return ServicePlan(rules, addresses, flows or NO_FLOWS, _health(view), count)


def _rules(port: ServicePort, chosen: Chosen, node: Node) -> dict[Frontend, Rule]:
    """The rules of one port. All frontends but cluster IPs have the same outcomes."""
    rules: dict[Frontend, Rule] = {}
    outcomes: dict[bool, tuple[Outcome, Outcome, Outcome]] = {}
    for kind, frontend in port.frontends:
        internal = kind is FrontendKind.CLUSTER_IP
        if internal not in outcomes:
            outcomes[internal] = _internal(port, chosen, node) if internal else _external(port, chosen, node)
        ranges = allowed_sources(port, frontend, node) if kind is FrontendKind.LOAD_BALANCER_IP else ()
        rules[frontend] = Rule(
            port.name, kind, *outcomes[internal], port.affinity_seconds, ranges, port.scheduler, port.weights
        )
    return rules


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


def allowed_sources(port: ServicePort, frontend: Frontend, node: Node) -> tuple[IPNetwork, ...]:
    """Who may reach a load balancer IP; none: everybody.

    Where the node may and its kernel has a load balancer IP itself, a packet of the node comes with that as sender.
    Most modes keep one list for all of a port's load balancer IPs, so that any of them is let in at each.
    """
    ranges = port.source_ranges
    if not ranges or not any(node.addresses[0] in network for network in ranges if node.addresses):
        return ranges
    balancers = [other for kind, other in port.frontends if kind is FrontendKind.LOAD_BALANCER_IP]
    senders = balancers if node.traits.balancers_admit_each_other else [frontend]
    return (*ranges, *(ip_network(other.address) for other in senders if other.address))


def _internal(port: ServicePort, chosen: Chosen, node: Node) -> tuple[Outcome, Outcome, Outcome]:
    """What becomes at a cluster IP of packets of pods, of this node and of others.

    Pods keep their address; others too when nobody said which traffic is the pods'.
    """
    hide_all = node.masquerade_all or node.traits.hides_sender
    hide_others = hide_all or node.pod_traffic is not None
    scope = Scope.LOCAL if port.internal_policy_local else Scope.CLUSTER
    others = _forward(chosen, scope, hide_others, node.traits)
    return (others if hide_all == hide_others else _forward(chosen, scope, hide_all, node.traits)), others, others


def _external(port: ServicePort, chosen: Chosen, node: Node) -> tuple[Outcome, Outcome, Outcome]:
    """The same at every other frontend.

    Policy Local binds traffic from outside to this node; the node's and the pods' own goes as if by a detour.
    """
    traits = node.traits
    if not port.external_policy_local:
        same = _forward(chosen, Scope.CLUSTER, True, traits)
        return same, same, same
    if not traits.short_circuits:
        scope = Scope.LOCAL if chosen.local else Scope.CLUSTER
        same = _forward(chosen, scope, traits.hides_sender, traits)
        return same, same, same
    return (
        _forward(chosen, Scope.CLUSTER, traits.hides_sender, traits),
        _forward(chosen, Scope.CLUSTER, True, traits),
        _forward(chosen, Scope.LOCAL, traits.hides_sender, traits),
    )


def _forward(chosen: Chosen, scope: Scope, masquerade: bool, traits: Traits) -> Outcome:
    targets = chosen.local if scope is Scope.LOCAL else chosen.cluster
    if targets:
        return Forward(targets, masquerade, scope)
    return DROP if chosen.has_any and traits.drops_without_local else REJECT


def find_rule(plan: Plan, packet: Packet) -> Rule | None:
    """The rule of the frontend that a packet is sent to: an exact address before a node port."""
    rules = plan.index.rules
    found = rules.get(Frontend(packet.destination, packet.protocol, packet.port))
    if found is None and plan.node.takes_node_ports(packet.destination):
        return rules.get(Frontend(None, packet.protocol, packet.port))
    return found


def decide(plan: Plan, packet: Packet) -> Verdict:
    """What becomes of a connection's first packet."""
    rule = find_rule(plan, packet)
    if rule is None:
        return _decide_unknown(plan, packet)
    outcome = _outcome(rule, packet, plan.node)
    if _is_outside_ranges(rule, packet, plan.node):
        return DROP
    if isinstance(outcome, Forward):
        return Deliver(frozenset(_delivery(outcome, target, packet, plan.node) for target in outcome.targets))
    return Ignore() if _escapes(rule, packet, plan.node) else outcome


def _is_outside_ranges(rule: Rule, packet: Packet, node: Node) -> bool:
    if not rule.source_ranges or any(packet.source in network for network in rule.source_ranges):
        return False
    return node.traits.ranges_come_first or isinstance(rule.from_node, Forward)


def _escapes(rule: Rule, packet: Packet, node: Node) -> bool:
    """Whether a packet of the node leaves it because this mode refuses only what comes in."""
    external = rule.kind in (FrontendKind.EXTERNAL_IP, FrontendKind.LOAD_BALANCER_IP)
    made_here = not packet.interface and packet.destination not in node.addresses
    return external and made_here and not node.traits.refuses_from_node


def _outcome(rule: Rule, packet: Packet, node: Node) -> Outcome:
    if node.pod_traffic and node.pod_traffic.covers(packet.source, packet.interface):
        return rule.from_pods
    return rule.from_others if packet.interface else rule.from_node


def _delivery(outcome: Forward, target: Target, packet: Packet, node: Node) -> Delivery:
    """A pod that reaches itself must see another sender, or it would answer itself directly.

    What comes in and ends on the node itself never leaves it, and senders are rewritten only on the way out.
    """
    hairpin = target.address == packet.source and (target.is_local or node.traits.hides_remote_hairpins)
    stays = bool(packet.interface) and target.address in node.addresses and not node.traits.hides_sender
    return Delivery(target.address, target.port, (outcome.masquerade or hairpin) and not stays)


def _decide_unknown(plan: Plan, packet: Packet) -> Verdict:
    """A wrong port of a cluster IP is refused; an address that no Service has is a black hole."""
    node, traits, index = plan.node, plan.node.traits, plan.index
    if traits.refuses_on_all_addresses and (packet.destination in node.addresses or packet.destination.is_loopback):
        rule = index.rules.get(Frontend(None, packet.protocol, packet.port))
        if rule and not isinstance(rule.from_others, Forward):
            return rule.from_others
    if traits.binds_addresses and packet.destination in index.addresses and packet.destination not in node.addresses:
        return REJECT
    if not traits.guards_cluster_ips:
        return Ignore()
    if packet.destination in index.cluster_ips:
        return REJECT
    if any(packet.destination in network for network in node.service_networks):
        return DROP
    return Ignore()
