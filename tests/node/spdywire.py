"""A SPDY client's side of a connection, for what speaks to one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

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
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def chunks(self) -> AsyncIterator[bytes]:
        while content := await self.typed.get():
            yield content

    async def left(self) -> None:
        await self.gone.wait()

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
            await asyncio.wait_for(self.news.wait(), 30)
