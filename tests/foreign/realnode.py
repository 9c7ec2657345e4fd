"""A served API whose node is the true one, with one real container: runc under conmon, busybox inside."""

from __future__ import annotations

import asyncio
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import uvloop

from apiserver.serving import Api, serving
from apiserver.wire import PODS, Wire
from clusterip.clock import SystemClock
from clusterip.node.server import NodeServer
from clusterip.transport import listening
from clusterip.transport.certificates import server_context
from clusterip.transport.http import Listener
from foreign.conftest import STARTED, Served, furnish
from node.containers import FakeAgent, container

SCRIPT = "echo begun; while read line; do echo got $line; done"


@asynccontextmanager
async def node(api: Api, agent: FakeAgent) -> AsyncIterator[None]:
    """A node named n, and the pod p on it."""
    authority = api.server.identity.authority
    context = server_context(authority.server("system:node:n", ["127.0.0.1"]), authority.certificate)
    listener = Listener(NodeServer(agent, SystemClock()).handle)
    bound = listening.bind("127.0.0.1:0")
    await listener.listen(bound, context)
    trust = ssl.create_default_context(cadata=api.ca.decode())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        wire = Wire(api, session)
        await furnish(wire, bound.getsockname()[1])
        statuses = [
            {"name": "c", "ready": True, "state": {"running": {}}, "image": "i", "imageID": "", "restartCount": 0}
        ]
        await wire.ok("PATCH", f"{PODS}/p/status", {"status": {"containerStatuses": statuses}}, type="merge")
    try:
        yield
    finally:
        await listener.close()


async def _serve(folder: Path, ready: threading.Event, ended: asyncio.Event, told: list[Served]) -> None:
    try:
        async with serving() as api, container(folder, "sh", "-c", SCRIPT, stdin=True) as agent:
            agent.ref = replace(agent.ref, pod="p")
            async with node(api, agent):
                path = folder / "kubeconfig"
                path.write_bytes(api.kubeconfig())
                told.append(Served(api.url, path, asyncio.get_running_loop()))
                ready.set()
                await ended.wait()
    finally:
        ready.set()


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """The server in a thread."""
    ready, told, ended = threading.Event(), list[Served](), asyncio.Event()
    thread = threading.Thread(target=uvloop.run, args=[_serve(folder, ready, ended, told)])
    thread.start()
    assert ready.wait(STARTED)
    assert told, "the API server did not start"
    try:
        yield told[0]
    finally:
        told[0].loop.call_soon_threadsafe(ended.set)
        thread.join(STARTED)


class Echo(socketserver.StreamRequestHandler):
    """A pod's program: what it hears it says, and it ends when its client has ended."""

    def handle(self) -> None:
        while piece := self.request.recv(65536):
            self.request.sendall(piece)


@contextmanager
def echo() -> Iterator[int]:
    """The pod is on the node's own network: its loopback is ours."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 100

    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
