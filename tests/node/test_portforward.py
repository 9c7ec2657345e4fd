"""One connection into a pod, against real sockets: ends, failures, and one that stalls beside others."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop

from clusterip.node.portforward import Connection, Room, Streams, plainly, reason
from clusterip.transport import departure

CLOCK = 30
Pod = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Client:
    """What a client hears of one connection."""

    got: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    failed: str = ""

    async def send(self, content: bytes) -> None:
        self.got += content

    async def end(self) -> None:
        self.ended.set()

    async def fail(self, why: str) -> None:
        self.failed = why


@asynccontextmanager
async def pod(behaves: Pod) -> AsyncIterator[Callable[[int], Awaitable[Streams]]]:
    """A port where a pod behaves like this."""
    async with await asyncio.start_server(behaves, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        yield lambda _: asyncio.open_connection(*address)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(CLOCK):
            await work()

    uvloop.run(within())


async def stubborn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A pod that reads nothing, as long as its connection stands."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await departure.left(writer.transport)
    writer.transport.abort()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


def test_the_pods_end_is_passed_on_and_the_client_goes_on() -> None:
    heard = asyncio.Queue[bytes]()

    async def first_says_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"all I say")
        writer.write_eof()
        heard.put_nowait(await reader.read())
        writer.close()

    async def work() -> None:
        client, room = Client(), Room()
        async with pod(first_says_all) as connect:
            connection = Connection(80, connect, client, room)
            running = asyncio.ensure_future(connection.run())
            await client.ended.wait()
            assert client.got == b"all I say"
            connection.take(b"and I go on")
            connection.end()
            assert await heard.get() == b"and I go on"
            await running
            assert (room.held, room.connections) == (0, set())

    run(work)


def test_the_clients_end_is_passed_on_and_the_pod_goes_on() -> None:
    async def last_word(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read())
        writer.close()

    async def work() -> None:
        client = Client()
        async with pod(last_word) as connect:
            connection = Connection(80, connect, client, Room())
            connection.take(b"it")
            connection.end()
            await connection.run()
        assert (client.got, client.failed) == (b"heard it", "")

    run(work)


def test_a_port_where_nobody_listens() -> None:
    async def work() -> None:
        client, room = Client(), Room()

        async def refuse(port: int) -> Streams:
            raise ConnectionRefusedError(111, "x")

        connection = Connection(81, refuse, client, room)
        connection.take(b"lost")
        await connection.run()
        connection.take(b"late")
        assert client.failed == "failed to connect to localhost:81 inside the pod: connection refused"
        assert room.held == 0

    run(work)


def test_a_pod_that_resets_its_connection() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = socket.socket(fileno=writer.get_extra_info("socket").fileno())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.detach()
        writer.transport.abort()

    async def work() -> None:
        client = Client()
        async with pod(rude) as connect:
            connection = Connection(80, connect, client, Room())
            connection.take(b"x")
            await connection.run()
        assert client.failed == "the connection to localhost:80 inside the pod was lost: connection reset by peer"

    run(work)


def test_one_that_stalls_makes_way_for_others() -> None:
    async def work() -> None:
        room, slow, quick = Room(size=1_000_000, patience=0.2), Client(), Client()
        async with pod(stubborn) as silent, pod(echo) as lively:
            stalled = Connection(80, silent, slow, room)
            other = Connection(81, lively, quick, room)
            running = [asyncio.ensure_future(each.run()) for each in (stalled, other)]
            for _ in range(1000):  # more than all the kernel's buffers
                stalled.take(bytes(64 * 1024))
                await room.free()
            other.take(b"still here")
            other.end()
            await asyncio.gather(*running)
        assert "bytes was taken in 0 seconds" in slow.failed
        assert (quick.got, quick.failed, room.held) == (b"still here", "", 0)

    run(work)


def test_one_that_is_alone_is_waited_for() -> None:
    go = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await echo(reader, writer)

    async def work() -> None:
        room, client = Room(size=100_000, patience=0.01), Client()
        async with pod(late) as connect:
            connection = Connection(80, connect, client, room)
            running = asyncio.ensure_future(connection.run())
            for _ in range(100):
                connection.take(bytes(200_000))
                waiting = asyncio.ensure_future(room.free())
                await asyncio.wait((waiting,), timeout=0.02)
                go.set()
                await waiting
            connection.end()
            await running
        assert (len(client.got), client.failed) == (20_000_000, "")

    run(work)


def test_one_that_the_client_drops_is_closed_at_both_ends() -> None:
    closed = asyncio.Event()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        with pytest.raises((ConnectionError, EOFError)):
            await reader.readexactly(100)
        closed.set()
        writer.close()

    async def work() -> None:
        client = Client()
        async with pod(until_closed) as connect:
            connection = Connection(80, connect, client, Room())
            running = asyncio.ensure_future(connection.run())
            connection.take(b"x")
            connection.drop()
            await running
            assert client.failed == ""

    run(work)


def test_every_byte_of_a_long_transfer_comes_back() -> None:
    async def work() -> None:
        room, client = Room(size=1_000_000), Client()
        sent = hashlib.sha256()
        async with pod(echo) as connect:
            connection = Connection(80, connect, client, room)
            running = asyncio.ensure_future(connection.run())
            for number in range(320):
                piece = number.to_bytes(4, "big") * 16 * 1024
                sent.update(piece)
                connection.take(piece)
                await room.free()
                assert room.held <= 1_000_000
            connection.end()
            await running
        assert hashlib.sha256(client.got).digest() == sent.digest()

    run(work)


def test_words() -> None:
    assert reason(TimeoutError()) == "no answer in time"
    assert plainly(80, "why") == "why"
