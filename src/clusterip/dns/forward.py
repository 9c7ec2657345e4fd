"""Questions about the world, asked of other servers.

Stage: edge.  In: a `Query` and the servers of its zone.  Out: a `Relayed` answer; None when nobody gave one in time.
Each question travels by a socket of its own, so that its port and its id are hard to guess; what comes back and does
not answer that question is passed over until the clock runs out.  The same question is asked once at a time, and its
answer is kept as long as it may be.
Rules: a silent, slow or lying server costs its clock and no more; the next one is asked.
Truth: RFC 1035 4.2, RFC 5452; CoreDNS's plugins forward and cache for clocks, bounds and order.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterip.clock import Clock
from clusterip.dns import relayed
from clusterip.dns.corefile import Forward
from clusterip.dns.message import CD, RD, Query
from clusterip.dns.relayed import Relayed

if TYPE_CHECKING:
    from random import Random

logger = logging.getLogger(__name__)

WHOLE_SECONDS = 5.0  # for all servers together
SHUNNED_SECONDS = 2.0  # a server that did not answer is asked last for so long
MOST_KEPT = 9984
PACKET = 65535
Server = tuple[str, int]
Key = tuple[bytes, int, bool]
Way = Callable[[Server, Query, int], Awaitable[Relayed | None]]


class Busy(Exception):
    """As many questions are under way as may be."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer and the moments, on the monotonic clock, from which and until when it holds."""

    answer: Relayed
    since: float
    until: float


@dataclass
class Forwarder:
    """The way to the servers of one zone."""

    settings: Forward
    servers: Sequence[Server]
    cache_seconds: int
    clock: Clock
    dice: Random
    asked: int = 0  # under way
    turn: int = 0
    _kept: dict[Key, Kept] = field(default_factory=dict)
    _under_way: dict[tuple[Key, bool], asyncio.Task[Relayed | None]] = field(default_factory=dict)  # by stream or not
    _shunned: dict[Server, float] = field(default_factory=dict)

    def kept(self, query: Query) -> tuple[Relayed, int] | None:
        """An answer that still holds, and for how many seconds it may be told."""
        found = self._kept.get(_key(query))
        now = self.clock.monotonic()
        if found is None or found.until <= now:
            return None
        return found.answer, max(1, int(found.until - now))

    async def ask(self, query: Query, *, stream: bool) -> Relayed | None:
        """The answer of the first server that gives one; who asks the same meanwhile waits for the same answer."""
        key = _key(query), stream
        under_way = self._under_way.get(key)
        if under_way is None:
            if self.settings.most and self.asked >= self.settings.most:
                raise Busy
            under_way = asyncio.create_task(self._ask(query, stream=stream), name="dns question")
            self._under_way[key] = under_way
            under_way.add_done_callback(lambda task: self._answered(key, task))
        return await asyncio.shield(under_way)

    def _answered(self, key: tuple[Key, bool], task: asyncio.Task[Relayed | None]) -> None:
        self._under_way.pop(key, None)
        found = None if task.cancelled() or task.exception() else task.result()
        seconds = found.lifetime(self.cache_seconds) if found and found.rcode in (0, 3) and not found.truncated else 0
        if found is None or not seconds:
            return
        if len(self._kept) >= MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        now = self.clock.monotonic()
        self._kept[key[0]] = Kept(found, now, now + seconds)

    async def _ask(self, query: Query, *, stream: bool) -> Relayed | None:
        by_tcp = self.settings.force_tcp or (stream and not self.settings.prefer_udp)
        way = _by_tcp if by_tcp else _by_udp
        self.asked += 1
        try:
            async with asyncio.timeout(WHOLE_SECONDS):
                for server in self._order():
                    found = await self._one(way, server, query)
                    if found is not None and found.truncated and stream and not by_tcp:
                        found = await self._one(_by_tcp, server, query) or found
                    if found is not None:
                        return found
        except TimeoutError:
            pass
        finally:
            self.asked -= 1
        return None

    async def _one(self, way: Way, server: Server, query: Query) -> Relayed | None:
        try:
            async with asyncio.timeout(self.settings.seconds):
                found = await way(server, query, self.dice.randrange(65536))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            why = str(error) or type(error).__name__
            logger.info("A server gave no answer", extra={"kv": {"server": f"{server[0]}:{server[1]}", "err": why}})
            found = None
        if found is None:
            self._shunned[server] = self.clock.monotonic() + SHUNNED_SECONDS
        return found

    def _order(self) -> list[Server]:
        """The servers in the order of the policy, those that were silent just now last."""
        servers = list(self.servers)
        if self.settings.policy == "random":
            self.dice.shuffle(servers)
        elif self.settings.policy == "round_robin":
            self.turn += 1
            servers = servers[self.turn % len(servers) :] + servers[: self.turn % len(servers)]
        now = self.clock.monotonic()
        return sorted(servers, key=lambda server: self._shunned.get(server, 0.0) > now)

    def close(self) -> None:
        """Nobody waits any more."""
        for task in list(self._under_way.values()):
            task.cancel()


def _key(query: Query) -> Key:
    return query.question.lower(), query.flags & (RD | CD), query.do


async def _by_udp(server: Server, query: Query, id: int) -> Relayed:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Relayed] = loop.create_future()

    def receive() -> None:
        try:
            found = relayed.read(sock.recv(PACKET), id, query.question)
        except BlockingIOError:
            return
        except OSError as error:  # nobody listens there
            if not answered.done():
                answered.set_exception(error)
            return
        if found is not None and not answered.done():
            answered.set_result(found)

    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        sock.connect(server)
        loop.add_reader(sock.fileno(), receive)
        try:
            sock.send(relayed.ask(id, query))
            return await answered
        finally:
            loop.remove_reader(sock.fileno())


async def _by_tcp(server: Server, query: Query, id: int) -> Relayed | None:
    reader, writer = await asyncio.open_connection(*server)
    try:
        packet = relayed.ask(id, query)
        writer.write(len(packet).to_bytes(2, "big") + packet)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return relayed.read(await reader.readexactly(size), id, query.question)
    finally:
        writer.close()
