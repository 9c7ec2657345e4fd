"""Transcripts of the proxy: objects in, packets through, on the plan, on the compiled tables, and on the kernel.

    # what the transcript shows
    apply web.yaml                                    a file of the transcript, Service or EndpointSlice
    delete service web
    endpoints web http 8080/tcp 10.244.1.5, 10.244.2.5 terminating
    packet 10.244.1.9 -> 10.96.0.20:80/tcp            goes to 10.244.1.5:8080 | 10.244.2.5:8080
    packet 192.168.4.1 -> node:30080/tcp              goes to 10.244.1.5:8080 as node
    packet 10.244.1.9 -> 10.96.0.20:81/tcp            is refused
    changes put 3 remove 1                            what the packet filter was told since the last such line
    -- web.yaml --

All is seen from node-1 (192.168.4.101). "as node": the endpoint sees the node's address, else the sender's own.
Other endings: `is dropped`, `passes` (no Service's business).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

import yaml

from clusterip.clock import ManualClock
from clusterip.kernel.nft_fake import FakeNft
from clusterip.proxy.backends.nftables import Nftables
from clusterip.proxy.backends.nftables_table import KUBE_PROXY
from clusterip.proxy.model import Deliver, Delivery, Drop, Ignore, Plan, Reject, Verdict
from clusterip.proxy.plan import decide, make_plan
from clusterip.proxy.runner import Runner
from packets.lab import SILENCE_SECONDS, Lab
from proxy.clusters import NODE_1, Cluster, packet
from proxy.walking import verdict_of

_SECTION = re.compile(r"^-- (\S+) --$", re.MULTILINE)
_LINE = re.compile(r"(?P<packet>\S+ -> \S+)\s+(?P<expected>.+)")
PLAIN: dict[str, Verdict] = {"is refused": Reject(), "is dropped": Drop(), "passes": Ignore()}


class Place(Protocol):
    """Something that packets can be sent through."""

    def sync(self, plan: Callable[[], Plan]) -> str: ...

    def fate(self, plan: Plan, text: str, expected: Verdict) -> Verdict: ...


class Decided:
    """The plan alone."""

    def sync(self, plan: Callable[[], Plan]) -> str:
        return ""

    def fate(self, plan: Plan, text: str, expected: Verdict) -> Verdict:
        return decide(plan, packet(text))


@dataclass
class Walked:
    """The tables that the nftables backend leaves in the fake, after every due change."""

    nft: FakeNft = field(default_factory=FakeNft)
    runner: Runner[Any, Any] | None = None

    def sync(self, plan: Callable[[], Plan]) -> str:
        self.runner = self.runner or Runner(Nftables(self.nft), plan, ManualClock())
        self.nft.commits.clear()
        while asyncio.run(self.runner.sync()).changes:
            pass
        put = sum(len(changes.put) for changes in self.nft.commits)
        return f"put {put} remove {sum(len(changes.remove) for changes in self.nft.commits)}"

    def fate(self, plan: Plan, text: str, expected: Verdict) -> Verdict:
        return verdict_of(self.nft.tables[KUBE_PROXY], plan, packet(text))


@dataclass
class Sent:
    """Real packets. A random choice is made often enough that each way is seen."""

    lab: Lab
    proxy: Any = None

    def sync(self, plan: Callable[[], Plan]) -> str:
        self.proxy = self.proxy or self.lab.proxy("node-1", plan)
        self.proxy.sync()
        return ""

    def fate(self, plan: Plan, text: str, expected: Verdict) -> Verdict:
        sent = packet(text)
        source, protocol = str(sent.source), sent.protocol
        destination = f"{sent.destination}:{sent.port}/{protocol}"
        if not isinstance(expected, Deliver):
            return self._refusal(source, destination, expected)
        for way in expected.ways:
            self.lab.serve(str(way.address), way.port, protocol)
        many = len(expected.ways)
        answers = self.lab.asks(source, destination, 1 if many == 1 else 12 * many)
        return Deliver(frozenset(_way(answer, source) for answer in answers))

    def _refusal(self, source: str, destination: str, expected: Verdict) -> Verdict:
        answer = self.lab.ask(source, destination, seconds=SILENCE_SECONDS)
        if isinstance(expected, Ignore) and answer in ("silence", "refused"):
            return expected  # nobody's business: whether something listens there is not the proxy's
        if answer == "silence":
            return Drop()
        return Reject() if answer == "refused" else Deliver(frozenset({_way(answer, source)}))


def _way(answer: str, source: str) -> Delivery:
    found = re.fullmatch(r"(\S+):(\d+) saw (\S+)", answer)
    assert found, f"{source} got {answer}"
    return Delivery(IPv4Address(found[1]), int(found[2]), found[3] == str(NODE_1) and source != found[3])


def _verdict(text: str, source: str) -> Verdict:
    if text in PLAIN:
        return PLAIN[text]
    assert text.startswith("goes to "), text
    ways = set()
    for part in text.removeprefix("goes to ").split(" | "):
        place, _, seen = part.strip().partition(" as ")
        address, _, port = place.partition(":")
        ways.add(Delivery(IPv4Address(address), int(port), seen == "node"))
    return Deliver(frozenset(ways))


def _seen(verdict: Verdict, source: str) -> Verdict:
    """A node that is masqueraded looks like itself: nobody can tell."""
    if isinstance(verdict, Deliver) and source == str(NODE_1):
        return Deliver(frozenset(way._replace(masqueraded=False) for way in verdict.ways))
    return verdict


def play(path: Path, place: Place) -> int:
    """Run a transcript; the number of packets. An AssertionError names the line that differs."""
    parts = _SECTION.split(path.read_text())
    files = {name: list(yaml.safe_load_all(text)) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    cluster = Cluster()
    told, packets = place.sync(cluster.plan), 0
    for number, line in enumerate(parts[0].splitlines(), 1):
        words = line.partition("#")[0].strip()
        where = f"{path.name}:{number}: {words}"
        command, _, rest = words.partition(" ")
        match command:
            case "":
                continue
            case "packet":
                packets += 1
                found = _LINE.fullmatch(rest.strip())
                assert found, where
                source = str(packet(found["packet"]).source)
                expected = _verdict(found["expected"].strip(), source)
                actual = place.fate(cluster.plan(), found["packet"], expected)
                assert _seen(actual, source) == _seen(expected, source), where
            case "changes":
                assert told in ("", rest.strip()), f"{where}: {told}"
            case _:
                _change(cluster, command, rest, files)
                told = place.sync(cluster.plan)
    assert make_plan(cluster.collector.snapshot()) == cluster.plan()
    return packets


def _change(cluster: Cluster, command: str, rest: str, files: dict[str, list[dict[str, Any]]]) -> None:
    match command:
        case "apply":
            for tree in files[rest.strip()]:
                cluster.apply(tree)
        case "delete":
            cluster.delete(rest.split()[-1])
        case "endpoints":
            service, name, target, *places = rest.split(" ", 3)
            listed = [text.strip() for text in "".join(places).split(",") if text.strip()]
            cluster.endpoints(service, f"{name} {target}", *listed)
        case _:
            raise AssertionError(f"no such command: {command}")
