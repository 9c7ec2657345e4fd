"""Sends a packet through the rules of mode userspace and the relay, and says the verdict in the plan's words."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from clusterip.clock import ManualClock
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.kernel.iptables_listing import target
from clusterip.proxy.backends.userspace import Userspace
from clusterip.proxy.model import Drop, Plan, Reject
from clusterip.proxy.relay.fake import FakeRelay
from clusterip.proxy.relay.table import Place
from clusterip.proxy.runner import Runner
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict

_TO = re.compile(r"^\[?([0-9a-f.:]+?)\]?:(\d+)$")


class Programmed:
    """A runner on a fake kernel and a fake relay."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tables, self.relay = FakeIptables(), FakeRelay()
        self.backend = Userspace(plan.node.family, self.tables, self.relay)
        self.runner = Runner(self.backend, lambda: self.plan, ManualClock())
        self.sync()

    def sync(self, plan: Plan | None = None) -> int:
        """All that the plan asks for; the number of changes."""
        self.plan = plan or self.plan

        async def run() -> int:
            total = 0
            while changes := (await self.runner.sync()).changes:
                total += changes
            return total

        return asyncio.run(run())


@dataclass(frozen=True)
class Seen:
    """A packet where it is now."""

    packet: Packet
    translated: bool = False


def verdict_of(made: Programmed, packet: Packet) -> Verdict:
    seen = Seen(packet)
    hook = "PREROUTING" if packet.interface else "OUTPUT"
    for table in ("mangle", "nat", *(["filter"] if hook == "OUTPUT" else [])):
        fate, seen = walk(made, table, hook, seen)
        if fate is not None:
            return fate
    here = seen.packet.destination in made.plan.node.addresses or seen.packet.destination.is_loopback
    if hook == "PREROUTING" or here:
        fate, seen = walk(made, "filter", "INPUT" if here else "FORWARD", seen)
        if fate is not None:
            return fate
    if not seen.translated:
        return Ignore()
    return Deliver(frozenset(Delivery(ip_address(to.address), to.port, True) for to in targets(made, seen.packet)))


def targets(made: Programmed, packet: Packet) -> tuple[Place, ...]:
    """Where the relay may lead whoever has reached a listener."""
    found = [
        listener
        for name, listener in (made.relay.listeners or {}).items()
        if (listener.protocol, listener.address, made.relay.ports[name])
        == (packet.protocol, str(packet.destination), packet.port)
    ]
    assert len(found) == 1, packet
    assert found[0].targets, packet
    return found[0].targets


def walk(made: Programmed, table: str, chain: str, seen: Seen) -> tuple[Verdict | None, Seen]:
    """Through a chain and those that it calls; no verdict: it goes on."""
    chains = made.tables.tables[table]
    for rule in chains.get(chain, ()):
        if not matches(rule, seen, made.plan):
            continue
        word = target(rule)
        if word == "RETURN":
            break
        if word == "DROP":
            return Drop(), seen
        if word == "REJECT":
            return Reject(), seen
        if word == "DNAT":
            place = _TO.match(rule.split()[-1])
            assert place, rule
            moved = replace(seen.packet, destination=ip_address(place[1]), port=int(place[2]))
            return None, Seen(moved, translated=True)
        fate, after = walk(made, table, word, seen)
        if fate is not None or after.translated != seen.translated:
            return fate, after
    return None, seen


def matches(rule: str, seen: Seen, plan: Plan) -> bool:
    """Whether all matches of a rule hold."""
    words = shlex.split(rule)
    packet, number, negate = seen.packet, 0, False
    while number < len(words) and words[number] != "-j":
        word, value = words[number], words[number + 1]
        if word == "!":
            negate, number = True, number + 1
            continue
        number += 2
        if word in ("-m", "--comment"):
            continue
        held = {
            "-s": lambda value: packet.source in ip_network(value),
            "-d": lambda value: packet.destination in ip_network(value),
            "-i": lambda value: _interface(packet.interface or "lo", value),
            "-p": lambda value: packet.protocol == value,
            "--dport": lambda value: packet.port == int(value),
            "--dst-type": lambda value: packet.destination in plan.node.addresses or packet.destination.is_loopback,
            "--ctstate": lambda value: value == "NEW" or (value == "DNAT" and seen.translated),
        }[word](value)
        if held == negate:
            return False
        negate = False
    return True


def _interface(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") and name else name == pattern
