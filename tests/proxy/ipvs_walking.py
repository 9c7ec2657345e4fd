"""Sends a packet through compiled ipvs state, as netfilter and IPVS would, and says the verdict in the plan's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from clusterip.kernel.ipset import EntryKey, SetKey, SetSpec
from clusterip.kernel.iptables import ChainKey, JumpKey
from clusterip.kernel.iptables_listing import target, words
from clusterip.kernel.ipvs import RealKey, RealServer, VirtualKey
from clusterip.proxy.backends import ipvs_tables as tables
from clusterip.proxy.backends.ipvs_compile import Compiler
from clusterip.proxy.backends.ipvs_state import Kinds
from clusterip.proxy.model import Drop, Plan, Reject
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict

MARK = 1 << 14


def state_of(plan: Plan, scheduler: str = "rr") -> Kinds:
    parts = Compiler(MARK, scheduler).compile(plan).parts
    return Kinds.of({key: value for part in parts.values() for key, value in part.items()})


@dataclass(frozen=True)
class Sent:
    """A packet on its way."""

    source: str
    destination: str
    protocol: str
    port: int
    interface: str
    is_marked: bool = False
    virtual: VirtualKey | None = None  # the virtual server that it was sent to before IPVS translated it


class Walk:
    """One state, and the addresses that are the node's."""

    def __init__(self, state: Kinds, plan: Plan) -> None:
        self._chains: Mapping[ChainKey, tuple[str, ...]] = {
            key: value for key, value in state.chains.items() if isinstance(key, ChainKey) and isinstance(value, tuple)
        }
        self._jumps = [key for key in state.chains if isinstance(key, JumpKey)]
        self._specs = {
            key.name: value
            for key, value in state.sets.items()
            if isinstance(key, SetKey) and isinstance(value, SetSpec)
        }
        self._entries: dict[str, set[str]] = {name: set() for name in self._specs}
        for entry in state.sets:
            if isinstance(entry, EntryKey):
                self._entries[entry.set].add(entry.entry)
        self._servers = state.servers
        self._own = {str(address) for address in plan.node.addresses}
        self._local = self._own | {key.address for key in state.addresses}

    def verdict(self, packet: Packet) -> Verdict:
        sent = Sent(str(packet.source), str(packet.destination), packet.protocol, packet.port, packet.interface)
        hook = "PREROUTING" if sent.interface else "OUTPUT"
        _, sent = self._hook("nat", hook, sent)
        return self._received(sent) if sent.interface else self._made_here(sent)

    def _received(self, sent: Sent) -> Verdict:
        if not self._is_local(sent.destination):
            return Ignore()
        if refused := self._filtered("INPUT", sent):
            return refused
        return self._balanced(sent) or Ignore()

    def _made_here(self, sent: Sent) -> Verdict:
        return self._balanced(sent) or (self._received(sent) if self._is_local(sent.destination) else Ignore())

    def _filtered(self, hook: str, sent: Sent) -> Verdict | None:
        fate, _ = self._hook("filter", hook, sent)
        return {"DROP": Drop(), "REJECT": Reject()}.get(fate)

    def _balanced(self, sent: Sent) -> Verdict | None:
        """What IPVS does; None when no virtual server is there."""
        virtual = VirtualKey(sent.protocol, sent.destination, sent.port)
        if virtual not in self._servers:
            return None
        reals = [key for key, value in self._servers.items() if _takes(key, value, virtual)]
        fates = [self._delivered(replace(sent, destination=k.address, port=k.port, virtual=virtual)) for k in reals]
        if not fates:
            return Reject()
        if not all(isinstance(fate, Deliver) for fate in fates):
            return fates[0]
        return Deliver(frozenset(way for fate in fates if isinstance(fate, Deliver) for way in fate.ways))

    def _delivered(self, sent: Sent) -> Verdict:
        if not sent.interface and (refused := self._filtered("OUTPUT", sent)):
            return refused
        masqueraded = False
        if not (sent.interface and sent.destination in self._own):  # else it never leaves
            fate, _ = self._hook("nat", "POSTROUTING", sent)
            masqueraded = fate == "MASQUERADE"
        return Deliver(frozenset({Delivery(ip_address(sent.destination), sent.port, masqueraded)}))

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _hook(self, table: str, hook: str, sent: Sent) -> tuple[str, Sent]:
        for jump in self._jumps:
            if (jump.table, jump.chain) == (table, hook):
                fate, sent = self._chain(table, target(jump.rule), sent)
                if fate:
                    return fate, sent
        return "", sent

    def _chain(self, table: str, chain: str, sent: Sent) -> tuple[str, Sent]:
        for rule in self._chains[ChainKey(table, chain)]:
            if not self._matches(words(rule), sent):
                continue
            goal = target(rule)
            if goal == "RETURN":
                return "", sent
            if goal == "MARK":
                sent = replace(sent, is_marked=rule.endswith(f"{MARK:#x}/{MARK:#x}"))
            elif goal.startswith("KUBE-"):
                fate, sent = self._chain(table, goal, sent)
                if fate:
                    return fate, sent
            else:
                return goal, sent
        return "", sent

    def _matches(self, rule: list[str], sent: Sent) -> bool:
        return all(fits != negated for negated, fits in self._tests(rule, sent))

    def _tests(self, rule: list[str], sent: Sent) -> Iterator[tuple[bool, bool]]:
        """Each match of a rule: whether it is negated, and whether the packet has it."""
        left, negated = iter(rule[: rule.index("-j")]), False
        for word in left:
            if word == "!":
                negated = True
                continue
            if word in ("-m", "--comment", "--vaddr", "--vport"):
                next(left)
                continue
            if word == "--match-set":
                fits = self._in_set(next(left), next(left), sent)
            elif word == "--physdev-is-in":
                fits = False
            else:
                fits = self._has(word, next(left), rule, sent)
            yield negated, fits
            negated = False

    def _has(self, word: str, value: str, rule: list[str], sent: Sent) -> bool:
        match word:
            case "-s":
                return ip_address(sent.source) in ip_network(value)
            case "-i":
                prefix = value.endswith("+")
                return (
                    sent.interface.startswith(value[:-1]) and bool(sent.interface)
                    if prefix
                    else sent.interface == value
                )
            case "-p":
                return sent.protocol == value
            case "--mark":
                return sent.is_marked
            case "--ctstate":
                return "NEW" in value
            case "--dst-type":
                return self._is_local(sent.destination)
            case "--src-type":
                return self._is_local(sent.source)
            case "--vproto":
                place = rule[rule.index("--vaddr") + 1], int(rule[rule.index("--vport") + 1])
                return sent.virtual is not None and (sent.virtual.address, sent.virtual.port) == place
        raise AssertionError(word)

    def _is_local(self, address: str) -> bool:
        return address in self._local or ip_address(address).is_loopback

    def _in_set(self, name: str, directions: str, sent: Sent) -> bool:
        entries, kind = self._entries[name], self._specs[name].type
        sides = {"src": sent.source, "dst": sent.destination}
        first, *others = directions.split(",")
        service = f"{sides[first]},{sent.protocol}:{sent.port}"
        if kind == tables.BITMAP_PORT:
            return sent.protocol in ("tcp", "udp") and str(sent.port) in entries
        if kind == tables.HASH_IP:
            return sides[first] in entries
        if kind == tables.HASH_IP_PORT:
            return service in entries
        if kind == tables.HASH_IP_PORT_IP:
            return f"{service},{sides[others[-1]]}" in entries
        networks = (ip_network(entry.split(",")[2]) for entry in entries if entry.startswith(f"{service},"))
        return any(ip_address(sides[others[-1]]) in network for network in networks)


def _takes(key: object, value: object, virtual: VirtualKey) -> bool:
    return isinstance(key, RealKey) and key.virtual == virtual and isinstance(value, RealServer) and value.weight > 0
