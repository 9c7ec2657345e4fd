"""Transcripts of the proxy: objects in, packets through, on the plan, on the compiled tables, and on the kernel.

    # what the transcript shows
    family IPv6                                       else IPv4
    node zone=a masqueradeAll pods=veth*              how this node is set up, see `NODE_WORDS`
    apply web.yaml                                    a file of the transcript, Service or EndpointSlice
    delete service web
    endpoints web http 8080/tcp 10.244.1.5, 10.244.2.5 terminating
    packet 10.244.1.9 -> 10.96.0.20:80/tcp            goes to 10.244.1.5:8080 | 10.244.2.5:8080
    packet 192.168.4.1 -> node:30080/tcp              goes to 10.244.1.5:8080 as node
    packet 10.244.1.9 -> 10.96.0.21:80/tcp            sticks to 10.244.1.5:8080 | 10.244.2.5:8080
    packet 10.244.1.9 -> 10.96.0.20:81/tcp            is refused                        only in nftables, ipvs
    packet 10.244.1.9 -> 10.96.0.20:81/tcp            passes                            only in iptables, userspace
    changes put 3 remove 1                            what the packet filter was told since the last such line
    health 30000 2                                    a load balancer that asks there hears of 2 endpoints here
    health none
    conflict default/new 192.168.4.50:80/tcp default/old      who lost which frontend to whom
    -- web.yaml --

All is seen from node-1 (192.168.4.101). "as node": the endpoint sees the node's address, else the sender's own; in a
mode that hides senders it always sees the node's. Other endings: `is dropped`, `passes` (no Service's business).
`sticks to`: one of these, and the same one each time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Protocol

import yaml

from clusterip.clock import ManualClock
from clusterip.kernel.nft_fake import FakeNft
from clusterip.proxy.backends.nftables import Nftables
from clusterip.proxy.backends.nftables_table import kube_proxy
from clusterip.proxy.model import Drop, Family, Node, Plan, PodTraffic, Reject
from clusterip.proxy.plan import Planner, decide
from clusterip.proxy.runner import Runner
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict
from packets.fates import fate
from packets.lab import Lab
from packets.machines import Where
from proxy import iptables_walking, ipvs_walking, userspace_walking, walking
from proxy.clusters import Cluster, node, packet

_SECTION = re.compile(r"^-- (\S+) --$", re.MULTILINE)
_LINE = re.compile(r"(?P<packet>\S+ -> \S+(?: by \S+)?)\s+(?P<expected>.+?)(?:\s+only in (?P<modes>[a-z, ]+))?")
PLAIN: dict[str, Verdict] = {"is refused": Reject(), "is dropped": Drop(), "passes": Ignore()}
FORWARDS = ("goes to ", "sticks to ")
NODE_WORDS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "zone": lambda text: {"zone": text},
    "masqueradeAll": lambda text: {"masquerade_all": True},
    "pods": lambda text: {"pod_traffic": _pods(text)},
    "addresses": lambda text: {"addresses": tuple(map(ip_address, text.split(",")))},
    "nodePortAddresses": lambda text: {
        "node_port_addresses": None if text == "all" else frozenset(map(ip_address, text.split(",")))
    },
    "localhostNodePorts": lambda text: {"localhost_node_ports": True},
    "services": lambda text: {"service_networks": tuple(map(ip_network, text.split(",")))},
}


def _pods(text: str) -> PodTraffic | None:
    if text == "unknown":
        return None
    return PodTraffic(ip_network(text)) if "/" in text else PodTraffic(interface=text)


class Place(Protocol):
    """Something that packets can be sent through, in one mode."""

    mode: str

    def sync(self, plan: Callable[[], Plan]) -> str: ...

    def fate(self, plan: Plan, sent: Packet, expected: Verdict, sticks: bool) -> Verdict: ...


@dataclass
class Decided:
    """The plan alone, with the traits of a mode."""

    mode: str

    def sync(self, plan: Callable[[], Plan]) -> str:
        return ""

    def fate(self, plan: Plan, sent: Packet, expected: Verdict, sticks: bool) -> Verdict:
        return decide(plan, sent)


@dataclass
class Changed:
    """The tables that the nftables backend leaves in the fake, change by change, after every due one."""

    mode: str = "nftables"
    nft: FakeNft = field(default_factory=FakeNft)
    runner: Runner[Any, Any] | None = None

    def sync(self, plan: Callable[[], Plan]) -> str:
        self.runner = self.runner or Runner(Nftables(self.nft, family=plan().node.family), plan, ManualClock())
        self.nft.commits.clear()
        while asyncio.run(self.runner.sync()).changes:
            pass
        put = sum(len(changes.put) for changes in self.nft.commits)
        return f"put {put} remove {sum(len(changes.remove) for changes in self.nft.commits)}"

    def fate(self, plan: Plan, sent: Packet, expected: Verdict, sticks: bool) -> Verdict:
        return walking.verdict_of(self.nft.tables[kube_proxy(plan.node.family)], plan, sent)


WALKS: Mapping[str, Callable[[Plan, Packet], Verdict]] = {
    "nftables": lambda plan, sent: walking.verdict_of(walking.state_of(plan), plan, sent),
    "iptables": lambda plan, sent: iptables_walking.verdict_of(iptables_walking.programmed(plan), plan, sent),
    "ipvs": lambda plan, sent: ipvs_walking.Walk(ipvs_walking.state_of(plan), plan).verdict(sent),
    "userspace": lambda plan, sent: userspace_walking.verdict_of(userspace_walking.Programmed(plan), sent),
}


@dataclass
class Walked:
    """What the backend of a mode compiles, walked through as the kernel would."""

    mode: str

    def sync(self, plan: Callable[[], Plan]) -> str:
        return ""

    def fate(self, plan: Plan, sent: Packet, expected: Verdict, sticks: bool) -> Verdict:
        return WALKS[self.mode](plan, sent)


@dataclass
class Sent:
    """Real packets through a node's kernel."""

    lab: Lab
    proxy: Any = None

    @property
    def mode(self) -> str:
        return self.lab.mode

    def sync(self, plan: Callable[[], Plan]) -> str:
        self.proxy = self.proxy or self.lab.proxy("node-1", plan)
        self.proxy.sync()
        return ""

    def fate(self, plan: Plan, sent: Packet, expected: Verdict, sticks: bool) -> Verdict:
        return fate(self.lab, sent, expected, sticks=sticks)


