"""The iptables rules of mode userspace: what leads each frontend's clients to the relay, refuses or drops them.

Stage: compile.  In: the rules of a Service, the node.  Out: listeners of the relay, lines of a few flat chains.
Rules: pure; no policy: who is led where was decided by the plan.  The port of a listener is not known here, since the
kernel chooses it: a line names the listener, as `@default/web:http/tcp/cluster`, and the backend puts the port there.
Truth: kpng backends/userspacelin/proxier.go for chains and their order; the order of checks is decide's: source ranges
(mangle), then translation (nat), then what was not translated is refused or dropped (filter).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from clusterip.kernel import iptables
from clusterip.kernel.iptables import FIRST, LAST, ChainKey, JumpKey
from clusterip.proxy.model import (
    Drop,
    Forward,
    Frontend,
    Node,
    Outcome,
    PodTraffic,
    Rule,
    ServicePlan,
)
from clusterip.proxy.relay.table import PROTOCOLS, Listener, Place

PORTALS_CONTAINER = ChainKey("nat", "KUBE-PORTALS-CONTAINER")
PORTALS_HOST = ChainKey("nat", "KUBE-PORTALS-HOST")
NODEPORT_CONTAINER = ChainKey("nat", "KUBE-NODEPORT-CONTAINER")
NODEPORT_HOST = ChainKey("nat", "KUBE-NODEPORT-HOST")
PORTALS_FILTER = ChainKey("filter", "KUBE-PORTALS-FILTER")
NODEPORT_FILTER = ChainKey("filter", "KUBE-NODEPORT-FILTER")
PORTALS_FIREWALL = ChainKey("mangle", "KUBE-PORTALS-FIREWALL")
CHAINS = (
    PORTALS_CONTAINER,
    PORTALS_HOST,
    NODEPORT_CONTAINER,
    NODEPORT_HOST,
    PORTALS_FILTER,
    NODEPORT_FILTER,
    PORTALS_FIREWALL,
)
HANDLE_PORTALS = "handle ClusterIPs; NOTE: this must be before the NodePort rules"
HANDLE_NODE_PORTS = "handle service NodePorts; NOTE: this must be the last rule in the chain"
NEW = "-m conntrack --ctstate NEW"


class ListenerKey(NamedTuple):
    """A listener of the relay, by its name."""

    name: str


Key: TypeAlias = ListenerKey | ChainKey | JumpKey
Value: TypeAlias = Listener | iptables.Value


@dataclass(frozen=True, slots=True)
class Part:
    """What one Service needs: listeners, and lines of the shared chains."""

    listeners: Mapping[Key, Value]
    lines: Mapping[ChainKey, tuple[str, ...]]


def compile_service(service: ServicePlan, node: Node) -> Part:
    """All of one Service; nothing for protocols that the relay does not speak, or on a node without an address."""
    listeners: dict[ListenerKey, Listener] = {}
    lines: dict[ChainKey, list[str]] = {}
    for frontend, rule in service.rules.items():
        if frontend.protocol not in PROTOCOLS or not node.addresses:
            continue
        for chain, line in _Frontend(frontend, rule, node, listeners).lines():
            lines.setdefault(chain, []).append(line)
    for key, listener in listeners.items():
        if listener.protocol == "udp":
            lines.setdefault(PORTALS_FILTER, []).append(_guard(key, node))
    return Part(dict[Key, Value](listeners.items()), {chain: tuple(found) for chain, found in lines.items()})


def _guard(key: ListenerKey, node: Node) -> str:
    """Datagrams past the rules are refused here; of a TCP connection the relay itself knows where it was sent to."""
    match = f"-d {_host(node, str(node.addresses[0]))} -p udp -m udp --dport @{key.name} -m conntrack ! --ctstate DNAT"
    return f"{match} -j {_reject(node)}"


class _Frontend:
    """The lines of one frontend."""

    def __init__(self, frontend: Frontend, rule: Rule, node: Node, listeners: dict[ListenerKey, Listener]) -> None:
        self.frontend, self.rule, self.node, self.listeners = frontend, rule, node, listeners

    def lines(self) -> Iterator[tuple[ChainKey, str]]:
        rule, is_node_port = self.rule, self.frontend.address is None
        container = NODEPORT_CONTAINER if is_node_port else PORTALS_CONTAINER
        host = NODEPORT_HOST if is_node_port else PORTALS_HOST
        traffic = self.node.pod_traffic
        for line in self._translations(traffic, rule.from_others):
            yield container, line
        for line in self._translations(traffic if traffic and traffic.network else None, rule.from_node):
            yield host, line
        refused = [found for found in (rule.from_others, rule.from_node, rule.from_pods) if _is_refusal(found)]
        if refused:
            verdict = "DROP" if isinstance(refused[0], Drop) else _reject(self.node)
            yield NODEPORT_FILTER if is_node_port else PORTALS_FILTER, self._line("", "", verdict)
        for line in self._firewall():
            yield PORTALS_FIREWALL, line

    def _translations(self, traffic: PodTraffic | None, others: Outcome) -> Iterator[str]:
        """Pods first where they are led elsewhere than the others."""
        pods = self._way(self.rule.from_pods) if traffic else ""
        rest = self._way(others)
        if traffic and pods != rest:
            yield self._line(*_pods(traffic), pods or "RETURN")
        if rest:
            yield self._line("", "", rest)

    def _way(self, outcome: Outcome) -> str:
        """The target that leads to the listener with the outcome's endpoints; nothing where there are none."""
        if not isinstance(outcome, Forward):
            return ""
        name = self.rule.name
        group = f"{name}/{name.protocol}"
        key = ListenerKey(f"{group}/{outcome.scope.value}")
        if key not in self.listeners:
            targets = tuple(Place(str(target.address), target.port) for target in outcome.targets)
            self.listeners[key] = Listener(
                group, name.protocol, str(self.node.addresses[0]), targets, self.rule.affinity_seconds
            )
        return f"DNAT --to-destination @{key.name}"

    def _firewall(self) -> Iterator[str]:
        """Source ranges let through what they hold; everybody else is dropped."""
        ranges = self.rule.source_ranges
        if not ranges:
            return
        yield from (self._line(f"-s {network} ", "", "RETURN") for network in ranges)
        yield self._line("", "", "DROP")

    def _line(self, source: str, interface: str, target: str) -> str:
        address, protocol, port = self.frontend
        to = f"-d {_host(self.node, str(address))} " if address else ""
        return (
            f'{source}{to}{interface}-p {protocol} -m comment --comment "{self.rule.name}" '
            f"-m {protocol} --dport {port} -j {target}"
        )


