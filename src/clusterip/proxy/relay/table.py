"""What the relay is told, and how that is written: listeners by name, requests and answers as lines of JSON.

Stage: none; values and their wire form.  Rules: pure; the relay decides nothing, a listener holds the endpoints that
the plan allows to whoever is led to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PROTOCOLS = ("tcp", "udp")


class Place(NamedTuple):
    """An address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket. Listeners of one group, a service port, share the memory of their clients."""

    group: str
    protocol: str
    address: str  # of the node, where it listens; the kernel chooses the port
    targets: tuple[Place, ...] = ()
    affinity_seconds: int = 0  # 0: no affinity


@dataclass(frozen=True, slots=True)
class Request:
    """Listeners to open or to change, those to close, and the ports that they had before, to be taken again."""

    put: Mapping[str, Listener] = field(default_factory=dict)
    remove: Sequence[str] = ()
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The ports of the listeners that were put, why others could not be, and how much is being carried."""

    ports: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    connections: int = 0
    flows: int = 0


def render_request(request: Request) -> bytes:
    put = {
        name: [one.group, one.protocol, one.address, one.affinity_seconds, one.targets]
        for name, one in request.put.items()
    }
    return _line({"put": put, "remove": list(request.remove), "ports": dict(request.ports)})


def parse_request(line: bytes) -> Request:
    tree = json.loads(line)
    put = {
        name: Listener(group, protocol, address, tuple(Place(*target) for target in targets), seconds)
        for name, (group, protocol, address, seconds, targets) in tree["put"].items()
    }
    return Request(put, tree["remove"], tree["ports"])


def render_answer(answer: Answer) -> bytes:
    counts = {"connections": answer.connections, "flows": answer.flows}
    return _line({"ports": dict(answer.ports), "failed": dict(answer.failed), **counts})


def parse_answer(line: bytes) -> Answer:
    return Answer(**json.loads(line))


def _line(tree: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode() + b"\n"
