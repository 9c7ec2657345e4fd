"""Connections into a pod over pairs of SPDY streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from clusterip.node.portforward import Streams
from clusterip.node.spdyforward import Forwarding
from node.spdywire import Wire


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
            await asyncio.wait_for(running, 30)

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
        assert wire.got[1] == b"failed to connect to localhost:81 inside the pod: connection refused"
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


def test_what_is_no_new_connection_is_refused() -> None:
    async def script(wire: Wire) -> None:
        for stream in (1, 3):  # twice the error stream of one request
            headers = {"streamtype": "error", "port": "80", "requestid": "0"}
            wire.typed.put_nowait(wire.encoder.opened(stream, headers))
        await wire.until(lambda: wire.reset == {3})
        wire.typed.put_nowait(
            wire.encoder.opened(5, {"streamtype": "data", "port": "80", "requestid": "0"})
            + wire.encoder.content(5, b"one", ended=True)
        )
        await wire.until(lambda: {1, 5} <= wire.ended)
        assert wire.got[5] == b"you said one"

    play(script)


def test_streams_without_a_request_belong_together_by_their_numbers() -> None:
    async def script(wire: Wire) -> None:
        for stream, kind in ((1, "error"), (5, "error"), (3, "data"), (7, "data")):
            wire.typed.put_nowait(wire.encoder.opened(stream, {"streamtype": kind, "port": "80"}))
        wire.type(3, b"one", ended=True)
        wire.type(7, b"two", ended=True)
        await wire.until(lambda: {3, 7} <= wire.ended)
        assert (wire.got[3], wire.got[7]) == (b"you said one", b"you said two")

    play(script)


def test_a_client_that_left_unheard_ends_everything() -> None:
    """Its end is behind bytes that nobody reads: the connection itself says that it is gone."""

    async def script(wire: Wire) -> None:
        wire.open(1)
        await wire.until(lambda: True)
        wire.gone.set()

    play(script)
