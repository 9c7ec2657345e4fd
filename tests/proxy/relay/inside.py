"""The relay's server in this process, one turn of its loop at a time, with sockets on the loopback address."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from clusterip.proxy.relay.loop import Loop
from clusterip.proxy.relay.server import Server
from clusterip.proxy.relay.table import Answer, Listener, Place, Request

T = TypeVar("T")
HERE = "127.0.0.1"
TURNS = 2000


class Relayed:
    """A relay whose time stands still until it is told."""

    def __init__(self, descriptors: int = 4096) -> None:
        self.time = 1000.0
        self.loop = Loop(lambda: self.time)
        self.server = Server(self.loop, descriptors=descriptors, guards=False, chance=random.Random(7))
        self.loop.at(float("inf"), lambda: None)

    def put(self, name: str, *targets: Place, protocol: str = "tcp", affinity: int = 0, group: str = "") -> int:
        """The port of the listener."""
        answer = self.apply(Request(put={name: Listener(group or name, protocol, HERE, targets, affinity)}))
        return answer.ports[name]

    def apply(self, request: Request) -> Answer:
        return self.server.apply(request)

    def turns(self, count: int = 20) -> None:
        """Let it work for as long as there may be something to do."""
        for _ in range(count):
            self.loop.soon(lambda: None)  # it does not wait
            self.loop.turn()

    def until(self, ask: Callable[[], T | None]) -> T:
        """What is asked for, as soon as the relay has made it possible; sockets that would block are asked again."""
        for _ in range(TURNS):
            self.turns(1)
            try:
                found = ask()
            except BlockingIOError:
                continue
            if found is not None:
                return found
        raise AssertionError("the relay did not do it")

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        self.turns()


@contextmanager
def endpoint(kind: int = socket.SOCK_STREAM, backlog: int = 64) -> Iterator[tuple[socket.socket, Place]]:
    """A server's socket and where it is."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((HERE, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen(backlog)
        sock.setblocking(False)
        yield sock, Place(*sock.getsockname())


@contextmanager
def client(port: int, kind: int = socket.SOCK_STREAM, source: str = HERE) -> Iterator[socket.socket]:
    """A client of the relay."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((source, 0))
        sock.connect((HERE, port))
        sock.setblocking(False)
        yield sock


def nobody() -> Place:
    """A place that refuses connections."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        return Place(*sock.getsockname())
