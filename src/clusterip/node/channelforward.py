"""Port forwarding over a WebSocket's channels: for each port one for bytes and one for what went wrong.

Stage: edge.  In: a WebSocket, the ports that its request names.  Out: one connection into the pod for each.
Rules: the first message on each channel is its port; a channel has no end of its own, so the server closes the
WebSocket when the pod has ended every connection, and the client ends all by closing it.
Truth: v4.channel.k8s.io and v4.base64.channel.k8s.io as k8s.io/cri-streaming portforward speaks them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.node.channels import messages, packed
from clusterip.node.portforward import Connect, Connection, Room, Words
from clusterip.transport import departure
from clusterip.transport.websocket import WebSocket, WebSocketError

PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
MOST_PORTS = 127  # a channel's number is a byte, and 255 is another's


def parse_ports(values: Sequence[str]) -> tuple[int, ...]:
    """The ports of a request; ApiError when there are none, or what is none."""
    if not values:
        raise ApiError.bad_request('query parameter "port" is required')
    words = [word for value in values for word in value.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):
            raise ApiError.bad_request(f'unable to parse "{word}" as a port: it is a number from 1 to 65535')
    if len(words) > MOST_PORTS:
        raise ApiError.bad_request(f"at most {MOST_PORTS} ports can be forwarded by one WebSocket")
    return tuple(map(int, words))


@dataclass(slots=True)
class Channel:
    """The two channels of one connection, and how the client hears of it."""

    socket: WebSocket
    number: int  # of the channel for bytes; that for errors is the next
    is_text: bool
    port: int
    words: Words
    ended: asyncio.Event

    async def send(self, content: bytes) -> None:
        await self.socket.send(*packed(self.number, content, is_text=self.is_text))

    async def end(self) -> None:
        self.ended.set()

    async def fail(self, why: str) -> None:
        await self.tell(self.words(self.port, why).encode())
        self.ended.set()

    async def tell(self, content: bytes) -> None:
        await self.socket.send(*packed(self.number + 1, content, is_text=self.is_text))


class ChannelForwarding:
    """One client's forwarding into one pod."""

    def __init__(self, socket: WebSocket, protocol: str, ports: Sequence[int], connect: Connect, words: Words) -> None:
        self._socket = socket
        self._is_text = "base64" in protocol
        self._ports = ports
        self._connect = connect
        self._words = words
        self._room = Room()

    async def run(self) -> None:
        """Forward until the client leaves or the pod has ended every connection."""
        channels = [
            Channel(self._socket, 2 * index, self._is_text, port, self._words, asyncio.Event())
            for index, port in enumerate(self._ports)
        ]
        connections = [Connection(each.port, self._connect, each, self._room) for each in channels]
        with contextlib.suppress(ConnectionError):
            for channel in channels:
                await channel.send(channel.port.to_bytes(2, "little"))
                await channel.tell(channel.port.to_bytes(2, "little"))
            await self._forward(channels, connections)
            await self._socket.close()

    async def _forward(self, channels: Sequence[Channel], connections: Sequence[Connection]) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(departure.while_there(self._read(connections), self._socket.left()))
            running = [group.create_task(each.run(), name=f"forward {each.port}") for each in connections]
            over = group.create_task(_all(channels))
            await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, over, *running):
                task.cancel()

    async def _read(self, connections: Sequence[Connection]) -> None:
        try:
            async for number, content in messages(self._socket, is_text=self._is_text):
                index, is_error = divmod(number, 2)
                if index < len(connections) and not is_error:
                    connections[index].take(content)
                await self._room.free()
        except WebSocketError as error:
            await self._socket.close(error.code, str(error))
        except ConnectionError:
            return


async def _all(channels: Sequence[Channel]) -> None:
    for channel in channels:
        await channel.ended.wait()
