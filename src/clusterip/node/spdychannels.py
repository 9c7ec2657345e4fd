"""The remote command protocol over SPDY/3.1: a stream for each channel, as kubectl before 1.31 speaks it.

Stage: edge.  In: a client's bytes.  Out: what was typed, resized, ended; output and the final Status back.
Rules: the command starts when every stream that the request asks for is there; the server ends with exactly one word on
the error stream, then all streams; what is sent to a stream that nobody opened is dropped.
Truth: k8s.io/apimachinery remotecommand constants; k8s.io/client-go remotecommand v1 to v4 (the client's side).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from clusterip.api.meta import Tree
from clusterip.node import channels
from clusterip.node.carriers import Carrier
from clusterip.node.channels import InputSink, last_word, resized
from clusterip.transport import departure
from clusterip.transport.spdy import Content, Decoder, Encoder, Opened, Pinged, Reset, SpdyError

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STREAMS = {
    "stdin": channels.STDIN,
    "stdout": channels.STDOUT,
    "stderr": channels.STDERR,
    "error": channels.ERROR,
    "resize": channels.RESIZE,
}
OPEN_SECONDS = 30.0
OUTPUTS = (channels.STDOUT, channels.STDERR, channels.ERROR)


class SpdyChannels:
    """The server's side of one remote command."""

    def __init__(self, carrier: Carrier, protocol: str) -> None:
        self._carrier = carrier
        self._protocol = protocol
        self._encoder = Encoder()
        self._streams: dict[int, int] = {}  # of a channel
        self._channels: dict[int, int] = {}  # of a stream
        self._incoming = self._events()

    async def opened(self, wanted: frozenset[int]) -> bool:
        """Wait until the client has opened the streams of these channels; whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                while not wanted <= self._streams.keys():
                    if await anext(self._incoming, None) is None:
                        return False
        return wanted <= self._streams.keys()

    async def _events(self) -> AsyncIterator[Content | Reset | Opened]:
        """What the client says; its streams are taken and its pings answered on the way."""
        decoder = Decoder()
        with contextlib.suppress(SpdyError, ConnectionError):
            async for chunk in self._carrier.chunks():
                for event in decoder.feed(chunk):
                    if isinstance(event, Pinged):
                        if event.number % 2:  # the client's own; an even one would be the answer to ours
                            await self._carrier.send(self._encoder.ping(event.number))
                        continue
                    if isinstance(event, Opened):
                        await self._take(event)
                    yield event

    async def _take(self, event: Opened) -> None:
        channel = STREAMS.get(event.headers.get("streamtype", ""))
        if channel is None or channel in self._streams:
            await self._carrier.send(self._encoder.reset(event.stream))
            return
        self._streams[channel], self._channels[event.stream] = event.stream, channel
        await self._carrier.send(self._encoder.reply(event.stream))

    async def send(self, channel: int, content: bytes) -> None:
        """Output; waits while the client is slow, raises ConnectionError when it is gone."""
        stream = self._streams.get(channel)
        if stream is not None and content:
            await self._carrier.send(self._encoder.content(stream, content))

    async def finish(self, status: Tree) -> None:
        """The last word; a client that has gone already does not hear it."""
        with contextlib.suppress(ConnectionError):
            await self.send(channels.ERROR, last_word(status, self._protocol))
            for channel in OUTPUTS:
                if channel in self._streams:
                    await self._carrier.send(self._encoder.content(self._streams[channel], b"", ended=True))

    async def run_input(self, sink: InputSink) -> None:
        """Pass the client's input on until it leaves. Input that nobody takes any more is dropped."""
        await departure.while_there(self._pass_on(sink), self._carrier.left())

    async def _pass_on(self, sink: InputSink) -> None:
        async for event in self._incoming:
            channel = self._channels.get(event.stream)
            if channel == channels.RESIZE and isinstance(event, Content):
                for size in map(resized, event.content.splitlines()):
                    if size is not None:
                        sink.resize(size.rows, size.columns)
            if channel != channels.STDIN:
                continue
            with contextlib.suppress(OSError, RuntimeError):  # the command has closed its input, or ended
                if isinstance(event, Content) and event.content:
                    await sink.write(event.content)
                if isinstance(event, Reset) or event.ended:
                    await sink.end_input()


def answer(protocol: str) -> bytes:
    """The response head that turns the connection into SPDY."""
    chosen = f"X-Stream-Protocol-Version: {protocol}\r\n" if protocol else ""
    return f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{chosen}\r\n".encode()
