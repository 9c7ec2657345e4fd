"""What iptables rules do with a packet: the second reader of rules, beside the program.

Stage: none; meaning.  In: the rules of tables as text, a packet.  Out: every ending that it can have.
Rules: pure; random choices are all taken; first packets of connections only (a later one follows its conntrack entry).
Truth: iptables(8), iptables-extensions(8); netfilter's order of hooks, in each of them mangle, nat for destinations,
filter, nat for senders.  A packet that the node sends to itself comes in again, already translated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network

from clusterip.kernel.first_packet import Accepted, Address, End, Ending, Fate, Packet, Pick, every_ending
from clusterip.kernel.iptables_listing import words

Chains = Mapping[tuple[str, str], Sequence[str]]


def endings(
    chains: Chains,
    packet: Packet,
    local: Collection[Address],
    remembered: Mapping[str, Collection[Address]] | None = None,
) -> set[Ending]:
    """Every ending under every random choice. `remembered` are the senders in each list of `recent`."""
    return every_ending(lambda pick: _Walk(chains, packet, local, remembered or {}, pick).ending())


@dataclass
class _Walk:
    chains: Chains
    packet: Packet
    local: Collection[Address]
    remembered: Mapping[str, Collection[Address]]
    pick: Pick

    def ending(self) -> Ending:
        try:
            for table, hook in self._hooks():
                self._run_hook(table, hook)
        except End as end:
            return Ending(end.fate, self.packet)
        return Ending(Fate.PASSED, self.packet)

    def _hooks(self) -> Iterator[tuple[str, str]]:
        if self.packet.interface:
            yield from (("mangle", "PREROUTING"), ("nat", "PREROUTING"))
        else:
            yield from (("mangle", "OUTPUT"), ("nat", "OUTPUT"), ("filter", "OUTPUT"))
        stays = self._is_local(self.packet.destination)
        if self.packet.interface and not stays:
            yield from (("mangle", "FORWARD"), ("filter", "FORWARD"))
        if not (self.packet.interface and stays):
            yield from (("mangle", "POSTROUTING"), ("nat", "POSTROUTING"))
        if stays:
            yield from (("mangle", "INPUT"), ("filter", "INPUT"))

    def _run_hook(self, table: str, hook: str) -> None:
        with suppress(Accepted):
            self._run(table, hook)

    def _run(self, table: str, chain: str) -> None:
        for text in self.chains.get((table, chain), ()):
            matches, target, arguments = parsed(text)
            if not all(self._holds(*match) for match in matches):
                continue
            if target == "RETURN":
                return
            self._go(table, target, arguments)

    def _go(self, table: str, target: str, arguments: Mapping[str, str]) -> None:
        match target:
            case "":
                pass
            case "ACCEPT":
                raise Accepted
            case "DROP":
                raise End(Fate.DROPPED)
            case "REJECT":
                raise End(Fate.REJECTED)
            case "MARK":
                value, mask = (int(part, 16) for part in arguments["--set-xmark"].split("/"))
                self.packet = replace(self.packet, mark=(self.packet.mark & ~mask) ^ value)
            case "DNAT":
                host, _, port = arguments["--to-destination"].rpartition(":")
                where = ip_address(host.strip("[]"))
                self.packet = replace(self.packet, destination=where, port=int(port), translated=True)
                raise Accepted
            case "MASQUERADE":
                self.packet = replace(self.packet, masqueraded=True)
                raise Accepted
            case _:
                self._run(table, target)

    def _holds(self, option: str, value: str, negated: bool) -> bool:
        return self._is(option, value) is not negated

    def _is(self, option: str, value: str) -> bool:
        packet = self.packet
        match option:
            case "-s":
                return packet.source in ip_network(value)
            case "-d":
                return packet.destination in ip_network(value)
            case "-i":
                return _is_interface(packet.interface, value)
            case "-p":
                return packet.protocol == value
            case "--dport":
                return packet.port == int(value)
            case "--ctstate":
                return "NEW" in value.split(",") or (packet.translated and "DNAT" in value.split(","))
            case "--mark":
                wanted, mask = (int(part, 16) for part in value.split("/"))
                return packet.mark & mask == wanted
            case "--src-type":
                return value == "LOCAL" and self._is_local(packet.source)
            case "--dst-type":
                return value == "LOCAL" and self._is_local(packet.destination)
            case "--rcheck":
                return packet.source in self.remembered.get(value, ())
            case "--probability":
                return bool(self.pick(2))
            case _:
                raise ValueError(f"a match that is not known: {option} {value}")

    def _is_local(self, address: Address) -> bool:
        return address.is_loopback or address in self.local


def _is_interface(name: str, pattern: str) -> bool:
    if pattern.endswith("+"):
        return bool(name) and name.startswith(pattern[:-1])
    return name == pattern


Match = tuple[str, str, bool]  # option, value, negated
SILENT = frozenset({"-m", "--comment", "--seconds", "--mask", "--mode", "--nfacct-name"})  # say nothing of the packet
FLAGS = frozenset({"--reap", "--rsource", "--set"})  # stand alone


@lru_cache(maxsize=100_000)
def parsed(rule: str) -> tuple[tuple[Match, ...], str, Mapping[str, str]]:
    """A rule as what must hold, the target, and the target's arguments."""
    found: list[Match] = []
    parts = words(rule)
    number, negated, checks = 0, False, "--rcheck" in parts
    while number < len(parts):
        word = parts[number]
        if word in ("-j", "-g"):
            rest = parts[number + 2 :]
            return tuple(found), parts[number + 1], dict(zip(rest[::2], rest[1::2], strict=False))
        number += 1
        if word == "!":
            negated = True
            continue
        if word in FLAGS or word == "--rcheck":
            continue
        value = parts[number]
        number += 1
        if word == "--name":
            found += [("--rcheck", value, negated)] if checks else []
        elif word not in SILENT:
            found.append((word, value, negated))
        negated = False
    return tuple(found), "", {}
