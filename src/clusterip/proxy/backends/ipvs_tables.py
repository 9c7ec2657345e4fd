"""The fixed side of ipvs mode: 17 ip sets, the chains that ask them, and the jumps into the chains.

Stage: compile.  In: the node, which sets have entries.  Out: keys of sets, chains and jumps.
Rules: pure; texts are as iptables-save prints them.  Names, types, comments and the order of rules are kube-proxy's:
a rule about an empty set is left out where kube-proxy leaves it out.  Two kinds are ours, see OWN RULE.
Truth: kube-proxy 1.36, pkg/proxy/ipvs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from clusterip.kernel import iptables
from clusterip.kernel.ipset import (
    BITMAP_PORT,
    HASH_IP,
    HASH_IP_PORT,
    HASH_IP_PORT_IP,
    HASH_IP_PORT_NET,
    PROTOCOLS,
    SetKey,
    SetSpec,
)
from clusterip.kernel.iptables import FIRST, ChainKey, JumpKey
from clusterip.proxy.backends.ipvs_state import Key, Value
from clusterip.proxy.model import Family, Node, PodTraffic

DEVICE = "kube-ipvs0"
NAME_BYTES = 31

LOOP_BACK = "KUBE-LOOP-BACK"
CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
NODE_PORT = {"tcp": "KUBE-NODE-PORT-TCP", "udp": "KUBE-NODE-PORT-UDP", "sctp": "KUBE-NODE-PORT-SCTP-HASH"}
NODE_PORT_LOCAL = {
    "tcp": "KUBE-NODE-PORT-LOCAL-TCP",
    "udp": "KUBE-NODE-PORT-LOCAL-UDP",
    "sctp": "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
}
HEALTH_CHECK = "KUBE-HEALTH-CHECK-NODE-PORT"
IPVS_IPS = "KUBE-IPVS-IPS"


class SetInfo(NamedTuple):
    """A set's type, and the comment of the rules that ask it."""

    type: str
    comment: str = ""


SETS: Mapping[str, SetInfo] = {
    LOOP_BACK: SetInfo(HASH_IP_PORT_IP, "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"),
    CLUSTER_IP: SetInfo(HASH_IP_PORT, "Kubernetes service cluster ip + port for masquerade purpose"),
    EXTERNAL_IP: SetInfo(HASH_IP_PORT, "Kubernetes service external ip + port for masquerade and filter purpose"),
    EXTERNAL_IP_LOCAL: SetInfo(HASH_IP_PORT, "Kubernetes service external ip + port with externalTrafficPolicy=local"),
    LOAD_BALANCER: SetInfo(HASH_IP_PORT, "Kubernetes service lb portal"),
    LOAD_BALANCER_FW: SetInfo(
        HASH_IP_PORT, "Kubernetes service load balancer ip + port for load balancer with sourceRange"
    ),
    LOAD_BALANCER_LOCAL: SetInfo(
        HASH_IP_PORT, "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"
    ),
    SOURCE_IP: SetInfo(
        HASH_IP_PORT_IP, "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
    ),
    SOURCE_CIDR: SetInfo(
        HASH_IP_PORT_NET, "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
    ),
    NODE_PORT["tcp"]: SetInfo(BITMAP_PORT, "Kubernetes nodeport TCP port for masquerade purpose"),
    NODE_PORT_LOCAL["tcp"]: SetInfo(BITMAP_PORT, "Kubernetes nodeport TCP port with externalTrafficPolicy=local"),
    NODE_PORT["udp"]: SetInfo(BITMAP_PORT, "Kubernetes nodeport UDP port for masquerade purpose"),
    NODE_PORT_LOCAL["udp"]: SetInfo(BITMAP_PORT, "Kubernetes nodeport UDP port with externalTrafficPolicy=local"),
    NODE_PORT["sctp"]: SetInfo(
        HASH_IP_PORT, "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"
    ),
    NODE_PORT_LOCAL["sctp"]: SetInfo(
        HASH_IP_PORT, "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"
    ),
    HEALTH_CHECK: SetInfo(BITMAP_PORT, "Kubernetes health check node port"),
    IPVS_IPS: SetInfo(HASH_IP),
}


