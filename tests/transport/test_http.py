"""The listener: answers in one piece, streams in chunks, clients that leave, bodies that are too long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from clusterip.transport.answers import Answer, Response, Sink, Stream, Takeover, framed
from clusterip.transport.http import Listener
from clusterip.transport.listening import bind
from clusterip.transport.request import BodyTooLarge, Request


def served(handler: Callable[[Request], Awaitable[Answer]], talk: Callable[..., Awaitable[None]]) -> None:
    async def run() -> None:
        sock = bind("127.0.0.1:0")
        listener = Listener(handler)
        await listener.listen(sock, None)
        try:
            await asyncio.wait_for(talk(*sock.getsockname()), 120)
        finally:
            await listener.close()

    asyncio.run(run())


async def exchange(host: str, port: int, *requests: bytes) -> bytes:
    """Everything the server says to requests on one connection, until it closes."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"".join(requests))
    said = await reader.read()
    writer.close()
    return said


GET = b"GET /a%2Fb/c?x=1&x=2&y=a+b HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def test_a_request_is_understood_and_answered() -> None:
    async def handler(request: Request) -> Answer:
        text = f"{request.method} {request.segments()} {dict(request.query)}"
        return Response(200, text.encode(), "text/plain", (("X-More", "yes"),))

    async def talk(host: str, port: int) -> None:
        said = await exchange(host, port, GET, CLOSE)
        assert said.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert b"GET ['a/b', 'c'] {'y': 'a b', 'x': '1'}" in said
        assert b"X-More: yes\r\nContent-Length: " in said
        head = await exchange(host, port, CLOSE.replace(b"GET", b"HEAD"))
        assert head.endswith(b"\r\n\r\n")

    served(handler, talk)


def test_a_stream_is_chunked_and_the_connection_goes_on() -> None:
    async def handler(request: Request) -> Answer:
        async def run(sink: Sink) -> None:
            for word in (b"one", b"two"):
                sink.write(framed(word))
                await sink.drain()

        return Stream(run)

    async def talk(host: str, port: int) -> None:
        said = await exchange(host, port, GET, CLOSE)
        assert said.count(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") == 2

    served(handler, talk)


def test_a_client_that_leaves_cancels_its_handler() -> None:
    left = asyncio.Event()
    begun = asyncio.Event()

    async def handler(request: Request) -> Answer:
        async def run(sink: Sink) -> None:
            begun.set()
            try:
                await asyncio.sleep(100)
            finally:
                left.set()

        return Stream(run)

    async def talk(host: str, port: int) -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.write(GET)
        await begun.wait()
        writer.close()
        await left.wait()

    served(handler, talk)


def test_a_body_over_the_limit_is_not_read() -> None:
    async def handler(request: Request) -> Answer:
        try:
            return Response(200, await request.body(10))
        except BodyTooLarge:
            return Response(413, b"")

    async def talk(host: str, port: int) -> None:
        for body, status in ((b"0123456789", b"200"), (b"0123456789a", b"413")):
            size = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            assert (await exchange(host, port, size + body)).startswith(b"HTTP/1.1 " + status)
            chunked = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            said = await exchange(host, port, chunked + framed(body) + b"0\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 " + status)

    served(handler, talk)


def test_a_connection_can_be_taken_over() -> None:
    async def handler(request: Request) -> Answer:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            while piece := await reader.read(100):
                writer.write(piece.upper())
                await writer.drain()

        return Takeover(run)

    async def talk(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    served(handler, talk)


def test_a_listener_that_closes_waits_for_nobody_who_takes_nothing() -> None:
    size = 100_000_000

    async def run() -> None:
        begun = asyncio.Event()

        async def handler(request: Request) -> Answer:
            async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(bytes(size))
                begun.set()
                await writer.drain()

            return Takeover(flood)

        sock, listener = bind("127.0.0.1:0"), Listener(handler)
        await listener.listen(sock, None)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await begun.wait()
        await listener.close()
        heard = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 20):
                heard += len(piece)
        assert heard < size
        writer.close()

    asyncio.run(asyncio.wait_for(run(), 60))
