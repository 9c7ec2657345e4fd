"""Whole requests and requests in pieces get the same answers, in their order; what is odd is left to the parser."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.transport.answers import Answer, Response, Sink, Stream, framed
from clusterip.transport.express import LONGEST_FIELDS, fields_of
from clusterip.transport.http import Listener
from clusterip.transport.listening import bind
from clusterip.transport.request import Request

HEAD = b"Host: x\r\nUser-Agent: tests\r\n"
END = b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes, more: bytes = b"") -> bytes:
    return b"POST /p?q=1 HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (HEAD, more, len(body), body)


async def echo(request: Request) -> Answer:
    body = await request.body(1000)
    await asyncio.sleep(0)
    text = f"{request.method} {request.target} {request.query.get('q', '')} {request.headers.get('user-agent')}|"
    return Response(200, text.encode() + body, "text/plain")


async def conversation(*pieces: bytes, wait: bool = True) -> list[bytes]:
    """The bodies of the answers to pieces that are sent one by one, then to a last request."""
    sock = bind("127.0.0.1:0")
    listener = Listener(echo)
    await listener.listen(sock, None)
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001 if wait else 0)
            writer.write(END)
            answer = await reader.read()
            writer.close()
    finally:
        await listener.close()
    return [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]


LAST = b"GET /end  None|"


def test_a_whole_request_is_answered() -> None:
    got = asyncio.run(conversation(post(b"one"), post(b""), b"GET /g HTTP/1.1\r\n%b\r\n" % HEAD))
    assert got == [b"POST /p?q=1 1 tests|one", b"POST /p?q=1 1 tests|", b"GET /g  tests|", LAST]


@pytest.mark.parametrize("cut", [1, 5, 24, 40, len(post(b"one two")) - 3])
def test_pieces_mean_the_same(cut: int) -> None:
    request = post(b"one two")
    got = asyncio.run(conversation(request[:cut], request[cut:], post(b"three")))
    assert got == [b"POST /p?q=1 1 tests|one two", b"POST /p?q=1 1 tests|three", LAST]


def test_requests_that_do_not_wait_are_answered_in_order() -> None:
    got = asyncio.run(conversation(*[post(b"%d" % number) for number in range(20)], wait=False))
    assert got == [*(b"POST /p?q=1 1 tests|%d" % number for number in range(20)), LAST]


def test_a_beginning_that_comes_with_a_whole_request_is_no_request_of_its_own() -> None:
    inner = post(b"hidden")
    outer = b"GET /outer HTTP/1.1\r\nHost: x\r\nX: "
    got = asyncio.run(conversation(post(b"one") + outer, inner.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", b"hidden"))
    assert got[0].startswith(b"POST /p?q=1 1 tests|one")
    assert b"tests|hidden" not in b"".join(got)


def test_chunks_are_left_to_the_parser() -> None:
    chunked = b"POST /c HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n" % HEAD
    assert asyncio.run(conversation(chunked, post(b"two"))) == [b"POST /c  tests|one", b"POST /p?q=1 1 tests|two", LAST]


@pytest.mark.parametrize(
    "fields",
    [
        b"User-Agent: x\r\n",
        b"Host: x\r\nHost: y\r\n",
        b"Host: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"Host: x\r\nContent-Length: -1\r\n",
        b"Host: x\r\nContent-Length: +1\r\n",
        b"Host: x\r\nTransfer-Encoding: chunked\r\n",
        b"Host: x\r\nUpgrade: websocket\r\n",
        b"Host: x\r\nExpect: 100-continue\r\n",
        b"Host: x\r\nConnection: close\r\n",
        b"Host: x\r\n folded\r\n",
        b"Host : x\r\n",
        b"Host: \xc3\xa9\r\n",
        b"Host: x\r\nX: a\nb\r\n",
        b"",
    ],
)
def test_odd_heads_are_not_understood(fields: bytes) -> None:
    assert fields_of(fields) is None


def test_heads_are_understood_as_they_are_meant() -> None:
    found = fields_of(b"host:x\r\nACCEPT: a, b \r\naccept:\tc\r\nContent-Length: 12\r\n")
    assert found is not None
    assert found.length == 12
    assert found.headers["Accept"] == "a, b"
    assert found.headers["Host"] == "x"


def test_a_long_head_is_answered_too() -> None:
    request = post(b"one", b"X-Long: " + b"x" * (2 * LONGEST_FIELDS) + b"\r\n")
    assert asyncio.run(conversation(request)) == [b"POST /p?q=1 1 tests|one", LAST]


def test_a_client_that_leaves_ends_its_watch() -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def endless(sink: Sink) -> None:
            sink.write(framed(b"begun"))
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        async def handler(request: Request) -> Answer:
            return Stream(endless)

        sock = bind("127.0.0.1:0")
        listener = Listener(handler)
        await listener.listen(sock, None)
        async with asyncio.timeout(30):
            for _ in range(2):  # a first request of a connection may go the other way
                ended.clear()
                reader, writer = await asyncio.open_connection(*sock.getsockname())
                await asyncio.sleep(0.01)
                writer.write(b"GET /w HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.readuntil(b"begun\r\n")
                writer.close()
                await ended.wait()
        await listener.close()

    asyncio.run(run())
