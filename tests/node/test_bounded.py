"""A client that pauses: the node agent takes no more from the pod than it can give away, and loses nothing of it."""

from __future__ import annotations

import asyncio

import aiohttp
import uvloop

from clusterip.node.channelforward import PROTOCOLS
from flood import MOST, Flood
from node.podserver import listening, node

CLOCK = 120


def test_a_forwarded_port_whose_client_pauses() -> None:
    async def work() -> None:
        flood = Flood()
        async with (
            asyncio.timeout(CLOCK),
            listening(lambda reader, writer: flood.pour(writer)) as port,
            node() as url,
            aiohttp.ClientSession(url) as http,
            http.ws_connect(f"/portForward/default/web?port={port}", protocols=PROTOCOLS, max_msg_size=0) as socket,
        ):
            await flood.stalled.wait()
            assert flood.sent < MOST
            zeros = 0
            async for message in socket:
                if message.data[0] == 0:
                    zeros += message.data.count(0, 1)
            assert zeros >= flood.sent
            assert zeros - flood.sent < 3  # the first message of a channel is the port's number

    uvloop.run(work())
