"""What handlers answer: a whole body, a stream of pieces, or the connection itself taken over.

Stage: edge; below http.py.  In: nothing.  Out: values that http.py writes; the Sink that a stream writes to.
Truth: RFC 9112, chunked transfer coding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from clusterip.transport.connection import taken

UNCACHED = "no-cache, private"
TEXT = "text/plain; charset=utf-8"
SAFE = (("X-Content-Type-Options", "nosniff"),)


@dataclass(slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    cache_control: str = UNCACHED


def plain(status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A text that no browser takes for anything else."""
    return Response(status, text.encode(), TEXT, (*headers, *SAFE))


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
