"""Port forwarding: pairs of SPDY streams, each a connection to a port of the pod.

Stage: edge.  In: a client's bytes, a way to connect into the pod.  Out: bytes both ways, errors on their own stream.
Rules: one connection that fails or stalls ends alone; when the client leaves all end.
Truth: portforward.k8s.io: each connection is an error and a data stream with headers streamtype, port, requestid.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from clusterip.transport.spdy import Content, Decoder, Encoder, Opened, Pinged, Reset, SpdyError
from clusterip.transport.websocket import WebSocket, WebSocketError

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"
CHUNK = 32 * 1024
WAITING = 64  # chunks of one connection that wait for the pod

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[int], Awaitable[Streams]]


class Carrier(Protocol):
    """What carries the client's bytes."""

    def chunks(self) -> AsyncIterator[bytes]: ...

    async def send(self, content: bytes) -> None: ...


class Tunnel:
    """SPDY inside a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

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


@dataclass(slots=True)
class Pair:
    """The two streams of one connection."""

    port: int
    error: int = 0
    data: int = 0
    waiting: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(WAITING))  # b"" is the end


class Forwarding:
    """One client's forwarding into one pod."""

    def __init__(self, carrier: Carrier, connect: Connect) -> None:
        self._carrier = carrier
        self._connect = connect
        self._encoder = Encoder()
        self._pairs: dict[str, Pair] = {}
        self._by_data: dict[int, Pair] = {}

    async def run(self) -> None:
        """Forward until the client leaves."""
        decoder = Decoder()
        async with asyncio.TaskGroup() as group:
            tasks: set[asyncio.Task[None]] = set()
            with contextlib.suppress(SpdyError, ConnectionError):
                async for chunk in self._carrier.chunks():
                    for event in decoder.feed(chunk):
                        pair = await self._take(event)
                        if pair is not None:
                            task = group.create_task(self._forward(pair), name=f"forward {pair.port}")
                            tasks.add(task)
                            task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()

    async def _take(self, event: Opened | Content | Reset | Pinged) -> Pair | None:
        """Handle one event; a pair that is complete with it."""
        if isinstance(event, Opened):
            return await self._open(event)
        if isinstance(event, Pinged):
            if event.number % 2:  # the client's own; an even one would be the answer to ours
                await self._carrier.send(self._encoder.ping(event.number))
            return None
        pair = self._by_data.get(event.stream)
        if pair is not None:
            if isinstance(event, Content) and event.content:
                await pair.waiting.put(event.content)
            if isinstance(event, Reset) or event.ended:
                await pair.waiting.put(b"")
        return None

    async def _open(self, event: Opened) -> Pair | None:
        kind, port = event.headers.get("streamtype", ""), event.headers.get("port", "")
        if kind not in ("error", "data") or not port.isdigit() or not 0 < int(port) < 65536:
            await self._carrier.send(self._encoder.reset(event.stream))
            return None
        request = event.headers.get("requestid", port)
        pair = self._pairs.setdefault(request, Pair(int(port)))
        if kind == "error":
            pair.error = event.stream
        else:
            pair.data = event.stream
            self._by_data[event.stream] = pair
        await self._carrier.send(self._encoder.reply(event.stream))
        return self._pairs.pop(request) if pair.error and pair.data else None

    async def _forward(self, pair: Pair) -> None:
        """One connection, from its first byte to its last."""
        try:
            with contextlib.suppress(ConnectionError):  # the client is gone: nobody to tell
                await self._carry(pair)
                await self._carrier.send(self._encoder.content(pair.data, b"", ended=True))
                await self._carrier.send(self._encoder.content(pair.error, b"", ended=True))
        finally:
            self._by_data.pop(pair.data, None)
            while not pair.waiting.empty():  # lets go of whoever waits to put more
                pair.waiting.get_nowait()

    async def _carry(self, pair: Pair) -> None:
        try:
            reader, writer = await self._connect(pair.port)
        except (OSError, TimeoutError) as error:
            why = os.strerror(error.errno) if error.errno else "no answer in time"
            text = f"failed to connect to localhost:{pair.port} inside the pod: {why}"
            await self._carrier.send(self._encoder.content(pair.error, text.encode()))
            return
        typing = asyncio.ensure_future(_pour(pair.waiting, writer))
        try:
            with contextlib.suppress(ConnectionResetError):
                while content := await reader.read(CHUNK):
                    await self._carrier.send(self._encoder.content(pair.data, content))
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            writer.close()


async def _pour(waiting: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
    """The client's bytes to the pod; its end is passed on, the other way stays open."""
    with contextlib.suppress(ConnectionError):
        while content := await waiting.get():
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
