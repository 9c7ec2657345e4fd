"""SPDY on a connection and in a tunnel, from a client's first frame to a program on the pod's loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest
import uvloop

from clusterip.node.spdyforward import PROTOCOL, TUNNEL
from node.podserver import listening, node, upper
from node.spdywire import Wire

CLOCK = 30
Carried = Callable[[str, Wire], AbstractAsyncContextManager[None]]
PATH = "/portForward/default/web"


@asynccontextmanager
async def plain(url: str, wire: Wire) -> AsyncIterator[None]:
    """A client that upgrades the connection itself."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    writer.write(f"{head}X-Stream-Protocol-Version: {PROTOCOL}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    async def hear() -> None:
        while content := await reader.read(65536):
            await wire.send(content)

    async def say() -> None:
        async for content in wire.chunks():
            writer.write(content)

    tasks = [asyncio.ensure_future(each()) for each in (hear, say)]
    yield
    for task in tasks:
        task.cancel()
    writer.close()


@asynccontextmanager
async def tunnelled(url: str, wire: Wire) -> AsyncIterator[None]:
    """A client that speaks SPDY inside a WebSocket."""
    async with aiohttp.ClientSession(url) as http, http.ws_connect(PATH, protocols=(TUNNEL,)) as socket:

        async def hear() -> None:
            async for message in socket:
                await wire.send(message.data)

        async def say() -> None:
            async for content in wire.chunks():
                await socket.send_bytes(content)

        tasks = [asyncio.ensure_future(each()) for each in (hear, say)]
        yield
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("carried", [plain, tunnelled])
def test_a_connection_by_either_carrier(carried: Carried) -> None:
    async def work() -> None:
        wire = Wire()
        async with node() as url, listening(upper) as port, carried(url, wire):
            wire.open(1, str(port))
            wire.type(3, b"hello\n")
            await wire.until(lambda: {1, 3} <= wire.ended)
            assert (wire.got[3], wire.got[1]) == (b"HELLO\n", b"")

    async def within() -> None:
        async with asyncio.timeout(CLOCK):
            await work()

    uvloop.run(within())
