"""Connections that are given up while they begin, under the loop that the product runs on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from typing import Any

import aiohttp
import uvloop
from aiohttp.abc import AbstractResolver, ResolveResult

from clusterip.client.connecting import Connector

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


async def given_up(port: int, turns: int) -> int:
    """A request that is cancelled after some turns of the loop; how many files of others were closed with it."""
    session = aiohttp.ClientSession(connector=Connector(limit=0))
    request = asyncio.ensure_future(session.get(f"http://127.0.0.1:{port}/"))
    for _ in range(turns):
        await asyncio.sleep(0)
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    for _ in range(3):
        await asyncio.sleep(0)
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    del request
    await session.close()
    gc.collect()
    return sum(not _closed(fd) for fd in others)


def _closed(fd: int) -> bool:
    try:
        os.close(fd)
    except OSError:
        return False
    return True


def test_a_connection_that_is_given_up_closes_nobody_elses_file() -> None:
    async def play() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert [await given_up(port, 2 + turn % 8) for turn in range(48)] == [0] * 48
        server.close()

    gc.disable()
    try:
        uvloop.run(play())
    finally:
        gc.enable()


class Two(AbstractResolver):
    """A name with two addresses; nobody listens at the first."""

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=6, flags=0)
            for address in ("127.0.0.2", "127.0.0.1")
        ]

    async def close(self) -> None:
        pass


def test_the_next_address_is_tried() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    async def play() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            aiohttp.ClientSession(connector=Connector(resolver=Two())) as session,
            session.get(f"http://two.example:{port}/") as response,
        ):
            assert await response.text() == "ok"
        server.close()

    uvloop.run(play())