def _is_refusal(outcome: Outcome) -> bool:
    return not isinstance(outcome, Forward)


def _pods(traffic: PodTraffic) -> tuple[str, str]:
    """The matches for what pods send: by source, or by interface."""
    if traffic.network is not None:
        return f"-s {traffic.network} ", ""
    return "", f"-i {traffic.interface.removesuffix('*') + '+' * traffic.interface.endswith('*')} "


def _host(node: Node, address: str) -> str:
    return f"{address}/{node.family.bits}"


def _reject(node: Node) -> str:
    return f"REJECT --reject-with {'icmp' if node.family == 4 else 'icmp6'}-port-unreachable"


def jumps(node: Node) -> dict[Key, Value]:
    """The ways into the chains; into those of node ports only for addresses that take node ports."""
    first = [
        ("nat", "PREROUTING", f'-m comment --comment "{HANDLE_PORTALS}"', PORTALS_CONTAINER),
        ("nat", "OUTPUT", f'-m comment --comment "{HANDLE_PORTALS}"', PORTALS_HOST),
        ("mangle", "PREROUTING", NEW, PORTALS_FIREWALL),
        ("mangle", "OUTPUT", NEW, PORTALS_FIREWALL),
        *(("filter", hook, NEW, PORTALS_FILTER) for hook in ("INPUT", "FORWARD", "OUTPUT")),
    ]
    found: dict[Key, Value] = {
        JumpKey(table, hook, f"{match} -j {chain.chain}"): FIRST for table, hook, match, chain in first
    }
    comment = f'-m comment --comment "{HANDLE_NODE_PORTS}"'
    for match in node_port_matches(node):
        for hook, chain in (("PREROUTING", NODEPORT_CONTAINER), ("OUTPUT", NODEPORT_HOST)):
            found[JumpKey("nat", hook, f"{match} {comment} -j {chain.chain}")] = LAST
        found[JumpKey("filter", "INPUT", f"{match} {NEW} -j {NODEPORT_FILTER.chain}")] = LAST
    return found


def node_port_matches(node: Node) -> list[str]:
    """What a packet to a node port is sent to."""
    loopback, local = node.family.loopback, "-m addrtype --dst-type LOCAL"
    if node.node_port_addresses is None:
        return [local if node.localhost_node_ports else f"! -d {loopback} {local}"]
    addresses = sorted(str(address) for address in node.node_port_addresses if address not in loopback)
    return [f"-d {_host(node, address)}" for address in addresses] + [f"-d {loopback}"] * node.localhost_node_ports


def owns(table: str, chain: str) -> bool:
    """Whether a chain is one of this mode."""
    return ChainKey(table, chain) in CHAINS
