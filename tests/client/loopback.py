"""A loopback HTTP server that plays a few answers: for what the true API server never does on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from clusterip.client.config import ServerConfig

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer, port: int = 0) -> AsyncIterator[ServerConfig]:
    """Serve until the block ends; every request is the answer's."""
    server = web.Server(answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    try:
        yield ServerConfig(url=f"http://{host}:{bound}")
    finally:
        await runner.cleanup()


def json(tree: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(tree), status=status, content_type="application/json")


class Store:
    """ConfigMaps with revisions: just enough of list and watch to be followed, and to be interrupted."""

    def __init__(self) -> None:
        self.revision = 1
        self.objects: dict[tuple[str, str], dict] = {}
        self.log: list[tuple[int, str, dict]] = []
        self.compacted = 0
        self.lists = 0
        self.changed = asyncio.Condition()
        self.streams: set[web.StreamResponse] = set()
        self.down = False

    async def put(self, name: str, data: str, uid: str = "") -> None:
        key = ("default", name)
        self.revision += 1
        known = self.objects.get(key)
        uid = uid or (known["metadata"]["uid"] if known else f"u{self.revision}")
        meta = {"namespace": "default", "name": name, "uid": uid, "resourceVersion": str(self.revision)}
        tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": data}}
        self.objects[key] = tree
        await self._say("MODIFIED" if known else "ADDED", tree)

    async def remove(self, name: str) -> None:
        self.revision += 1
        tree = self.objects.pop(("default", name))
        gone = {**tree, "metadata": {**tree["metadata"], "resourceVersion": str(self.revision)}}
        await self._say("DELETED", gone)

    async def _say(self, kind: str, tree: dict) -> None:
        async with self.changed:
            self.log.append((self.revision, kind, tree))
            self.changed.notify_all()

    def compact(self) -> None:
        self.compacted = self.revision
        self.log.clear()

    def cut(self) -> None:
        """End every watch, rudely."""
        for stream in self.streams:
            transport = stream._req.transport
            if transport is not None:
                transport.abort()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503, text="down")
        if "watch" not in request.query:
            self.lists += 1
            meta = {"resourceVersion": str(self.revision)}
            return json({"kind": "ConfigMapList", "metadata": meta, "items": list(self.objects.values())})
        at = int(request.query["resourceVersion"])
        if at < self.compacted:
            return json(
                {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "old"}, 410
            )
        response = web.StreamResponse()
        await response.prepare(request)
        self.streams.add(response)
        try:
            while True:
                for revision, kind, tree in self.log:
                    if revision > at:
                        at = revision
                        await response.write(orjson.dumps({"type": kind, "object": tree}) + b"\n")
                async with self.changed:
                    await self.changed.wait_for(lambda seen=at: any(entry[0] > seen for entry in self.log))
        finally:
            self.streams.discard(response)
