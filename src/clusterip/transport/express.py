"""Whole requests on quiet connections, understood without a parser's state: what nearly all requests of clients are.

Stage: edge; between connection.py and http.py.  In: bytes as they arrive.  Out: the same handler, called the same way.
Rules: a piece of bytes that is exactly one plain request is taken here; everything else (parts, several at once,
       chunks, upgrades, expectations, odd heads) goes to aiohttp's parser, and so does the rest of the connection once
       it is not known where a request begins.  Heads repeat on a connection, so that what they say is remembered.
Truth: RFC 9112; what this accepts is a strict part of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy

from clusterip.transport.connection import HEAD_LIMIT, Connection
from clusterip.transport.httplibrary import HttpVersion11

LINE = re.compile(rb"(GET|PUT|POST|PATCH|DELETE) (/[!-~]*) HTTP/1\.1\r\n")
FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~\t]*\r\n)+")
LONGEST_LINE, LONGEST_FIELDS = 4096, 4096  # bytes; longer heads are rare
SPECIAL = ("transfer-encoding", "upgrade", "expect", "connection", "te", "trailer", "http2-settings")
VERSION = HttpVersion11


class Fields(NamedTuple):
    """What a head says below its first line."""

    headers: Mapping[str, str]
    length: int
    """Of the body."""


@lru_cache(maxsize=1024)
def fields_of(raw: bytes) -> Fields | None:
    """Header lines, understood; None for those that need a second look."""
    if not FIELDS.fullmatch(raw):
        return None
    headers: CIMultiDict[str] = CIMultiDict()
    for line in raw.decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        headers.add(name, value.strip(" \t"))
    lengths = headers.getall("Content-Length", ["0"])
    hosts = headers.getall("Host", [])
    if any(name in headers for name in SPECIAL) or len(lengths) != 1 or len(hosts) != 1:
        return None
    if not (lengths[0].isdigit() and len(lengths[0]) < 12):
        return None
    return Fields(CIMultiDictProxy(headers), int(lengths[0]))


class Whole:
    """A request that has arrived whole, with what http.py asks of aiohttp's."""

    __slots__ = ("body", "headers", "method", "protocol", "raw_path", "transport", "writer")

    version = VERSION
    keep_alive = True

    def __init__(self, protocol: Express, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self.writer = protocol
        self.method = method
        self.raw_path = target
        self.headers = headers
        self.body = body


class Express(Connection):
    """A connection that answers whole requests at once."""

    __slots__ = ("_aligned", "_later", "_owed", "_running")

    _aligned: bool
    """It is known that the next byte begins a request."""
    _later: bytes
    """What came while a request was at work."""
    _owed: int
    """Bytes that a body handed to the parser still lacks."""
    _running: asyncio.Task[None] | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._aligned, self._later, self._owed, self._running = True, b"", 0, None
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._running is not None:
            self._running.cancel()

    def data_received(self, data: bytes) -> None:
        if self._running is not None:
            self._keep(data)
        elif self._owed:
            self._owed -= len(data)
            if self._owed < 0:
                self._aligned, self._owed = False, 0
            super().data_received(data)
        elif not self._aligned or not self._took(data):
            super().data_received(data)

    def _keep(self, data: bytes) -> None:
        self._later += data
        if len(self._later) > HEAD_LIMIT and self.transport is not None:
            self.transport.pause_reading()

    def _took(self, data: bytes) -> bool:
        """Whether the bytes are a request that is now at work; where the next begins is noted."""
        line = LINE.match(data, 0, LONGEST_LINE)
        end = data.find(b"\r\n\r\n", line.end() - 2, line.end() + LONGEST_FIELDS) if line else -1
        found = fields_of(data[line.end() : end + 2]) if line and end >= line.end() else None
        if line is None or found is None:
            self._aligned = False
            return False
        owed = end + 4 + found.length - len(data)
        if owed:
            self._aligned, self._owed = owed > 0, max(owed, 0)
            return False
        waiter = self._waiter
        if waiter is None or waiter.done() or self._messages or self._close or self._force_close:
            return False
        method, target = line[1].decode(), line[2].decode()
        self._request_in_progress = True
        self._running = self._loop.create_task(
            self._serve(Whole(self, method, target, found.headers, data[end + 4 :] if found.length else b""))
        )
        return True

    async def _serve(self, request: Whole) -> None:
        goes_on = False
        try:
            assert self._manager is not None
            assert self._request_handler is not None
            self._manager.requests_count += 1
            given: Any = await self._request_handler(request)  # type: ignore[arg-type]
            await given.prepare(request)
            goes_on = given.keep_alive
        except ConnectionError:
            pass
        except Exception as error:
            self.log_exception("A request failed", exc_info=error)
        finally:
            self._running = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
            if goes_on and not (self._close or self._force_close):
                self._next()
            else:
                self.force_close()

    def _next(self) -> None:
        """Wait for a further request, or look at the one that has come."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._later:
            data, self._later = self._later, b""
            if self.transport is not None:
                self.transport.resume_reading()
            self.data_received(data)

    def _process_keepalive(self) -> None:
        if self._running is None:
            super()._process_keepalive()
        else:
            later = self._loop.time() + self._keepalive_timeout
            self._keepalive_handle = self._loop.call_at(later, self._process_keepalive)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        running = self._running
        await super().shutdown(timeout)
        if running is not None:
            running.cancel()

    async def drain(self) -> None:
        """Until the client has taken most of what is written."""
        await self._drain_helper()
