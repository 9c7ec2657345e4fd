"""The chains that do not depend on a Service: names, jumps, marks, the tail of KUBE-SERVICES.

Stage: compile.  In: Node, options.  Out: chains and jumps as values; names by recipe; the words of rules.
Rules: pure; every rule stands exactly as iptables-save prints it, so that what is read compares equal.
Truth: kubernetes/kubernetes pkg/proxy/iptables (1.36), chain by chain.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from clusterip.kernel.iptables import FIRST, ChainKey, JumpKey, Key, Rules, Value
from clusterip.kernel.iptables_listing import target
from clusterip.proxy.model import Family, IPAddress, IPNetwork, Node

MANGLE, FILTER, NAT = "mangle", "filter", "nat"
SERVICES, EXTERNAL_SERVICES, NODEPORTS = "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"
POSTROUTING, MARK_MASQ = "KUBE-POSTROUTING", "KUBE-MARK-MASQ"
FORWARD, FIREWALL, PROXY_FIREWALL = "KUBE-FORWARD", "KUBE-FIREWALL", "KUBE-PROXY-FIREWALL"
CANARY = "KUBE-PROXY-CANARY"
SVC, SVL, EXT, FW, SEP = "KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"

CANARIES = tuple(ChainKey(table, CANARY) for table in (MANGLE, NAT, FILTER))
# chains that Services share; each has its lines in them, sorted by owner
SHARED = (
    ChainKey(FILTER, SERVICES),
    ChainKey(FILTER, EXTERNAL_SERVICES),
    ChainKey(FILTER, NODEPORTS),
    ChainKey(FILTER, PROXY_FIREWALL),
    ChainKey(NAT, SERVICES),
    ChainKey(NAT, NODEPORTS),
)
FIXED = (ChainKey(FILTER, FORWARD), ChainKey(FILTER, FIREWALL), ChainKey(NAT, POSTROUTING), ChainKey(NAT, MARK_MASQ))
# KUBE-XLB- was KUBE-EXT- until 1.23
OF_SERVICES = (SVC, SVL, EXT, FW, SEP, "KUBE-XLB-")
NAMED = frozenset((*CANARIES, *SHARED, *FIXED))
OURS_ALONE = frozenset({ChainKey(FILTER, EXTERNAL_SERVICES), ChainKey(FILTER, SERVICES), ChainKey(NAT, NODEPORTS)})
# ipvs mode has one chain by which it is known, and some of the same names
OF_IPVS = ChainKey(FILTER, "KUBE-IPVS-FILTER")
ALSO_OF_IPVS = frozenset((*FIXED, ChainKey(FILTER, PROXY_FIREWALL), ChainKey(NAT, SERVICES))) - {FIXED[1]}

OUR_NAMES = re.compile("|".join([*OF_SERVICES, *sorted({f"{key.chain}\0" for key in NAMED})]).encode())

NEW = "-m conntrack --ctstate NEW "
PORTALS, EXTERNAL_PORTALS = "kubernetes service portals", "kubernetes externally-visible service portals"
LOAD_BALANCER_FIREWALL = "kubernetes load balancer firewall"
INVALID_COUNTER, LOCALHOST_COUNTER = "ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"
LOCALNET = "127.0.0.0/8"
LOOPBACK: Mapping[Family, IPAddress] = {Family.IPV4: IPv4Address("127.0.0.1"), Family.IPV6: IPv6Address("::1")}
TAIL = "~"  # sorts behind every Service


def comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def counted(name: str) -> str:
    """A match that counts in a named counter; two spaces, as iptables-save prints it."""
    return f"-m nfacct --nfacct-name  {name}"


# In the order in which they stand, the first on top.
JUMPS = (
    JumpKey(FILTER, "INPUT", f"-j {FIREWALL}"),
    JumpKey(FILTER, "INPUT", f"{NEW}{comment(LOAD_BALANCER_FIREWALL)} -j {PROXY_FIREWALL}"),
    JumpKey(FILTER, "INPUT", f"{comment('kubernetes health check service ports')} -j {NODEPORTS}"),
    JumpKey(FILTER, "INPUT", f"{NEW}{comment(EXTERNAL_PORTALS)} -j {EXTERNAL_SERVICES}"),
    JumpKey(FILTER, "FORWARD", f"{NEW}{comment(LOAD_BALANCER_FIREWALL)} -j {PROXY_FIREWALL}"),
    JumpKey(FILTER, "FORWARD", f"{comment('kubernetes forwarding rules')} -j {FORWARD}"),
    JumpKey(FILTER, "FORWARD", f"{NEW}{comment(PORTALS)} -j {SERVICES}"),
    JumpKey(FILTER, "FORWARD", f"{NEW}{comment(EXTERNAL_PORTALS)} -j {EXTERNAL_SERVICES}"),
    JumpKey(FILTER, "OUTPUT", f"-j {FIREWALL}"),
    JumpKey(FILTER, "OUTPUT", f"{NEW}{comment(LOAD_BALANCER_FIREWALL)} -j {PROXY_FIREWALL}"),
    JumpKey(FILTER, "OUTPUT", f"{NEW}{comment(PORTALS)} -j {SERVICES}"),
    JumpKey(NAT, "PREROUTING", f"{comment(PORTALS)} -j {SERVICES}"),
    JumpKey(NAT, "OUTPUT", f"{comment(PORTALS)} -j {SERVICES}"),
    JumpKey(NAT, "POSTROUTING", f"{comment('kubernetes postrouting rules')} -j {POSTROUTING}"),
)


class EntryKey(NamedTuple):
    """The lines that one owner, a service port or the tail, has in a shared chain."""

    table: str
    chain: str
    owner: str
    kind: str = "entry"


@dataclass(frozen=True, slots=True)
class Options:
    """What the rules depend on beside the plan: the configuration, and what the machine can do."""

    mark: int = 1 << 14
    random_fully: bool = True
    drops_invalid: bool = True
    counters: frozenset[str] = frozenset()


def chain_hash(text: str) -> str:
    """The hash in a chain's name."""
    return b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()


