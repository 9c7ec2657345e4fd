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
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from multidict import CIMultiDict

from clusterip.transport import departure
from clusterip.transport.connection import HEAD_SECONDS, IDLE_SECONDS, Refused, taken
from clusterip.transport.express import Express, Whole

LINE_LIMIT = 256 * 1024  # the command of an exec travels in the request line
BACKLOG = 1024
PIECE = 1024 * 1024  # of a long answer, between two looks at how much the client has taken
UNCACHED = "no-cache, private"
BODY_SECONDS = 60.0  # for a whole body to arrive


class BodyTooLarge(Exception):
    """A request's body is over the limit that the handler set."""


class BodyBroken(Exception):
    """A request's body is not what its head said, or did not come in time."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: the address, and the subject of a checked client certificate."""

    address: str = ""
    common_name: str = ""
    organizations: tuple[str, ...] = ()


class Sizes(Protocol):
    """Takes numbers."""

    def append(self, size: int, /) -> None: ...

    def extend(self, sizes: Iterable[int], /) -> None: ...


NO_SIZES: Sizes = deque(maxlen=0)


class Request:
    """One request. `target` is the path and query as sent; `path` is decoded by segment."""

    __slots__ = (
        "_query",
        "_raw",
        "begun",
        "headers",
        "lead",
        "method",
        "peer",
        "received",
        "sizes",
        "target",
        "wants_upgrade",
    )

    def __init__(self, raw: web.BaseRequest | Whole, peer: Peer) -> None:
        self._raw = raw
        self._query: dict[str, str] | None = None
        self.method: str = raw.method
        self.target: str = raw.raw_path
        self.headers: Mapping[str, str] = raw.headers
        if getattr(raw.protocol, "has_odd_heads", False):
            self.headers = _readable(raw.headers)
        self.peer = peer
        self.wants_upgrade = "Upgrade" in self.headers
        self.lead = b""
        """Header lines that the answer carries, whatever it is."""
        self.begun: Callable[[], None] = _nothing
        """To be called when an answer that stays open has begun."""
        self.sizes: Sizes = NO_SIZES
        """Where an answer of many parts says how long each was."""
        self.received = b""
        """The body, once it was read."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def segments(self) -> list[str]:
        """The path's parts, decoded; a slash in a part stays in it."""
        path = self.path
        parts = [part for part in path.split("/") if part]
        return [unquote(part) for part in parts] if "%" in path else parts

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters; of a repeated one the first."""
        if self._query is None:
            text = self.target.partition("?")[2]
            pairs = parse_qsl(text, keep_blank_values=True) if text else []
            self._query = dict(reversed(pairs))
        return self._query

    def values(self, name: str) -> list[str]:
        """All values of a parameter, in order."""
        if name not in self.query:
            return []
        return [value for key, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True) if key == name]

    async def body(self, limit: int) -> bytes:
        """The whole body; BodyTooLarge when it is longer than the limit, BodyBroken when it does not come whole."""
        raw = self._raw
        if isinstance(raw, Whole):
            if len(raw.body) > limit:
                raise BodyTooLarge
            self.received = raw.body
            return self.received
        if not raw.can_read_body:
            return b""
        if (raw.content_length or 0) > limit:
            raise BodyTooLarge
        if "Expect" in self.headers and raw.transport is not None and self.headers["Expect"].lower() == "100-continue":
            raw.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                self.received = await _whole(raw, limit)
        except (RequestPayloadError, HttpProcessingError) as error:
            raise BodyBroken(str(error).partition("\n")[0]) from error
        except TimeoutError:
            raise BodyBroken(f"it did not arrive within {BODY_SECONDS:.0f} seconds") from None
        return self.received

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        raw = self._raw
        if isinstance(raw, Whole):
            yield raw.body
        elif raw.can_read_body:
            while piece := await raw.content.readany():
                yield piece


async def _whole(raw: web.BaseRequest, limit: int) -> bytes:
    parts, size = [], 0
    while chunk := await raw.content.readany():
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _nothing() -> None:
    """Nobody waits for this."""


def _readable(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers without what is no text: it could be put into no answer."""
    pairs = ((name, value.encode(errors="replace").decode()) for name, value in headers.items())
    return CIMultiDict(pairs)


