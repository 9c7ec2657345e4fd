"""What is no request, comes too slowly, or takes nothing: a short refusal or the end, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from clusterip.transport import connection
from clusterip.transport.answers import Answer, Response, Sink, Stream, framed, unframed
from clusterip.transport.connection import HEAD_LIMIT, refusal
from clusterip.transport.http import Listener
from clusterip.transport.listening import bind
from clusterip.transport.request import BodyBroken, Request

CLOSE = b"Connection: close\r\n\r\n"


async def echo(request: Request) -> Answer:
    """What was understood of the request."""
    try:
        body = await request.body(1000)
    except BodyBroken as error:
        return Response(422, str(error).encode(), "text/plain")
    return Response(200, request.method.encode() + b" " + body, "text/plain")


def served(talk: Callable[..., Awaitable[None]], handler: Callable[[Request], Awaitable[Answer]] = echo) -> None:
    async def run() -> None:
        sock = bind("127.0.0.1:0")
        listener = Listener(handler)
        await listener.listen(sock, None)
        try:
            await asyncio.wait_for(talk(*sock.getsockname()), 120)
        finally:
            await listener.close()

    asyncio.run(run())


async def said(host: str, port: int, *parts: bytes) -> bytes:
    """Everything the server says to parts sent one by one, until it closes."""
    reader, writer = await asyncio.open_connection(host, port)
    answer = b""
    with suppress(ConnectionError):  # closed before all was sent
        for part in parts:
            writer.write(part)
            await writer.drain()
    with suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return answer


NO_REQUESTS = {
    "noise": b"\x00\x01\x02garbage\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3": b"GET / HTTP/3.0\r\nHost: h\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: abc\r\n\r\n{}",
    "a negative length": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n{}",
    "two lengths": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks that are none": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a blank in a name": b"GET / HTTP/1.1\r\nHost: h\r\nBad Header: x\r\n\r\n",
    "a zero in a value": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
    "a path that is no ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: h\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request_is_refused_briefly(name: str) -> None:
    async def talk(host: str, port: int) -> None:
        answer = await said(host, port, NO_REQUESTS[name])
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer
        assert answer.count(b"HTTP/1.1") == 1
        assert b"aiohttp" not in answer

    served(talk)


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nHost: h\r\n"]
        + [b"X-%d: %b\r\n" % (n, b"y" * 60_000) for n in range(HEAD_LIMIT // 50_000)],
    ],
    ids=["one line", "all together"],
)
def test_heads_have_an_end(parts: list[bytes]) -> None:
    async def talk(host: str, port: int) -> None:
        answer = await said(host, port, *parts)
        assert answer == refusal(431) or answer == b"", answer  # reset: it did not stop sending

    served(talk)


def test_a_head_that_never_ends_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)

    async def talk(host: str, port: int) -> None:
        slow, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
        assert await said(host, port, b"GET / HTTP/1.1\r\nHost: h\r\n" + CLOSE)  # others are served meanwhile
        assert await slow.read() == b""

    served(talk)


def test_a_body_that_never_ends_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterip.transport.request.BODY_SECONDS", 0.2)

    async def talk(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
        assert b"422" in await reader.readline()
        writer.close()

    served(talk)


def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterip.transport.http.IDLE_SECONDS", 1.0)

    async def talk(host: str, port: int) -> None:
        assert await said(host, port) == b""
        assert (await said(host, port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")).endswith(b"GET ")

    served(talk)


def test_http_1_0_gets_its_answer_and_the_end() -> None:
    async def handler(request: Request) -> Answer:
        async def run(sink: Sink) -> None:
            sink.write(framed(b"one") + framed(b"two"))

        return Stream(run) if request.path == "/stream" else await echo(request)

    async def talk(host: str, port: int) -> None:
        answer = await said(host, port, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"Content-Length: 4\r\n" in answer
        assert b"Connection: close\r\n" in answer
        answer = await said(host, port, b"GET /stream HTTP/1.0\r\n\r\n")
        assert b"chunked" not in answer
        assert answer.endswith(b"\r\n\r\nonetwo")

    served(talk, handler)


def test_chunks_are_taken_apart() -> None:
    assert unframed(framed(b"a" * 300) + framed(b"\r\n1\r\n")) == b"a" * 300 + b"\r\n1\r\n"


def test_pipelined_requests_are_answered_in_order() -> None:
    async def talk(host: str, port: int) -> None:
        requests = [b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n%03d" % n for n in range(100)]
        answer = await said(host, port, b"".join(requests) + b"GET / HTTP/1.1\r\nHost: h\r\n" + CLOSE)
        assert [int(part[:3]) for part in answer.split(b"POST ")[1:]] == list(range(100))

    served(talk)


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async def talk(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert b" 200 " in await reader.readline()
        writer.close()

    served(talk)


def test_headers_that_are_no_text_are_readable() -> None:
    async def handler(request: Request) -> Answer:
        return Response(200, request.headers["X"].encode(), "text/plain")

    async def talk(host: str, port: int) -> None:
        answer = await said(host, port, b"GET / HTTP/1.1\r\nHost: h\r\nX: a\xff\r\n" + CLOSE)
        assert answer.endswith(b"\r\n\r\na?")

    served(talk, handler)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reader_that_stops_reading_is_cut_off(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALL_SECONDS", 0.2)
    ended = asyncio.Event()

    async def handler(request: Request) -> Answer:
        if request.path != "/much":
            return await echo(request)
        request_ended(request)
        if not stream:
            return Response(200, b"x" * 50_000_000)

        async def run(sink: Sink) -> None:
            sink.write(framed(b"x" * 50_000_000))
            await sink.taken()

        return Stream(run)

    def request_ended(request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda done: ended.set())

    async def talk(host: str, port: int) -> None:
        _, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(b"GET /much HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await said(host, port, b"GET / HTTP/1.1\r\nHost: h\r\n" + CLOSE)
        assert b" 200 " in answer  # others are served meanwhile
        await ended.wait()
        writer.close()

    served(talk, handler)
