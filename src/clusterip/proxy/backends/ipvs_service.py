"""One Service's part of ipvs mode.

Stage: compile.  In: ServicePlan, the node.  Out: Part: servers and set entries, own and shared with other Services.
Rules: pure.  A virtual server has one list of real servers, whoever sends: that of the plan's traits for this mode.
Truth: kube-proxy 1.36, pkg/proxy/ipvs; verdicts are those of plan.decide.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from clusterip.kernel.ipset import ENTRY, EntryKey
from clusterip.kernel.ipvs import SCHEDULERS, RealKey, RealServer, VirtualKey, VirtualServer
from clusterip.proxy.backends import ipvs_tables as tables
from clusterip.proxy.backends.ipvs_servers import PORT_HASHING
from clusterip.proxy.backends.ipvs_state import BOUND, AddressKey, Key, Value
from clusterip.proxy.backends.ipvs_tables import Portal
from clusterip.proxy.model import Family, Forward, Frontend, FrontendKind, Node, Rule, ServicePlan, Target


@dataclass(slots=True)
class Part:
    """What one Service needs. Shared pieces have a name, and the same keys whoever needs them."""

    own: dict[Key, Value] = field(default_factory=dict)
    shared: dict[Hashable, dict[Key, Value]] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)  # sets that have an entry by it
    closed: list[Portal] = field(default_factory=list)  # load balancer addresses that the node itself may not use
    unknown: set[tuple[str, str]] = field(default_factory=set)  # ports that want a scheduler that does not exist


def compile_service(plan: ServicePlan, node: Node, scheduler: str) -> Part:
    """The part of one Service; the scheduler is for ports that want none of their own."""
    part = Part()
    for frontend, rule in plan.rules.items():
        _Frontend(part, frontend, rule, node, scheduler).compile()
    if plan.health is not None:
        _Entries(part, node.family).own(tables.HEALTH_CHECK, str(plan.health.node_port))
    return part


@dataclass(frozen=True, slots=True)
class _Entries:
    """Writes set entries into a part."""

    part: Part
    family: Family

    def own(self, name: str, entry: str) -> None:
        self.part.own[EntryKey(tables.set_name(name, self.family), entry)] = ENTRY
        self.part.filled.add(name)

    def shared(self, piece: Hashable, name: str, entry: str) -> None:
        pieces = self.part.shared.setdefault(piece, {})
        pieces[EntryKey(tables.set_name(name, self.family), entry)] = ENTRY
        self.part.filled.add(name)


def targets_of(rule: Rule) -> tuple[Target, ...]:
    """The endpoints behind a frontend."""
    return rule.from_others.targets if isinstance(rule.from_others, Forward) else ()


def keeps_senders(rule: Rule) -> bool:
    """Whether those who come in by an external frontend are seen by the endpoints: external policy Local."""
    return isinstance(rule.from_others, Forward) and not rule.from_others.masquerade


@dataclass(frozen=True, slots=True)
class _Frontend:
    """One frontend being compiled into its Service's part."""

    part: Part
    frontend: Frontend
    rule: Rule
    node: Node
    default_scheduler: str

    @property
    def _entries(self) -> _Entries:
        return _Entries(self.part, self.node.family)

    def compile(self) -> None:
        for portal in self._portals():
            self._servers(portal)
            KINDS[self.rule.kind](self, portal)
        for target in targets_of(self.rule):
            if target.is_local:
                self._hairpin(target)

    def _portals(self) -> Iterator[Portal]:
        """Where it is reached; a node port on each address that takes them."""
        address, protocol, port = self.frontend
        if address is not None:
            yield Portal(str(address), protocol, port)
            return
        found = self.node.node_port_addresses
        for own in sorted(self.node.addresses if found is None else found):
            if not own.is_loopback:
                yield Portal(str(own), protocol, port)

    def _servers(self, portal: Portal) -> None:
        virtual = VirtualKey(portal.protocol, portal.address, portal.port)
        scheduler = self._scheduler()
        hashes = scheduler in PORT_HASHING
        self.part.own[virtual] = VirtualServer(scheduler, self.rule.affinity_seconds, hashes)
        for target in targets_of(self.rule):
            real = RealKey(virtual, str(target.address), target.port)
            self.part.own[real] = RealServer(self.rule.weights.get(target, 1))

    def _scheduler(self) -> str:
        wanted = self.rule.scheduler
        if wanted and wanted not in SCHEDULERS:
            self.part.unknown.add((str(self.rule.name), wanted))
        return wanted if wanted in SCHEDULERS else self.default_scheduler

    def _bind(self, portal: Portal) -> None:
        """The address becomes the node's, unless it is already."""
        if self.frontend.address in self.node.addresses:
            return
        piece = ("address", portal.address)
        self.part.shared.setdefault(piece, {})[AddressKey(portal.address)] = BOUND
        self._entries.shared(piece, tables.IPVS_IPS, portal.address)

    def cluster_ip(self, portal: Portal) -> None:
        self._bind(portal)
        self._entries.own(tables.CLUSTER_IP, entry_of(portal))

    def external_ip(self, portal: Portal) -> None:
        self._bind(portal)
        name = tables.EXTERNAL_IP_LOCAL if keeps_senders(self.rule) else tables.EXTERNAL_IP
        self._entries.own(name, entry_of(portal))

    def load_balancer_ip(self, portal: Portal) -> None:
        self._bind(portal)
        self._entries.own(tables.LOAD_BALANCER, entry_of(portal))
        if keeps_senders(self.rule):
            self._entries.own(tables.LOAD_BALANCER_LOCAL, entry_of(portal))
        if self.rule.source_ranges:
            self._source_ranges(portal)

    def _source_ranges(self, portal: Portal) -> None:
        """Where the node itself may come, the plan lets in the address too: it is what the node sends from."""
        ranges, own = self.rule.source_ranges, self.node.addresses[:1]
        from_node = any(address in network for network in ranges for address in own)
        self._entries.own(tables.LOAD_BALANCER_FW, entry_of(portal))
        for network in ranges[:-1] if from_node else ranges:
            text = str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
            self._entries.own(tables.SOURCE_CIDR, f"{entry_of(portal)},{text}")
        if from_node:
            self._entries.own(tables.SOURCE_IP, f"{entry_of(portal)},{portal.address}")
        else:
            self.part.closed.append(portal)

    def node_port(self, portal: Portal) -> None:
        """SCTP ports are kept with their addresses: the kernel's port bitmaps do not look into SCTP."""
        entry = entry_of(portal) if portal.protocol == "sctp" else str(portal.port)
        self._entries.own(tables.NODE_PORT[portal.protocol], entry)
        if keeps_senders(self.rule):
            self._entries.own(tables.NODE_PORT_LOCAL[portal.protocol], entry)

    def _hairpin(self, target: Target) -> None:
        portal = Portal(str(target.address), self.frontend.protocol, target.port)
        self._entries.shared(("hairpin", portal), tables.LOOP_BACK, f"{entry_of(portal)},{portal.address}")


KINDS = {
    FrontendKind.CLUSTER_IP: _Frontend.cluster_ip,
    FrontendKind.EXTERNAL_IP: _Frontend.external_ip,
    FrontendKind.LOAD_BALANCER_IP: _Frontend.load_balancer_ip,
    FrontendKind.NODE_PORT: _Frontend.node_port,
}


def entry_of(portal: Portal) -> str:
    """As ip sets of addresses and ports print it."""
    return f"{portal.address},{portal.protocol}:{portal.port}"
