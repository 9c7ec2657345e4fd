"""A client that pauses: the API server takes no more from the node than it can give away, and loses nothing of it."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from apiserver.test_relay import Kubelet, node
from apiserver.wire import PODS, Wire, served
from flood import MOST, Flood

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"  # to the connection's end
UPGRADE = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
HEAD_END = b"\r\n\r\n"


class Pouring(Kubelet):
    """A node whose pod has much to say."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer
        self.flood = Flood()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(HEAD_END)
        writer.write(self.answer)
        await self.flood.pour(writer)


async def asked(wire: Wire, line: str, more: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose answer's head was read, and nothing after it."""
    host, _, port = wire.api.url.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cadata=wire.api.ca.decode())
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {wire.api.token}\r\n{more}\r\n"
    writer.write(head.encode())
    assert (await reader.readuntil(HEAD_END)).split()[1] in (b"101", b"200")
    return reader, writer


@pytest.mark.parametrize(
    ("line", "more", "answer"),
    [
        (f"GET {PODS}/p/log?follow=true", "Connection: close\r\n", PLAIN),
        (f"POST {PODS}/p/exec?command=x&stdout=true", UPGRADE, UPGRADED),
        (f"POST {PODS}/p/portforward?ports=80", UPGRADE, UPGRADED),
    ],
    ids=["log", "exec", "portforward"],
)
def test_a_client_that_pauses(line: str, more: str, answer: bytes) -> None:
    async def body(wire: Wire) -> None:
        kubelet = Pouring(answer)
        async with node(wire, kubelet):
            reader, writer = await asked(wire, line, more)
            await kubelet.flood.stalled.wait()
            assert kubelet.flood.sent < MOST
            zeros = 0
            while piece := await reader.read(1 << 20):
                zeros += piece.count(0)  # not the chunks' sizes
            assert zeros == kubelet.flood.sent
            writer.close()

    served(body)
