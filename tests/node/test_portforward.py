"""Connections into a pod over pairs of streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from clusterip.node.portforward import Forwarding, Streams
from clusterip.transport.spdy import Content, Decoder, Encoder, Pinged, Reset


@dataclass
class Wire:
    """A client's side: what it sends, what it got on each stream."""

    typed: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    got: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    reset: set[int] = field(default_factory=set)
    pings: list[int] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)

    async def chunks(self) -> AsyncIterator[bytes]:
        while content := await self.typed.get():
            yield content

    async def send(self, content: bytes) -> None:
        for event in self.decoder.feed(content):
            if isinstance(event, Content):
                self.got[event.stream] = self.got.get(event.stream, b"") + event.content
                if event.ended:
                    self.ended.add(event.stream)
            elif isinstance(event, Reset):
                self.reset.add(event.stream)
            elif isinstance(event, Pinged):
                self.pings.append(event.number)
        self.news.set()

    def open(self, first: int, port: str = "80") -> None:
        for stream, kind in ((first, "error"), (first + 2, "data")):
            self.typed.put_nowait(
                self.encoder.opened(stream, {"streamtype": kind, "port": port, "requestid": str(first)})
            )

    def type(self, stream: int, content: bytes, *, ended: bool = False) -> None:
        self.typed.put_nowait(self.encoder.content(stream, content, ended=ended))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 5)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A pod that answers when its client has said all."""
    writer.write(b"you said " + await reader.read())
    await writer.drain()
    writer.close()


def play(script: Callable[[Wire], Awaitable[None]]) -> None:
    async def work() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            bound = server.sockets[0].getsockname()[1]

            async def connect(port: int) -> Streams:
                return await asyncio.open_connection("127.0.0.1", bound if port == 80 else 1)

            wire = Wire()
            running = asyncio.ensure_future(Forwarding(wire, connect).run())
            await script(wire)
            wire.typed.put_nowait(b"")
            await asyncio.wait_for(running, 5)

    asyncio.run(work())


def test_two_connections_at_once() -> None:
    async def script(wire: Wire) -> None:
        wire.open(1)
        wire.open(5)
        wire.type(3, b"one")
        wire.type(7, b"two", ended=True)
        await wire.until(lambda: 7 in wire.ended)
        wire.type(3, b"!", ended=True)
        await wire.until(lambda: {1, 3, 5, 7} <= wire.ended)
        assert (wire.got[3], wire.got[7], wire.got[1]) == (b"you said one!", b"you said two", b"")

    play(script)


def test_a_port_where_nobody_listens() -> None:
    async def script(wire: Wire) -> None:
        wire.open(1, "81")
        await wire.until(lambda: {1, 3} <= wire.ended)
        assert wire.got[1].startswith(b"failed to connect to localhost:81 inside the pod: Connection refused")
        wire.open(5)
        wire.type(7, b"still here", ended=True)
        await wire.until(lambda: 7 in wire.ended)

    play(script)


def test_pings_and_streams_that_make_no_sense() -> None:
    async def script(wire: Wire) -> None:
        wire.typed.put_nowait(wire.encoder.ping(1) + wire.encoder.ping(2))
        wire.typed.put_nowait(wire.encoder.opened(1, {"streamtype": "data", "port": "many"}))
        await wire.until(lambda: bool(wire.reset))
        assert (wire.pings, wire.reset) == ([1], {1})

    play(script)


def test_a_client_that_leaves_ends_everything() -> None:
    async def script(wire: Wire) -> None:
        wire.open(1)
        wire.type(3, b"unfinished")

    play(script)
