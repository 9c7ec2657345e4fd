"""A served API with one node, for clients that others wrote: a thread of its own, one server a module.

The node is ours: it answers logs with two lines and runs every command by saying what it was told.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from apiserver.serving import Api, serving
from apiserver.wire import PODS, Wire, account, pod
from clusterip.transport.certificates import server_context

STARTED = 30


@dataclass(frozen=True)
class Served:
    """What a client needs to get in."""

    url: str
    kubeconfig: Path
    loop: asyncio.AbstractEventLoop


LAMPS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "lamps.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "lamps", "singular": "lamp", "kind": "Lamp"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"color": {"type": "string"}}},
                            "status": {"type": "object", "properties": {"lit": {"type": "boolean"}}},
                        },
                    }
                },
            }
        ],
    },
}


async def log(request: web.Request) -> web.StreamResponse:
    """Two lines, in two pieces."""
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    for line in (b"one\n", b"two\n"):
        await answer.write(line)
    await answer.write_eof()
    return answer


async def run(request: web.Request) -> web.WebSocketResponse:
    """The command's words on stdout (channel 1), what came on stdin in capitals, then success (channel 3)."""
    socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
    await socket.prepare(request)
    await socket.send_bytes(b"\x01" + " ".join(request.query.getall("command")).encode() + b"\n")
    if request.query.get("stdin") in ("true", "True", "1"):
        message = await socket.receive()
        given = message.data if isinstance(message.data, bytes) else message.data.encode()
        await socket.send_bytes(b"\x01" + given[1:].upper())
    await socket.send_bytes(b'\x03{"metadata":{},"status":"Success"}')
    await socket.close()
    return socket


@asynccontextmanager
async def node(api: Api) -> AsyncIterator[None]:
    """A node named n with that agent, and a pod on it."""
    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", log)
    app.router.add_route("*", "/exec/{namespace}/{pod}/{container}", run)
    authority = api.server.identity.authority
    runner = web.AppRunner(app)
    await runner.setup()
    context = server_context(authority.server("system:node:n", ["127.0.0.1"]), authority.certificate)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    trust = ssl.create_default_context(cadata=api.ca.decode())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        await furnish(Wire(api, session), port)
    try:
        yield
    finally:
        await runner.cleanup()


async def furnish(wire: Wire, port: int) -> None:
    """What a cluster would have: an account, a node, a pod on it, a definition."""
    await account(wire)
    await wire.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await wire.ok("PATCH", "/api/v1/nodes/n/status", {"status": status}, type="merge")
    await wire.ok("POST", PODS, pod("p", nodeName="n"))
    conditions = [{"type": name, "status": "True"} for name in ("Ready", "ContainersReady")]
    ready = {"phase": "Running", "conditions": conditions}
    await wire.ok("PATCH", f"{PODS}/p/status", {"status": ready}, type="merge")
    await wire.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", LAMPS)


async def _serve(folder: Path, ready: threading.Event, ended: asyncio.Event, told: list[Served]) -> None:
    try:
        async with serving() as api, node(api):
            path = folder / "kubeconfig"
            path.write_bytes(api.kubeconfig())
            told.append(Served(api.url, path, asyncio.get_running_loop()))
            ready.set()
            await ended.wait()
    finally:
        ready.set()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in a thread."""
    ready, told, ended = threading.Event(), list[Served](), asyncio.Event()
    folder = tmp_path_factory.mktemp("foreign")
    thread = threading.Thread(target=asyncio.run, args=[_serve(folder, ready, ended, told)])
    thread.start()
    assert ready.wait(STARTED)
    assert told, "the API server did not start"
    yield told[0]
    told[0].loop.call_soon_threadsafe(ended.set)
    thread.join(STARTED)


def deployment(name: str, image: str = "nginx", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    }
