"""An HTTP/1.1 listener: requests in, answers out; the only module that knows which HTTP library does it.

Stage: edge.  In: sockets, TLS, a handler.  Out: Request values to the handler; what it answers to the wire.
Rules: an answer goes to the transport as one buffer; a client that leaves cancels its handler, quietly; handlers see no
       aiohttp type, so another listener can take this one's place.
Truth: RFC 9112.  aiohttp's low-level server asks of an answer only prepare, write_eof and keep_alive.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from clusterip.transport import departure
from clusterip.transport.answers import (
    LAST_CHUNK,
    UNCACHED,
    Answer,
    Response,
    Sink,
    Stream,
    Takeover,
)
from clusterip.transport.connection import HEAD_SECONDS, IDLE_SECONDS, Refused, taken
from clusterip.transport.express import Express
from clusterip.transport.httplibrary import BaseRequest, RequestHandler, Server
from clusterip.transport.request import Peer, Request

LINE_LIMIT = 256 * 1024  # the command of an exec travels in the request line
BACKLOG = 1024
PIECE = 1024 * 1024  # of a long answer, between two looks at how much the client has taken

Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(slots=True)
class _Written:
    """What aiohttp is told: the answer is on its way."""

    keep_alive: bool

    async def prepare(self, request: BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        return None


class _Server(Server):
    """aiohttp's server, with each connection's peer remembered."""

    def __init__(self, handler: Callable[[BaseRequest], Awaitable[Any]], **settings: Any) -> None:
        super().__init__(handler, **settings)
        self.peers: dict[RequestHandler, Peer] = {}

    def __call__(self) -> RequestHandler:
        return Express(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self.peers[handler] = _peer(transport)
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self.peers.pop(handler, None)
        super().connection_lost(handler, exc)


def _peer(transport: asyncio.Transport) -> Peer:
    certificate = transport.get_extra_info("peercert") or {}
    name, groups = "", []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    address = transport.get_extra_info("peername")
    expires = ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate.get("notAfter") else 0.0
    return Peer(str(address[0]) if isinstance(address, tuple) else "", name, tuple(groups), expires)


@dataclass(slots=True)
class Listener:
    """A handler behind any number of sockets."""

    handler: Handler
    _server: _Server | None = None
    _sockets: list[asyncio.Server] = field(default_factory=list)

    async def listen(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept on a bound socket until `close`."""
        if self._server is None:
            self._server = _Server(
                self._answer,
                handler_cancellation=True,
                access_log=None,
                max_line_size=LINE_LIMIT,
                max_field_size=LINE_LIMIT,
                lingering_time=2.0,
                keepalive_timeout=IDLE_SECONDS,
                auto_decompress=False,  # as upstream: a short body cannot become a long one
            )
        loop = asyncio.get_running_loop()
        handshake = HEAD_SECONDS if context else None
        self._sockets.append(
            await loop.create_server(
                self._server, sock=sock, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=handshake
            )
        )

    async def close(self, timeout: float = 0.2) -> None:
        """Accept no more, let running requests end within the timeout, cut the rest."""
        for listening in self._sockets:
            listening.close()
        if self._server:
            self._server.pre_shutdown()
            await self._server.shutdown(timeout)

    async def _answer(self, raw: BaseRequest) -> _Written | Refused:
        assert self._server is not None
        protocol = raw.protocol
        if "Host" not in raw.headers and raw.version >= (1, 1):
            return Refused(raw.transport, 400, "missing required Host header")
        request = Request(raw, self._server.peers.get(protocol) or Peer())
        answer = await self.handler(request)
        transport = raw.transport
        if transport is None:
            raise ConnectionResetError
        if isinstance(answer, Response):
            return await _respond(raw, transport, answer, request.lead)
        if isinstance(answer, Stream):
            return await _stream(raw, transport, answer, request.lead)
        return await _give_away(protocol, transport, answer)


async def _respond(raw: BaseRequest, transport: asyncio.Transport, answer: Response, lead: bytes) -> _Written:
    keep = _keeps(raw)
    head = _head(answer.status, answer.content_type, keep, answer.cache_control)
    extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers).encode() if answer.headers else b""
    body = answer.body
    start = b"%b%b%bContent-Length: %d\r\n\r\n" % (head, lead, extra, len(body))
    if raw.method == "HEAD" or len(body) > PIECE:
        transport.write(start)
        if raw.method != "HEAD":
            await _write_long(raw, transport, body)
    else:
        transport.write(start + body)
        if transport.get_write_buffer_size() > 65536:
            await taken(raw.writer.drain, transport)
    return _Written(keep)


async def _write_long(raw: BaseRequest, transport: asyncio.Transport, body: bytes) -> None:
    """Piece by piece as the client takes it: over TLS, what was written at once is counted nowhere."""
    whole = memoryview(body)
    for first in range(0, len(body), PIECE):
        transport.write(whole[first : first + PIECE])
        if transport.get_write_buffer_size() > 65536:
            await taken(raw.writer.drain, transport)


async def _stream(raw: BaseRequest, transport: asyncio.Transport, answer: Stream, lead: bytes) -> _Written:
    chunked = raw.version >= (1, 1)
    keep = _keeps(raw)
    head = _head(answer.status, answer.content_type, keep)
    extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers).encode()
    framing = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"
    transport.write(head + lead + extra + framing)
    if raw.method != "HEAD":
        await answer.run(Sink(transport, raw.writer.drain, chunked))
        if chunked and not transport.is_closing():
            transport.write(LAST_CHUNK)
    return _Written(keep)


def _keeps(raw: BaseRequest) -> bool:
    """Whether the connection lives on; HTTP/1.0's ends with its answer."""
    return bool(raw.keep_alive) and raw.version >= (1, 1)


async def _give_away(protocol: RequestHandler, transport: asyncio.Transport, answer: Takeover) -> _Written:
    """Let `run` have the transport; afterwards aiohttp hears that the connection is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=256 * 1024, loop=loop)
    streams = asyncio.StreamReaderProtocol(reader, loop=loop)
    tail = protocol._message_tail
    if tail:
        protocol._message_tail = b""
        reader.feed_data(tail)
    transport.set_protocol(streams)
    streams.connection_made(transport)
    writer = asyncio.StreamWriter(transport, streams, reader, loop)
    try:
        with departure.dropped(transport):
            await answer.run(reader, writer)
            await departure.close(writer)
    finally:
        transport.close()
        protocol.connection_lost(None)
    return _Written(False)


@lru_cache(maxsize=256)
def _head(status: int, content_type: str, keep_alive: bool, cache_control: str = UNCACHED) -> bytes:
    """The status line and the headers that all answers share."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Cache-Control: {cache_control}"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n").encode()
