"""Port forwarding by a WebSocket's channels, from a WebSocket client to a program on the pod's loopback."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
import uvloop

from clusterip.api.errors import ApiError
from clusterip.node.channelforward import PROTOCOLS, parse_ports
from node.podserver import listening, node, upper

CLOCK = 30


@pytest.mark.parametrize(("values", "ports"), [(["80"], (80,)), (["80,81", "80"], (80, 81, 80))])
def test_the_ports_of_a_request(values: list[str], ports: tuple[int, ...]) -> None:
    assert parse_ports(values) == ports


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([], '"port" is required'),
        ([""], 'unable to parse "" as a port'),
        (["80,x"], 'unable to parse "x"'),
        (["0"], 'unable to parse "0"'),
        (["65536"], "1 to 65535"),
        ([",".join(["1"] * 128)], "at most 127 ports"),
    ],
)
def test_what_is_no_port(values: list[str], why: str) -> None:
    with pytest.raises(ApiError, match=why):
        parse_ports(values)


@dataclass
class Client:
    """What came on each channel."""

    socket: aiohttp.ClientWebSocketResponse
    got: dict[int, bytes] = field(default_factory=dict)

    async def type(self, channel: int, content: bytes) -> None:
        if "base64" in str(self.socket.protocol):
            await self.socket.send_str(f"{channel}{base64.b64encode(content).decode()}")
        else:
            await self.socket.send_bytes(bytes((channel,)) + content)

    async def until_closed(self) -> dict[int, bytes]:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                channel, content = int(message.data[0]), base64.b64decode(message.data[1:])
            else:
                channel, content = message.data[0], message.data[1:]
            self.got[channel] = self.got.get(channel, b"") + content
        return self.got


def run(work: Callable[[aiohttp.ClientSession, str], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(CLOCK), node() as url, aiohttp.ClientSession(url) as http:
            await work(http, "/portForward/default/web")

    uvloop.run(within())


def little(port: int) -> bytes:
    return port.to_bytes(2, "little")


@pytest.mark.parametrize("protocol", [*PROTOCOLS, None])
def test_two_ports_by_one_websocket(protocol: str | None) -> None:
    async def work(http: aiohttp.ClientSession, path: str) -> None:
        async with listening(upper) as one, listening(upper) as two:
            spoken = (protocol,) if protocol else ()
            async with http.ws_connect(f"{path}?port={one},{two}", protocols=spoken) as socket:
                client = Client(socket)
                assert socket.protocol == protocol
                await client.type(2, b"two\n")
                await client.type(9, b"nobody's")
                await client.type(0, b"one\n")
                assert await client.until_closed() == {
                    0: little(one) + b"ONE\n",
                    1: little(one),
                    2: little(two) + b"TWO\n",
                    3: little(two),
                }
                assert socket.close_code == 1000

    run(work)


def test_a_port_where_nobody_listens() -> None:
    async def work(http: aiohttp.ClientSession, path: str) -> None:
        async with listening(upper) as port:
            pass
        async with http.ws_connect(f"{path}?port={port}", protocols=PROTOCOLS) as socket:
            got = await Client(socket).until_closed()
        why = f"failed to connect to localhost:{port} inside the pod: connection refused"
        assert got == {
            0: little(port),
            1: little(port) + f"error forwarding port {port} to pod web, uid u: {why}".encode(),
        }

    run(work)


def test_a_client_that_leaves_ends_its_connections() -> None:
    ended = asyncio.Event()

    async def until_ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()
        ended.set()
        writer.close()

    async def work(http: aiohttp.ClientSession, path: str) -> None:
        async with listening(until_ended) as port:
            async with http.ws_connect(f"{path}?port={port}", protocols=PROTOCOLS) as socket:
                for _ in range(3):
                    await socket.receive_bytes()
            await ended.wait()

    run(work)


@pytest.mark.parametrize(
    ("query", "protocols", "status"), [("", PROTOCOLS, 400), ("?port=80", ("v9.channel.k8s.io",), 403)]
)
def test_what_is_refused(query: str, protocols: tuple[str, ...], status: int) -> None:
    async def work(http: aiohttp.ClientSession, path: str) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(path + query, protocols=protocols)
        assert refused.value.status == status

    run(work)
