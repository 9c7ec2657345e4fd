"""A router whose every word is the test's, on a real connection."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Any

from clusterip.api.metallb import BgpPeer
from clusterip.clock import SystemClock
from clusterip.speaker import bgp_metrics, metrics
from clusterip.speaker.bgp_link import KernelPlace, Link
from clusterip.speaker.bgp_messages import HEADER, KEEPALIVE, Kind, Open, write_open
from clusterip.speaker.bgp_routes import Route, Routes
from speaker.routers import VIP

SECONDS = 30.0


@dataclass
class Call:
    """A speaker's connection, as the router sees it."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self) -> tuple[Kind, bytes]:
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readexactly(HEADER)
            return Kind(head[18]), await self.reader.readexactly(int.from_bytes(head[16:18], "big") - HEADER)

    async def until(self, kind: Kind) -> bytes:
        """The next message of its kind, whatever comes before."""
        while True:
            found, body = await self.next()
            if found is kind:
                return body

    async def establish(self, hold: int = 90) -> None:
        await self.until(Kind.OPEN)
        self.writer.write(write_open(Open(64999, hold, IPv4Address("192.0.2.1"), frozenset({1}))) + KEEPALIVE)
        await self.until(Kind.KEEPALIVE)


Plays = Callable[[Call], Awaitable[None]]


@dataclass
class Router:
    """Plays a part at each call; the last part again and again."""

    parts: list[Plays]
    port: int = 0
    calls: int = 0
    broken: list[BaseException] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.calls = self.calls, self.calls + 1
        try:
            await self.parts[min(number, len(self.parts) - 1)](Call(number, reader, writer))
            if number == len(self.parts) - 1:
                self.done.set()
        except Exception as error:
            self.broken.append(error)
            self.done.set()
        finally:
            writer.close()

    async def finished(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.done.wait()
        if self.broken:
            raise self.broken[0]


def free_door() -> socket.socket:
    """A listener on a port that BGPPeer's schema allows: 16384 at most."""
    for _ in range(100):
        try:
            return socket.create_server(("127.0.0.1", 10000 + secrets.randbelow(6000)))
        except OSError:
            continue
    raise OSError("no free port from 10000 to 15999")


@asynccontextmanager
async def router(*parts: Plays) -> AsyncIterator[Router]:
    made = Router(list(parts))
    door = free_door()
    server = await asyncio.start_server(made.answer, sock=door)
    made.port = door.getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@asynccontextmanager
async def speaker(port: int, routes: Routes | None = None, **more: Any) -> AsyncIterator[Link]:
    fields: dict[str, Any] = {"connect_seconds": 0.05, "multi_hop": True} | more
    peer = BgpPeer("router", 64512, 64999, address=ip_address("127.0.0.1"), port=port, **fields)
    link = Link(peer, "node-1", KernelPlace(), metrics.registry(*bgp_metrics.METRICS), SystemClock())
    link.tell({VIP: Route()} if routes is None else routes)
    running = asyncio.ensure_future(link.run())
    try:
        yield link
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        link.stop()
        await link.leave()
