"""One Service's chains and its lines in the shared ones.

Stage: compile.  In: ServicePlan, Node, options.  Out: chains and entries as values.
Rules: pure; who may be sent where is the plan's; here are only the shapes.  Ports are told apart by name.
Truth: kubernetes/kubernetes pkg/proxy/iptables (1.36); libxt_statistic for how a probability is kept and printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from clusterip.kernel.iptables import ChainKey, Key, Rules, Value
from clusterip.proxy.backends.iptables_chains import (
    EXT,
    EXTERNAL_SERVICES,
    FILTER,
    FW,
    LOCALHOST_COUNTER,
    LOCALNET,
    MARK_MASQ,
    NAT,
    NODEPORTS,
    PROXY_FIREWALL,
    SEP,
    SERVICES,
    SVC,
    SVL,
    EntryKey,
    Options,
    chain_hash,
    comment,
    counted,
    place,
)
from clusterip.proxy.model import (
    Drop,
    Family,
    Forward,
    Frontend,
    FrontendKind,
    Node,
    Outcome,
    PodTraffic,
    PortName,
    Rule,
    Scope,
    ServicePlan,
    Target,
)

REJECT = {Family.IPV4: "icmp-port-unreachable", Family.IPV6: "icmp6-port-unreachable"}
MASKS = {Family.IPV4: "255.255.255.255", Family.IPV6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
WORDS = {FrontendKind.EXTERNAL_IP: "external IP", FrontendKind.LOAD_BALANCER_IP: "loadbalancer IP"}
Values = dict[Key | EntryKey, Value]


@dataclass(slots=True)
class _Port:
    """What a plan says of one port: its frontends, and the two sets of endpoints."""

    name: PortName
    cluster_ip: tuple[Frontend, Rule] | None = None
    external: list[tuple[Frontend, Rule]] = field(default_factory=list)

    def rules(self) -> Iterator[Rule]:
        if self.cluster_ip:
            yield self.cluster_ip[1]
        yield from (rule for _, rule in self.external)

    @property
    def has_endpoints(self) -> bool:
        """Anywhere, usable or not from here."""
        return any(isinstance(outcome, Forward | Drop) for rule in self.rules() for outcome in outcomes(rule))

    def targets(self, scope: Scope) -> tuple[Target, ...]:
        """Upstream lists endpoints in the order of their text."""
        for rule in self.rules():
            for outcome in outcomes(rule):
                if isinstance(outcome, Forward) and outcome.scope is scope:
                    return tuple(sorted(outcome.targets, key=str))
        return ()

    @property
    def is_external_local(self) -> bool:
        """Whether external policy Local is in force; without any endpoint it does not matter."""
        return any(_is_local(rule.from_others) for _, rule in self.external)

    @property
    def affinity_seconds(self) -> int:
        return next((rule.affinity_seconds for rule in self.rules()), 0)


def outcomes(rule: Rule) -> tuple[Outcome, Outcome, Outcome]:
    return rule.from_pods, rule.from_node, rule.from_others


def _is_local(outcome: Outcome) -> bool:
    return isinstance(outcome, Drop) or (isinstance(outcome, Forward) and outcome.scope is Scope.LOCAL)


def ports_of(service: ServicePlan) -> list[_Port]:
    """The ports of a Service that have a frontend, in its order."""
    found: dict[PortName, _Port] = {}
    for frontend, rule in service.rules.items():
        port = found.setdefault(rule.name, _Port(rule.name))
        if rule.kind is FrontendKind.CLUSTER_IP:
            port.cluster_ip = (frontend, rule)
        else:
            port.external.append((frontend, rule))
    return list(found.values())


def compile_service(service: ServicePlan, node: Node, options: Options, brief: bool = False) -> Values:
    """Everything of one Service. Brief: without the comments that only repeat its name."""
    values: Values = {}
    health = service.health.node_port if service.health else 0
    for port in ports_of(service):
        values |= _Shape(port, node, options, brief).values(health)
    return values


class _Shape:
    """The chains and lines of one port."""

    def __init__(self, port: _Port, node: Node, options: Options, brief: bool) -> None:
        self.port, self.node, self.options, self.brief = port, node, options, brief
        self.name, self.protocol = str(port.name), port.name.protocol
        mixed = chain_hash(self.name + self.protocol)
        self.svc, self.svl, self.ext, self.fw = SVC + mixed, SVL + mixed, EXT + mixed, FW + mixed
        self.cluster, self.local = port.targets(Scope.CLUSTER), port.targets(Scope.LOCAL)
        self.sep = {
            target: SEP + chain_hash(f"{self.name}{self.protocol}{target}") for target in (*self.cluster, *self.local)
        }
        self.has_endpoints = port.has_endpoints
        self.is_local = port.is_external_local
        self.takes_external = self.has_endpoints and not (self.is_local and not self.local)
        self.ranges = next((rule.source_ranges for _, rule in port.external if rule.source_ranges), ())
        self.balancers = [frontend for frontend, rule in port.external if rule.kind is FrontendKind.LOAD_BALANCER_IP]

    def values(self, health_port: int) -> Values:
        values: Values = {}
        for key, rules in self._chains():
            values[key] = tuple(rules)
        entries: dict[EntryKey, list[str]] = {}
        for (table, chain), line in self._lines(health_port):
            entries.setdefault(EntryKey(table, chain, self.name), []).append(line)
        return values | {key: tuple(lines) for key, lines in entries.items()}

    # -- chains of its own ---------------------------------------------------------------------------------------------

    def _chains(self) -> Iterator[tuple[ChainKey, Rules]]:
        """What is jumped to comes first."""
        for target, chain in self.sep.items():
            yield ChainKey(NAT, chain), self._endpoint(target, chain)
        internal = self._internal_chain()
        if self.cluster:
            first = self._internal_masquerade() if internal == self.svc else ()
            yield ChainKey(NAT, self.svc), (*first, *self._spread(self.cluster))
        if self.local:
            first = self._internal_masquerade() if internal == self.svl else ()
            yield ChainKey(NAT, self.svl), (*first, *self._spread(self.local))
        if self.has_endpoints and self.port.external:
            yield ChainKey(NAT, self.ext), tuple(self._external())
        if self._is_guarded():
            yield ChainKey(NAT, self.fw), tuple(self._guard())

    def _internal_chain(self) -> str:
        """Where the cluster IP leads; nowhere without a usable endpoint."""
        if self.port.cluster_ip is None or not isinstance(outcome := self.port.cluster_ip[1].from_others, Forward):
            return ""
        return self.svl if outcome.scope is Scope.LOCAL else self.svc

    def _internal_masquerade(self) -> Rules:
        """Senders outside of the cluster see answers only from the node that they sent to."""
        traffic = self.node.pod_traffic
        if not self.port.cluster_ip or not (self.node.masquerade_all or traffic):
            return ()
        source, interface = ("", "") if self.node.masquerade_all or traffic is None else not_from(traffic)
        frontend = self.port.cluster_ip[0]
        return (self._match(f"{self.name} cluster IP", frontend, source, interface) + f" -j {MARK_MASQ}",)

    def _match(self, text: str, frontend: Frontend, source: str = "", interface: str = "", addrtype: str = "") -> str:
        where = place("-d", frontend.address) if frontend.address else ""
        return (
            f"{source}{where}{interface}-p {self.protocol} {comment(text)} {addrtype}-m {self.protocol} "
            f"--dport {frontend.port}"
        )

    def _spread(self, targets: tuple[Target, ...]) -> Iterator[str]:
        """Clients that were here before go where they went; others to each with the same chance."""
        if seconds := self.port.affinity_seconds:
            for target in targets:
                recent = f"-m recent --rcheck --seconds {seconds} --reap {self._recent(self.sep[target])}"
                yield f"{self._arrow(target)}{recent} -j {self.sep[target]}"
        for number, target in enumerate(targets):
            yield f"{self._arrow(target)}{chance(len(targets) - number)}-j {self.sep[target]}"

    def _arrow(self, target: Target) -> str:
        return "" if self.brief else comment(f"{self.name} -> {target}") + " "

    def _recent(self, chain: str) -> str:
        return f"--name {chain} --mask {MASKS[self.node.family]} --rsource"

    def _endpoint(self, target: Target, chain: str) -> Rules:
        note = "" if self.brief else comment(self.name) + " "
        recent = f"-m recent --set {self._recent(chain)} " if self.port.affinity_seconds else ""
        return (
            # one that reaches itself must not see its own address
            f"{place('-s', target.address)}{note}-j {MARK_MASQ}",
            f"-p {self.protocol} {note}{recent}-m {self.protocol} -j DNAT --to-destination {target}",
        )

    def _external(self) -> Iterator[str]:
        """Policy Local binds only who comes from outside: pods and the node go as if by a detour."""
        what = f"{self.name} external destinations"
        if not self.is_local:
            yield f"{comment(f'masquerade traffic for {what}')} -j {MARK_MASQ}"
            yield f"-j {self.svc}"
            return
        if traffic := self.node.pod_traffic:
            source, interface = from_pods(traffic)
            yield f"{source}{interface}{comment(f'pod traffic for {what}')} -j {self.svc}"
        here = "-m addrtype --src-type LOCAL"
        yield f"{comment(f'masquerade LOCAL traffic for {what}')} {here} -j {MARK_MASQ}"
        yield f"{comment(f'route LOCAL traffic for {what}')} {here} -j {self.svc}"
        if self.takes_external:
            yield f"-j {self.svl}"

    def _is_guarded(self) -> bool:
        return self.has_endpoints and bool(self.balancers) and bool(self.ranges)

    def _guard(self) -> Iterator[str]:
        """Who may come in by a load balancer's address. The node itself comes with that address as sender."""
        note = comment(f"{self.name} loadbalancer IP")
        sources = [place("-s", network) for network in self.ranges]
        yield from (f"{source}{note} -j {self.ext}" for source in dict.fromkeys(sources))
        yield comment(f"other traffic to {self.name} will be dropped by KUBE-PROXY-FIREWALL")

    # -- lines in the shared chains ------------------------------------------------------------------------------------

    def _lines(self, health_port: int) -> Iterator[tuple[ChainKey, str]]:
        if self.port.cluster_ip:
            yield self._internal_line(*self.port.cluster_ip)
        for frontend, rule in self.port.external:
            if frontend.address is not None:
                yield from self._address_lines(frontend, rule)
            else:
                yield from self._node_port_lines(frontend)
        if health_port:
            note = comment(f"{self.name} health check node port")
            yield ChainKey(FILTER, NODEPORTS), f"-p tcp {note} -m tcp --dport {health_port} -j ACCEPT"

    def _internal_line(self, frontend: Frontend, rule: Rule) -> tuple[ChainKey, str]:
        if chain := self._internal_chain():
            return ChainKey(NAT, SERVICES), f"{self._match(f'{self.name} cluster IP', frontend)} -j {chain}"
        return ChainKey(FILTER, SERVICES), self._refusal(frontend)

    def _refusal(self, frontend: Frontend, addrtype: str = "") -> str:
        """No endpoint at all: refused; none that may be used from here: no answer."""
        if self.has_endpoints:
            return f"{self._match(f'{self.name} has no local endpoints', frontend, addrtype=addrtype)} -j DROP"
        match = self._match(f"{self.name} has no endpoints", frontend, addrtype=addrtype)
        return f"{match} -j REJECT --reject-with {REJECT[self.node.family]}"

    def _address_lines(self, frontend: Frontend, rule: Rule) -> Iterator[tuple[ChainKey, str]]:
        guarded = rule.kind is FrontendKind.LOAD_BALANCER_IP and self._is_guarded()
        if self.has_endpoints:
            match = self._match(f"{self.name} {WORDS[rule.kind]}", frontend)
            yield ChainKey(NAT, SERVICES), f"{match} -j {self.fw if guarded else self.ext}"
        if guarded:
            match = self._match(f"{self.name} traffic not accepted by {self.fw}", frontend)
            yield ChainKey(FILTER, PROXY_FIREWALL), f"{match} -j DROP"
        if not self.takes_external:
            yield ChainKey(FILTER, EXTERNAL_SERVICES), self._refusal(frontend)

    def _node_port_lines(self, frontend: Frontend) -> Iterator[tuple[ChainKey, str]]:
        if self.has_endpoints:
            match = self._match(self.name, frontend)
            if self.node.localhost_node_ports and LOCALHOST_COUNTER in self.options.counters:
                yield ChainKey(NAT, NODEPORTS), f"-d {LOCALNET} {match} {counted(LOCALHOST_COUNTER)} -j {self.ext}"
            yield ChainKey(NAT, NODEPORTS), f"{match} -j {self.ext}"
        if not self.takes_external:
            refusal = self._refusal(frontend, "-m addrtype --dst-type LOCAL ")
            yield ChainKey(FILTER, EXTERNAL_SERVICES), refusal


def from_pods(traffic: PodTraffic) -> tuple[str, str]:
    """The matches of pods' traffic: by source, by interface."""
    if traffic.network is not None:
        return place("-s", traffic.network), ""
    return "", f"-i {traffic.interface.replace('*', '+')} "


def not_from(traffic: PodTraffic) -> tuple[str, str]:
    source, interface = from_pods(traffic)
    return (f"! {source}" if source else "", f"! {interface}" if interface else "")


@cache
def chance(count: int) -> str:
    """The match that takes one packet of `count`. Upstream writes ten digits, the kernel keeps 31 bits of them."""
    if count == 1:
        return ""
    kept = int(float(f"{1 / count:.10f}") * 0x80000000 + 0.5)
    return f"-m statistic --mode random --probability {kept / 0x80000000:.11f} "
