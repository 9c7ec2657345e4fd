"""A node's HTTP API with one pod on the node's own network, for clients that forward ports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from clusterip.clock import SystemClock
from clusterip.node.lookup import ContainerRef, NoSuchContainer, PodRef
from clusterip.node.server import NodeServer
from clusterip.transport.answers import Answer
from clusterip.transport.http import Listener
from clusterip.transport.request import Peer, Request

Pod = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class OneForwarded:
    """The agent's side of `Lookup`: one pod without containers."""

    def pod(self, namespace: str, name: str, uid: str | None = None) -> PodRef:
        if name != "web":
            raise NoSuchContainer(f'pod "{name}" not found')
        return PodRef(namespace=namespace, name=name, uid="u", ip="", netns=None, containers=())

    def container(self, namespace: str, pod: str, name: str | None = None) -> ContainerRef:
        raise NoSuchContainer("none")

    async def ended(self, ref: ContainerRef) -> int | None:
        return None

    def pods(self) -> list[dict[str, Any]]:
        return []


@asynccontextmanager
async def node() -> AsyncIterator[str]:
    """A node where everybody is taken for the API server; where it listens."""
    server = NodeServer(OneForwarded(), SystemClock())

    async def handle(request: Request) -> Answer:
        request.peer = Peer("127.0.0.1", "kube-apiserver-kubelet-client")
        return await server.handle(request)

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    listener = Listener(handle)
    await listener.listen(listening, None)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await listener.close()


@asynccontextmanager
async def listening(behaves: Pod) -> AsyncIterator[int]:
    """A port of the pod's loopback where it behaves like this."""
    async with await asyncio.start_server(behaves, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One line, louder."""
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
