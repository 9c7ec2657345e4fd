"""What carries SPDY frames: a connection itself, or the messages of a WebSocket.

Stage: edge.  In: a connection that a client has upgraded.  Out: its bytes as they come; bytes back.
Truth: k8s.io/apimachinery httpstream (SPDY/3.1, and tunnelled inside a WebSocket since Kubernetes 1.30).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from clusterip.transport import departure
from clusterip.transport.websocket import WebSocket, WebSocketError

CHUNK = 32 * 1024


class Carrier(Protocol):
    """What carries the client's bytes."""

    def chunks(self) -> AsyncIterator[bytes]: ...

    async def send(self, content: bytes) -> None: ...

    async def left(self) -> None:
        """Wait until the client is gone, whether or not its bytes are read."""
        ...


class Tunnel:
    """SPDY inside a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.left = socket.left

    async def chunks(self) -> AsyncIterator[bytes]:
        with contextlib.suppress(WebSocketError, ConnectionError):
            async for message in self._socket.messages():
                yield message.payload

    async def send(self, content: bytes) -> None:
        await self._socket.send(content)


class Plain:
    """SPDY on the connection itself, as older clients speak it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def chunks(self) -> AsyncIterator[bytes]:
        with contextlib.suppress(ConnectionError):
            while content := await self._reader.read(CHUNK):
                yield content

    async def send(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    async def left(self) -> None:
        await departure.left(self._writer.transport)
