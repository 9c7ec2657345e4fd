"""Asking others: those that answer, that are silent, slow, lying or cut short; over true sockets on loopback."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import dns.flags
import dns.message
import dns.rrset
import pytest
import uvloop

from clusterip.clock import SystemClock
from clusterip.dns import message
from clusterip.dns.corefile import Forward
from clusterip.dns.forward import Busy, Forwarder, Server
from clusterip.dns.message import Query
from clusterip.dns.relayed import Relayed

LOOPBACK = "127.0.0.1"
Says = Callable[[dns.message.Message], list[bytes]]


def question(name: str = "www.example.org", id: int = 1) -> Query:
    found = message.parse(dns.message.make_query(name, "A", id=id).to_wire())
    assert isinstance(found, Query)
    return found


def good(asked: dns.message.Message, address: str = "192.0.2.7", ttl: int = 300) -> bytes:
    reply = dns.message.make_response(asked, recursion_available=True)
    reply.answer.append(dns.rrset.from_text(asked.question[0].name, ttl, "IN", "A", address))
    return reply.to_wire()


class Upstream(asyncio.DatagramProtocol):
    """A server that says what the test wants, by UDP and by TCP."""

    started: ClassVar[list[Upstream]] = []

    def __init__(self, says: Says) -> None:
        self.says, self.asked = says, 0
        self.server: Server = ("", 0)

    async def start(self) -> Upstream:
        self._tcp = await asyncio.start_server(self._connected, LOOPBACK, 0)
        self.server = self._tcp.sockets[0].getsockname()
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=self.server)
        self.started.append(self)
        return self

    def close(self) -> None:
        self._tcp.close()
        self._udp.close()

    def connection_made(self, transport: Any) -> None:
        self._udp = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        for packet in self.says(dns.message.from_wire(data)):
            self._udp.sendto(packet, addr)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        size = int.from_bytes(await reader.readexactly(2), "big")
        for packet in self.says(dns.message.from_wire(await reader.readexactly(size))):
            writer.write(len(packet).to_bytes(2, "big") + packet)
        writer.close()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        try:
            async with asyncio.timeout(30):
                await work()
        finally:
            while Upstream.started:
                Upstream.started.pop().close()

    uvloop.run(bounded())


def forwarder(*servers: Server, cache: int = 30, **settings: Any) -> Forwarder:
    chosen = Forward(b"\0", (), policy="sequential", **{"seconds": 0.2} | settings)
    return Forwarder(chosen, servers, cache, SystemClock(), random.Random(1))


def address(found: Relayed | None) -> str:
    assert found is not None
    record = found.sections[0][0]
    return socket.inet_ntoa(found.packet[record.fixed + 10 : record.end])


def silent(_asked: dns.message.Message) -> list[bytes]:
    return []


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_server_that_answers(stream: bool) -> None:
    async def work() -> None:
        mute = await Upstream(silent).start()
        speaks = await Upstream(lambda asked: [good(asked)]).start()
        closed = (LOOPBACK, 1)
        asks = forwarder(closed, mute.server, speaks.server, seconds=2.0)
        assert address(await asks.ask(question(), stream=stream)) == "192.0.2.7"
        assert mute.asked == speaks.asked == 1
        assert address(await asks.ask(question("other.org"), stream=stream)) == "192.0.2.7"
        assert (mute.asked, speaks.asked) == (1, 2), "who was silent just now is asked last"

    run(work)


def test_a_lie_is_passed_over() -> None:
    """Another id, another name, noise: the true answer that comes after them counts."""

    def lies(asked: dns.message.Message) -> list[bytes]:
        other = dns.message.make_query("evil.org", "A", id=asked.id)
        true = good(asked)
        forged = (asked.id ^ 1).to_bytes(2, "big") + good(asked, "192.0.2.66")[2:]
        return [b"noise", forged, good(other, "192.0.2.66"), true]

    async def work() -> None:
        liar = await Upstream(lies).start()
        assert address(await forwarder(liar.server, seconds=30.0).ask(question(), stream=False)) == "192.0.2.7"

    run(work)


def test_nobody_answers() -> None:
    async def work() -> None:
        mute = await Upstream(silent).start()
        assert await forwarder(mute.server).ask(question(), stream=False) is None
        assert await forwarder().ask(question(), stream=False) is None

    run(work)


def test_an_answer_is_kept_and_the_same_question_asked_once_at_a_time() -> None:
    async def work() -> None:
        speaks = await Upstream(lambda asked: [good(asked)]).start()
        asks = forwarder(speaks.server, seconds=30.0)
        await asyncio.gather(*(asks.ask(question(id=id), stream=False) for id in range(20)))
        assert speaks.asked == 1
        kept = asks.kept(question("WWW.example.org"))
        assert kept is not None
        assert 1 <= kept[1] <= 30, "no longer than the cache may"
        assert asks.kept(question("other.org")) is None
        brief = forwarder(speaks.server, cache=0, seconds=30.0)
        await brief.ask(question(), stream=False)
        assert brief.kept(question()) is None

    run(work)


@pytest.mark.parametrize("prefer_udp", [False, True])
def test_who_asks_by_tcp_gets_what_a_datagram_cannot_hold(prefer_udp: bool) -> None:
    """Whatever others ask by UDP meanwhile."""

    class Full(Upstream):
        """Cuts its answers short by UDP."""

        def datagram_received(self, data: bytes, addr: Any) -> None:
            reply = dns.message.make_response(dns.message.from_wire(data))
            reply.flags |= dns.flags.TC
            self._udp.sendto(reply.to_wire(), addr)

    async def work() -> None:
        full = await Full(lambda asked: [good(asked)]).start()
        asks = forwarder(full.server, seconds=30.0, prefer_udp=prefer_udp)
        short, whole = await asyncio.gather(asks.ask(question(), stream=False), asks.ask(question(), stream=True))
        assert short is not None
        assert short.truncated
        assert address(whole) == "192.0.2.7"
        assert asks.kept(question()) is not None

    run(work)


def test_no_more_at_a_time_than_may_be() -> None:
    async def work() -> None:
        mute = await Upstream(silent).start()
        asks = forwarder(mute.server, most=1)
        first = asyncio.ensure_future(asks.ask(question(), stream=False))
        while not asks.asked:  # noqa: ASYNC110 - the task has to begin
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await asks.ask(question("other.org"), stream=False)
        assert await first is None
        assert asks.asked == 0

    run(work)