def is_ours(table: str, chain: str) -> bool:
    """Whether a chain is this mode's, whoever made it."""
    return (table, chain) in NAMED or (table == NAT and chain.startswith(OF_SERVICES))


def leads_to(key: Key) -> Key:
    """The chain itself, or the chain that a jump leads to."""
    return ChainKey(key.table, target(key.rule)) if isinstance(key, JumpKey) else key


def place(flag: str, where: IPAddress | IPNetwork | str) -> str:
    """A match of an address or a network; all addresses need none."""
    if isinstance(where, str):
        return f"{flag} {where} "
    text = str(where)
    if "/" not in text:
        text += "/32" if isinstance(where, IPv4Address) else "/128"
    return "" if text in ("0.0.0.0/0", "::/0") else f"{flag} {text} "


def fixed_part(node: Node, options: Options) -> dict[Key | EntryKey, Value]:
    """All that is there without any Service."""
    values: dict[Key | EntryKey, Value] = dict.fromkeys((*CANARIES, *SHARED), ())
    values.update(_rules(node, options).items())
    values[EntryKey(NAT, SERVICES, TAIL)] = tail(node)
    values |= dict.fromkeys(JUMPS, FIRST)
    return values


def _rules(node: Node, options: Options) -> Mapping[ChainKey, Rules]:
    mark = f"{options.mark:#x}"
    guards_loopback = node.family is Family.IPV4 and node.localhost_node_ports
    return {
        ChainKey(FILTER, FIREWALL): (_loopback_guard(),) if guards_loopback else (),
        ChainKey(FILTER, FORWARD): _forward(mark, options),
        ChainKey(NAT, POSTROUTING): (
            f"-m mark ! --mark {mark}/{mark} -j RETURN",
            f"-j MARK --set-xmark {mark}/0x0",  # else the packet is masqueraded again when it passes again
            f"{comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE"
            + (" --random-fully" if options.random_fully else ""),
        ),
        ChainKey(NAT, MARK_MASQ): (f"-j MARK --set-xmark {mark}/{mark}",),
    }


def _loopback_guard() -> str:
    """route_localnet lets neighbours send to 127.0.0.1 (CVE-2020-8558); only what was translated may."""
    return (
        f"! -s {LOCALNET} -d {LOCALNET} {comment('block incoming localnet connections')} "
        "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
    )


def _forward(mark: str, options: Options) -> Rules:
    """A stray packet of a translated connection would be reset by the client; marked ones pass a closed FORWARD."""
    rules = []
    if options.drops_invalid:
        match = f"{counted(INVALID_COUNTER)} " if INVALID_COUNTER in options.counters else ""
        rules.append(f"-m conntrack --ctstate INVALID {match}-j DROP")
    rules.append(f"{comment('kubernetes forwarding rules')} -m mark --mark {mark}/{mark} -j ACCEPT")
    known = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    rules.append(f"{comment('kubernetes forwarding conntrack rule')} {known}")
    return tuple(rules)


def tail(node: Node) -> Rules:
    """What leads to the node ports: by any local address, or by those that were chosen."""
    note = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    if node.node_port_addresses is not None:
        addresses = {*node.node_port_addresses, LOOPBACK[node.family]}
        taken = sorted(address for address in addresses if node.takes_node_ports(address))
        return tuple(f"{place('-d', address)}{note} -j {NODEPORTS}" for address in taken)
    match = ""
    if node.family is Family.IPV6:
        match = "! -d ::1/128 "
    elif not node.localhost_node_ports:
        match = f"! -d {LOCALNET} "
    return (f"{match}{note} -m addrtype --dst-type LOCAL -j {NODEPORTS}",)
