"""One client's connection: how long its request may take to arrive, how long its head may be, what garbage is told.

Stage: edge; below http.py.  In: bytes of anybody.  Out: aiohttp's parsed messages, or a short refusal and the end.
Rules: nothing that a client sends, or fails to send, holds memory without bound or the connection for ever; a client
       that takes nothing for STALL_SECONDS is cut off.
Truth: RFC 9112; net/http of Go for the words and limits of a refusal, as kube-apiserver sets them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from clusterip.transport.httplibrary import BaseRequest, LineTooLong, RequestHandler, StreamResponse

HEAD_LIMIT = 1024 * 1024  # bytes of a request line and its headers together
HEAD_SECONDS = 32.0  # from the first byte of a head to its last
IDLE_SECONDS = 120.0  # of a connection without a request
STALL_SECONDS = 30.0  # without a byte taken by a client that has bytes to take


def refusal(status: int, why: str = "") -> bytes:
    """The whole answer to what is no request."""
    phrase = f"{status} {HTTPStatus(status).phrase}"
    text = f"{phrase}: {why}" if why else phrase
    head = f"HTTP/1.1 {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()


@dataclass(slots=True)
class Refused:
    """What aiohttp is told instead of its own error page."""

    transport: asyncio.Transport | None
    status: int
    why: str = ""
    keep_alive: bool = False

    async def prepare(self, request: BaseRequest) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(refusal(self.status, self.why))

    async def write_eof(self) -> None:
        return None


class Connection(RequestHandler):
    """aiohttp's connection with limits on heads, and refusals as Go's servers word them."""

    __slots__ = ("_head_bytes", "_head_timer", "has_odd_heads")

    _head_bytes: int
    has_odd_heads: bool
    """A head may hold bytes that are no ASCII."""
    _head_timer: asyncio.TimerHandle | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._head_bytes, self._head_timer, self.has_odd_heads = 0, None, False
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_is_whole()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        if not data.isascii():
            self.has_odd_heads = True
        super().data_received(data)
        if self._request_count != before:
            if self._head_bytes:
                self._head_is_whole()
        elif self._waiter is not None and data:
            self._head_grew(len(data))

    def _head_is_whole(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_grew(self, size: int) -> None:
        """Part of a head has come: it may not become too long, nor come for ever."""
        self._head_bytes += size
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_SECONDS, self._give_up, 408)
        if self._head_bytes > HEAD_LIMIT:
            self._give_up(431)

    def _give_up(self, status: int) -> None:
        if self.transport is not None and not self.transport.is_closing():
            if status != 408:  # whoever is late is not waited for, so is told nothing
                self.transport.write(refusal(status))
            self.force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What is no request is answered briefly; nothing of it is logged."""
        code = 431 if isinstance(exc, LineTooLong) else status
        return Refused(self.transport, code)  # type: ignore[return-value]


class TakesNothing(ConnectionResetError):
    """A client was cut off, because it reads nothing."""


async def taken(drain: Callable[[], Awaitable[None]], transport: asyncio.Transport) -> None:
    """Until the client has taken most of what is written; one that takes nothing for long is cut off."""
    while True:
        before = transport.get_write_buffer_size()
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await drain()
            return
        except TimeoutError:
            if transport.is_closing() or transport.get_write_buffer_size() >= before:
                transport.abort()
                raise TakesNothing("the client takes nothing") from None
