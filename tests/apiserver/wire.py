"""Raw requests to a served API, for tests that look at the wire itself."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from apiserver.serving import Api, serving
from clusterip.apiserver.media import JSON, PROTOBUF

PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class Wire:
    """One client over its own connections."""

    def __init__(self, api: Api, session: aiohttp.ClientSession, token: str | None = None) -> None:
        self.api = api
        self.session = session
        self.headers = {"Authorization": f"Bearer {token or api.token}"}
        self.last: Any = None  # the headers of the last answer

    async def __call__(
        self, method: str, path: str, body: Any = None, *, type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """Status and tree (or text, or protobuf's bytes)."""
        data: Any = body if isinstance(body, (bytes, type_of_none)) else json.dumps(body).encode()
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if isinstance(data, bytes) and len(data) > 1_000_000:
            data = io.BytesIO(data)
        if data is not None:
            sent["Content-Type"] = PATCHES.get(type, type)
        async with self.session.request(method, self.api.url + path, data=data, headers=sent) as answer:
            self.last = answer.headers
            raw = await answer.read()
            kind = answer.content_type or ""
            if kind == PROTOBUF:
                return answer.status, raw
            return answer.status, json.loads(raw) if kind.startswith(JSON) and raw else raw.decode(errors="replace")

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The tree of an answer that must be a success."""
        status, tree = await self(method, path, body, **more)
        assert status < 300, (status, tree)
        return tree

    async def watch(self, path: str, events: list[tuple[str, Any]], until: Callable[[], bool]) -> None:
        """Append events until the condition holds or the stream ends."""
        if until():
            return
        async with self.session.get(self.api.url + path, headers=self.headers) as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                event = json.loads(line)
                events.append((event["type"], event["object"]))
                if until():
                    return


type_of_none = type(None)


def served(test: Callable[[Wire], Awaitable[None]], **options: Any) -> None:
    """Run a coroutine test against a fresh server."""

    async def run() -> None:
        async with serving(**options) as api:
            context = ssl.create_default_context(cadata=api.ca.decode())
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
                await asyncio.wait_for(test(Wire(api, session)), 200)

    asyncio.run(run())


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec},
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], **spec},
    }


async def account(wire: Wire, name: str = "default", namespace: str = "default") -> Any:
    """A ServiceAccount, as a controller would make it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    return await wire.ok("POST", path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
