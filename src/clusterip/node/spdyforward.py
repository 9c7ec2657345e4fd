"""Port forwarding over SPDY: each connection is a pair of streams, one for bytes and one for what went wrong.

Stage: edge.  In: a client's frames.  Out: connections into a pod, and frames back.
Rules: streams belong together by their request id; those without one (clients before 1.2) by their numbers.
Truth: portforward.k8s.io: headers streamtype, port, requestid; k8s.io/cri-streaming portforward.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from clusterip.node.carriers import Carrier
from clusterip.node.portforward import Connect, Connection, Room, Words, plainly
from clusterip.transport import departure
from clusterip.transport.spdy import Content, Decoder, Encoder, Event, Opened, Pinged, Reset, SpdyError

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"
HALVES = 1000  # of connections whose other stream has not been opened yet


@dataclass(slots=True)
class Pair:
    """The two streams of one connection, and how the client hears of it."""

    port: int
    carrier: Carrier
    encoder: Encoder
    words: Words
    error: int = 0
    data: int = 0

    async def send(self, content: bytes) -> None:
        await self.carrier.send(self.encoder.content(self.data, content))

    async def end(self) -> None:
        """Both streams: clients wait for the end of the error stream before they let go of a connection."""
        last = self.encoder.content(self.data, b"", ended=True) + self.encoder.content(self.error, b"", ended=True)
        await self.carrier.send(last)

    async def fail(self, why: str) -> None:
        await self.carrier.send(self.encoder.content(self.error, self.words(self.port, why).encode()))
        await self.end()


class Forwarding:
    """One client's forwarding into one pod."""

    def __init__(self, carrier: Carrier, connect: Connect, words: Words = plainly, room: Room | None = None) -> None:
        self._carrier = carrier
        self._connect = connect
        self._words = words
        self._room = room or Room()
        self._encoder = Encoder()
        self._halves: dict[str, tuple[Pair, Connection]] = {}
        self._by_data: dict[int, Connection] = {}

    async def run(self) -> None:
        """Forward until the client leaves."""
        async with asyncio.TaskGroup() as group:
            tasks: set[asyncio.Task[None]] = set()
            await departure.while_there(self._read(group, tasks), self._carrier.left())
            for task in tasks:
                task.cancel()

    async def _read(self, group: asyncio.TaskGroup, tasks: set[asyncio.Task[None]]) -> None:
        decoder = Decoder()
        with contextlib.suppress(SpdyError, ConnectionError):
            async for chunk in self._carrier.chunks():
                for event in decoder.feed(chunk):
                    if (whole := await self._take(event)) is not None:
                        task = group.create_task(self._forward(*whole), name=f"forward {whole[0].port}")
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                await self._room.free()

    async def _forward(self, pair: Pair, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._by_data.pop(pair.data, None)

    async def _take(self, event: Event) -> tuple[Pair, Connection] | None:
        """Handle one event; a connection that is complete with it."""
        if isinstance(event, Opened):
            return await self._open(event)
        if isinstance(event, Pinged):
            if event.number % 2:  # the client's own; an even one would be the answer to ours
                await self._carrier.send(self._encoder.ping(event.number))
            return None
        connection = self._by_data.get(event.stream)
        if connection is not None:
            _pass_on(event, connection)
        return None

    async def _open(self, event: Opened) -> tuple[Pair, Connection] | None:
        kind, port = event.headers.get("streamtype", ""), event.headers.get("port", "")
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
        if kind not in ("error", "data") or not is_port or len(self._halves) > HALVES:
            await self._carrier.send(self._encoder.reset(event.stream))
            return None
        request = event.headers.get("requestid") or str(event.stream - 2 if kind == "data" else event.stream)
        pair, connection = self._halves.get(request) or self._half(int(port))
        if getattr(pair, kind):
            await self._carrier.send(self._encoder.reset(event.stream))
            return None
        setattr(pair, kind, event.stream)
        self._halves[request] = pair, connection
        if kind == "data":
            self._by_data[event.stream] = connection
            if event.ended:
                connection.end()
        await self._carrier.send(self._encoder.reply(event.stream))
        return self._halves.pop(request) if pair.error and pair.data else None

    def _half(self, port: int) -> tuple[Pair, Connection]:
        pair = Pair(port, self._carrier, self._encoder, self._words)
        return pair, Connection(port, self._connect, pair, self._room)


def _pass_on(event: Content | Reset, connection: Connection) -> None:
    if isinstance(event, Reset):
        connection.drop()
        return
    connection.take(event.content)
    if event.ended:
        connection.end()