@dataclass(frozen=True, slots=True)
class Asking:
    """A rule about one set, left out while the set is empty."""

    set: str
    table: str
    chain: str
    directions: str
    target: str
    protocol: str = ""


ASKING = (
    Asking(LOOP_BACK, "nat", "KUBE-POSTROUTING", "dst,dst,src", "MASQUERADE"),
    Asking(LOAD_BALANCER, "nat", "KUBE-SERVICES", "dst,dst", "KUBE-LOAD-BALANCER"),
    Asking(LOAD_BALANCER_LOCAL, "nat", "KUBE-LOAD-BALANCER", "dst,dst", "RETURN"),
    Asking(NODE_PORT_LOCAL["tcp"], "nat", "KUBE-NODE-PORT", "dst", "RETURN", "tcp"),
    Asking(NODE_PORT["tcp"], "nat", "KUBE-NODE-PORT", "dst", "KUBE-MARK-MASQ", "tcp"),
    Asking(NODE_PORT_LOCAL["udp"], "nat", "KUBE-NODE-PORT", "dst", "RETURN", "udp"),
    Asking(NODE_PORT["udp"], "nat", "KUBE-NODE-PORT", "dst", "KUBE-MARK-MASQ", "udp"),
    Asking(NODE_PORT_LOCAL["sctp"], "nat", "KUBE-NODE-PORT", "dst,dst", "RETURN", "sctp"),
    Asking(NODE_PORT["sctp"], "nat", "KUBE-NODE-PORT", "dst,dst", "KUBE-MARK-MASQ", "sctp"),
    Asking(LOAD_BALANCER_FW, "filter", "KUBE-PROXY-FIREWALL", "dst,dst", "KUBE-SOURCE-RANGES-FIREWALL"),
    Asking(SOURCE_CIDR, "filter", "KUBE-SOURCE-RANGES-FIREWALL", "dst,dst,src", "RETURN"),
    Asking(SOURCE_IP, "filter", "KUBE-SOURCE-RANGES-FIREWALL", "dst,dst,src", "RETURN"),
)
ALLOWED = (
    (LOAD_BALANCER, "dst,dst"),
    (CLUSTER_IP, "dst,dst"),
    (EXTERNAL_IP, "dst,dst"),
    (EXTERNAL_IP_LOCAL, "dst,dst"),
    (HEALTH_CHECK, "dst"),
)
CHAINS = (
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-POSTROUTING"),
    ("nat", "KUBE-NODE-PORT"),
    ("nat", "KUBE-LOAD-BALANCER"),
    ("nat", "KUBE-MARK-MASQ"),
    ("filter", "KUBE-FORWARD"),
    ("filter", "KUBE-NODE-PORT"),
    ("filter", "KUBE-PROXY-FIREWALL"),
    ("filter", "KUBE-SOURCE-RANGES-FIREWALL"),
    ("filter", "KUBE-IPVS-FILTER"),
    ("filter", "KUBE-IPVS-OUT-FILTER"),
)
JUMPS = (  # in each built-in chain as kube-proxy leaves them: the one that it puts last stands first
    ("nat", "OUTPUT", "KUBE-SERVICES", "kubernetes service portals"),
    ("nat", "PREROUTING", "KUBE-SERVICES", "kubernetes service portals"),
    ("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
    ("filter", "FORWARD", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
    ("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
    ("filter", "INPUT", "KUBE-IPVS-FILTER", "kubernetes ipvs access filter"),
    ("filter", "INPUT", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
    ("filter", "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules"),
    ("filter", "OUTPUT", "KUBE-IPVS-OUT-FILTER", "kubernetes ipvs access filter"),
)


class Portal(NamedTuple):
    """An address, protocol and port."""

    address: str
    protocol: str
    port: int


def owns(table: str, chain: str) -> bool:
    """Whether a chain is of this mode."""
    return (table, chain) in CHAINS


def is_translating(chains: Mapping[iptables.Key, iptables.Value]) -> bool:
    """Whether these are chains as iptables mode left them."""
    lines = chains.get(ChainKey("nat", "KUBE-SERVICES"))
    return isinstance(lines, tuple) and any(line.endswith("-j KUBE-NODEPORTS") for line in lines)


def set_name(name: str, family: Family) -> str:
    """A set's name in a family: IPv6 has twins, cut at what the kernel takes."""
    return name if family is Family.IPV4 else name.replace("KUBE-", "KUBE-6-", 1)[:NAME_BYTES]


def set_names(family: Family) -> tuple[str, ...]:
    return tuple(set_name(name, family) for name in SETS)


def set_specs(family: Family) -> dict[Key, Value]:
    """The sets by key."""
    return {SetKey(set_name(name, family)): _spec(info.type, family) for name, info in SETS.items()}


def _spec(kind: str, family: Family) -> SetSpec:
    return SetSpec(kind, 4 if kind == BITMAP_PORT else int(family))


def jumps() -> dict[Key, Value]:
    return {
        JumpKey(table, built_in, f'-m comment --comment "{comment}" -j {chain}'): FIRST
        for table, built_in, chain, comment in JUMPS
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the chains depend on: the node, the mark, sets that have entries, portals closed to the node itself."""

    node: Node
    mark: int
    filled: frozenset[str]
    closed: tuple[Portal, ...] = ()


def chains(wanted: Wanted) -> dict[Key, Value]:
    """Every chain's rules."""
    found: dict[tuple[str, str], list[str]] = {chain: [] for chain in CHAINS}
    writer = _Writer(wanted, found)
    writer.services()
    writer.filter()
    writer.masquerading()
    return {ChainKey(*chain): tuple(rules) for chain, rules in found.items()}


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the rules in kube-proxy's order."""

    wanted: Wanted
    found: Mapping[tuple[str, str], list[str]]

    @property
    def family(self) -> Family:
        return self.wanted.node.family

    def _has(self, name: str) -> bool:
        return name in self.wanted.filled

    def _add(self, table: str, chain: str, *words: str) -> None:
        self.found[table, chain].append(" ".join(word for word in words if word))

    def _match(self, name: str, directions: str, *, comment: bool = True) -> str:
        text = SETS[name].comment
        head = f'-m comment --comment "{text}" ' if comment and text else ""
        return f"{head}-m set --match-set {set_name(name, self.family)} {directions}"

    # -- nat: who is to be hidden --------------------------------------------------------------------------------------

    def services(self) -> None:
        self._add("nat", "KUBE-SERVICES", f"-s {self.family.loopback} -j RETURN")
        self._own_traffic_to_local()
        for asking in ASKING:
            if self._has(asking.set):
                protocol = f"-p {asking.protocol}" if asking.protocol else ""
                match = self._match(asking.set, asking.directions)
                self._add(asking.table, asking.chain, protocol, match, f"-j {asking.target}")
        self._cluster_ips()
        self._external_ips()
        self._add("nat", "KUBE-SERVICES", "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT")
        self._add("nat", "KUBE-LOAD-BALANCER", "-j KUBE-MARK-MASQ")
        for name in (CLUSTER_IP, LOAD_BALANCER):
            if self._has(name):
                self._add("nat", "KUBE-SERVICES", self._match(name, "dst,dst", comment=False), "-j ACCEPT")

    def _own_traffic_to_local(self) -> None:
        """OWN RULE: the node itself sends from the address that it sends to, which another node could not answer."""
        for name in (LOAD_BALANCER_LOCAL, EXTERNAL_IP_LOCAL):
            if self._has(name):
                match = self._match(name, "dst,dst", comment=False)
                self._add("nat", "KUBE-SERVICES", match, "-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ")

    def _cluster_ips(self) -> None:
        if not self._has(CLUSTER_IP):
            return
        pods = self.wanted.node.pod_traffic
        if self.wanted.node.masquerade_all:
            self._add("nat", "KUBE-SERVICES", self._match(CLUSTER_IP, "dst,dst"), "-j KUBE-MARK-MASQ")
        elif pods is not None:
            outside = not_from(pods)
            self._add("nat", "KUBE-SERVICES", outside, self._match(CLUSTER_IP, "dst,dst"), "-j KUBE-MARK-MASQ")
        else:
            self._add("nat", "KUBE-SERVICES", self._match(CLUSTER_IP, "src,dst"), "-j KUBE-MARK-MASQ")

    def _external_ips(self) -> None:
        for name in (EXTERNAL_IP, EXTERNAL_IP_LOCAL):
            if not self._has(name):
                continue
            match = self._match(name, "dst,dst")
            if name == EXTERNAL_IP:
                self._add("nat", "KUBE-SERVICES", match, "-j KUBE-MARK-MASQ")
            outside = "-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL"
            self._add("nat", "KUBE-SERVICES", match, outside, "-j ACCEPT")
            self._add("nat", "KUBE-SERVICES", match, "-m addrtype --dst-type LOCAL -j ACCEPT")

    # -- filter: what may come in --------------------------------------------------------------------------------------

    def filter(self) -> None:
        mark = f"0x{self.wanted.mark:x}"
        self._add("filter", "KUBE-SOURCE-RANGES-FIREWALL", "-j DROP")
        for portal in self.wanted.closed:
            self._add("filter", "KUBE-IPVS-OUT-FILTER", self._closed(portal))
        forwarding = f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {mark}/{mark} -j ACCEPT'
        self._add("filter", "KUBE-FORWARD", forwarding)
        tracked = '-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate'
        self._add("filter", "KUBE-FORWARD", f"{tracked} RELATED,ESTABLISHED -j ACCEPT")
        self._add("filter", "KUBE-NODE-PORT", self._match(HEALTH_CHECK, "dst"), "-j ACCEPT")
        self._addresses()

    def _addresses(self) -> None:
        """What is sent to an address of a Service and to no port of one would reach the node's own programs."""
        unreachable = "icmp-port-unreachable" if self.family is Family.IPV4 else "icmp6-port-unreachable"
        reject = f"-j REJECT --reject-with {unreachable}"
        for name, directions in ALLOWED:
            self._add("filter", "KUBE-IPVS-FILTER", self._match(name, directions, comment=False), "-j RETURN")
        new = self._match(IPVS_IPS, "dst", comment=False)
        self._add("filter", "KUBE-IPVS-FILTER", "-m conntrack --ctstate NEW", new, reject)

    @staticmethod
    def _closed(portal: Portal) -> str:
        """Source ranges are asked of what comes in; this is for what the node sends itself.

        OWN RULE: whatever address of its own it sends from; kube-proxy means only the one that it sends to.
        """
        number = PROTOCOLS[portal.protocol]
        virtual = f"-m ipvs --vproto {number} --vaddr {portal.address} --vport {portal.port}"
        return f"-m addrtype --src-type LOCAL {virtual} -j DROP"

    # -- nat: hiding ---------------------------------------------------------------------------------------------------

    def masquerading(self) -> None:
        mark = f"0x{self.wanted.mark:x}"
        self._add("nat", "KUBE-POSTROUTING", f"-m mark ! --mark {mark}/{mark} -j RETURN")
        self._add("nat", "KUBE-POSTROUTING", f"-j MARK --set-xmark {mark}/0x0")
        snat = '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully'
        self._add("nat", "KUBE-POSTROUTING", snat)
        self._add("nat", "KUBE-MARK-MASQ", f"-j MARK --set-xmark {mark}/{mark}")


def not_from(pods: PodTraffic) -> str:
    """A match of what does not come from a pod."""
    if pods.network is not None:
        return f"! -s {pods.network}"
    return f"! -i {pods.interface.replace('*', '+')}"