def _verdict(text: str, here: Node) -> Verdict:
    if text in PLAIN:
        return PLAIN[text]
    assert text.startswith(FORWARDS), text
    ways = set()
    for part in text.split(" to ", 1)[1].split(" | "):
        place, _, seen = part.strip().partition(" as ")
        where = Where.of(place)
        ways.add(Delivery(ip_address(where.address), where.port, seen == "node" or here.traits.hides_sender))
    return Deliver(frozenset(ways))


def _seen(verdict: Verdict, sent: Packet) -> Verdict:
    """A node that is masqueraded looks like itself: nobody can tell."""
    if isinstance(verdict, Deliver) and not sent.interface:
        return Deliver(frozenset(way._replace(masqueraded=False) for way in verdict.ways))
    return verdict


@dataclass
class Play:
    """One transcript being played in one place."""

    path: Path
    place: Place
    packets: int = 0

    def __post_init__(self) -> None:
        parts = _SECTION.split(self.path.read_text())
        self.lines = parts[0].splitlines()
        texts = zip(parts[1::2], parts[2::2], strict=True)
        self.files = {name: list(yaml.safe_load_all(text)) for name, text in texts}
        self.cluster = Cluster(self._first_node())
        self.told = ""

    def _first_node(self) -> Node:
        """What the lines before all others say of the node."""
        family = Family.IPV6 if "family IPv6" in self.lines else Family.IPV4
        return node(mode=self.place.mode, family=family)

    def run(self) -> int:
        self.told = self.place.sync(self.cluster.plan)
        for number, line in enumerate(self.lines, 1):
            words = line.partition("#")[0].strip()
            if words:
                self._line(words, f"{self.path.name}:{number}: {words}")
        assert Planner().plan(self.cluster.collector.snapshot()) == self.cluster.plan()
        return self.packets

    def _line(self, words: str, where: str) -> None:
        command, _, rest = words.partition(" ")
        rest = rest.strip()
        match command:
            case "family":
                pass
            case "packet":
                self._packet(rest, where)
            case "changes":
                assert self.told in ("", rest), f"{where}: {self.told}"
            case "health":
                assert self._health() == rest, f"{where}: {self._health()}"
            case "conflict":
                assert self._conflicts() == rest, f"{where}: {self._conflicts()}"
            case _:
                self._change(command, rest)
                self.told = self.place.sync(self.cluster.plan)

    def _packet(self, rest: str, where: str) -> None:
        found = _LINE.fullmatch(rest)
        assert found, where
        if found["modes"] and self.place.mode not in re.split(r", *", found["modes"]):
            return
        self.packets += 1
        plan = self.cluster.plan()
        sent = packet(found["packet"], plan.node)
        expected = _verdict(found["expected"].strip(), plan.node)
        sticks = found["expected"].startswith("sticks")
        actual = self.place.fate(plan, sent, expected, sticks)
        assert _seen(actual, sent) == _seen(expected, sent), f"{where} ({self.place.mode})"

    def _health(self) -> str:
        found = [service.health for service in self.cluster.plan().services.values() if service.health]
        return ", ".join(f"{check.node_port} {check.local_endpoints}" for check in found) or "none"

    def _conflicts(self) -> str:
        found = self.cluster.collector.snapshot().conflicts
        lost = [f"{key} {conflict.frontend} {conflict.owner}" for key in sorted(found) for conflict in found[key]]
        return ", ".join(lost) or "none"

    def _change(self, command: str, rest: str) -> None:
        match command:
            case "apply":
                for tree in self.files[rest]:
                    self.cluster.apply(tree)
            case "delete":
                self.cluster.delete(rest.split()[-1])
            case "node":
                words = (word.partition("=") for word in rest.split())
                for name, _, value in words:
                    self.cluster.change_node(**NODE_WORDS[name](value))
            case "endpoints":
                service, name, target, *places = rest.split(" ", 3)
                listed = [text.strip() for text in "".join(places).split(",") if text.strip()]
                self.cluster.endpoints(service, f"{name} {target}", *listed)
            case _:
                raise AssertionError(f"no such command: {command}")


def play(path: Path, place: Place) -> int:
    """Run a transcript; the number of packets. An AssertionError names the line that differs."""
    return Play(path, place).run()