@dataclass(slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    cache_control: str = UNCACHED


@dataclass(slots=True)
class Stream:
    """An answer that `run` writes piece by piece, in chunks."""

    run: Callable[[Sink], Awaitable[None]]
    status: int = 200
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Takeover:
    """The connection's bytes, both ways, from here on: `run` answers the request by itself."""

    run: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


Answer = Response | Stream | Takeover
Handler = Callable[[Request], Awaitable[Answer]]


class Sink:
    """Where a Stream writes. `write` takes framed chunks, so that one framing serves many sinks."""

    __slots__ = ("_chunked", "_drain", "_transport")

    def __init__(
        self, transport: asyncio.Transport, drain: Callable[[], Awaitable[None]], chunked: bool = True
    ) -> None:
        self._transport = transport
        self._drain = drain
        self._chunked = chunked

    def write(self, framed: bytes) -> None:
        if not self.closing:  # a client that left is no reason to fail the writer of a change
            self._transport.write(framed if self._chunked else unframed(framed))

    def give(self, framed: bytes) -> int:
        """Write; the bytes that the client has not taken yet."""
        transport = self._transport
        if transport.is_closing():
            return 0
        transport.write(framed if self._chunked else unframed(framed))
        return transport.get_write_buffer_size()

    @property
    def buffered(self) -> int:
        """Bytes that the client has not taken yet."""
        return 0 if self.closing else self._transport.get_write_buffer_size()

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    async def drain(self) -> None:
        """Wait until the client has taken most of it, however long somebody pauses a log."""
        await self._drain()

    async def taken(self) -> None:
        """Wait as `drain` does, but not long: ConnectionResetError for a client that takes nothing."""
        await taken(self._drain, self._transport)

    def abort(self) -> None:
        """Cut the connection off; what is buffered is lost."""
        self._transport.abort()


def framed(content: bytes) -> bytes:
    """One HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def unframed(chunks: bytes) -> bytes:
    """What whole chunks hold: HTTP/1.0 knows no framing."""
    parts, position = [], 0
    while position < len(chunks):
        end = chunks.index(b"\r\n", position)
        size = int(chunks[position:end], 16)
        parts.append(chunks[end + 2 : end + 2 + size])
        position = end + size + 4
    return b"".join(parts)


LAST_CHUNK = b"0\r\n\r\n"


@dataclass(slots=True)
class _Written:
    """What aiohttp is told: the answer is on its way."""

    keep_alive: bool

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        return None


class _Server(web.Server):
    """aiohttp's server, with each connection's peer remembered."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[Any]], **settings: Any) -> None:
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
    return Peer(str(address[0]) if isinstance(address, tuple) else "", name, tuple(groups))


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

    async def _answer(self, raw: web.BaseRequest) -> _Written | Refused:
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


async def _respond(raw: web.BaseRequest, transport: asyncio.Transport, answer: Response, lead: bytes) -> _Written:
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


async def _write_long(raw: web.BaseRequest, transport: asyncio.Transport, body: bytes) -> None:
    """Piece by piece as the client takes it: over TLS, what was written at once is counted nowhere."""
    whole = memoryview(body)
    for first in range(0, len(body), PIECE):
        transport.write(whole[first : first + PIECE])
        if transport.get_write_buffer_size() > 65536:
            await taken(raw.writer.drain, transport)


async def _stream(raw: web.BaseRequest, transport: asyncio.Transport, answer: Stream, lead: bytes) -> _Written:
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


def _keeps(raw: web.BaseRequest) -> bool:
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
