"""Health and numbers over HTTP, plain and encrypted."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack

import aiohttp

from clusterip.transport.answers import Response
from clusterip.transport.exposition import Kind, Metric, Registry
from clusterip.transport.http import Listener
from clusterip.transport.insight import Insight, own_context
from clusterip.transport.listening import bind
from clusterip.transport.request import Request


async def ask(url: str, headers: dict[str, str] | None = None) -> dict[str, tuple[int, str]]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for path in ("healthz", "readyz", "metrics", "else"):
            async with session.get(f"{url}/{path}", headers=headers) as answer:
                found[path] = (answer.status, await answer.text())
    return found


def test_what_a_process_shows() -> None:
    async def run() -> None:
        ready = [False]
        registry = Registry([Metric("seen_total", Kind.COUNTER, "Seen.")])
        insight = Insight(registry, lambda: ready[0])
        async with AsyncExitStack() as stack:
            await insight.listen(stack, ":0")  # none
            for context, scheme in ((None, "http"), (own_context("here"), "https")):
                sock = bind("127.0.0.1:0")
                listener = Listener(insight.handle)
                await listener.listen(sock, context)
                stack.push_async_callback(listener.close)
                url = f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"
                ready[0] = False
                found = await ask(url)
                assert found["healthz"] == (200, "ok")
                assert found["readyz"][0] == 500
                assert "seen_total 0" in found["metrics"][1]
                assert found["else"][0] == 404
                ready[0] = True
                assert (await ask(url))["readyz"] == (200, "ok")

    asyncio.run(run())


def test_a_gate_hides_the_numbers_and_not_the_health() -> None:
    async def gate(request: Request) -> Response | None:
        return None if request.headers.get("Authorization") else Response(401, b"Unauthorized\n")

    async def run() -> None:
        insight = Insight(Registry([Metric("seen_total", Kind.COUNTER, "Seen.")]), lambda: True)
        async with AsyncExitStack() as stack:
            sock = bind("127.0.0.1:0")
            listener = Listener(insight.behind(gate))
            await listener.listen(sock, own_context("here"))
            stack.push_async_callback(listener.close)
            url = f"https://127.0.0.1:{sock.getsockname()[1]}"
            found = await ask(url)
            assert (found["metrics"][0], found["healthz"][0], found["readyz"][0]) == (401, 200, 200)
            known = await ask(url, {"Authorization": "Bearer x"})
            assert "seen_total 0" in known["metrics"][1]

    asyncio.run(run())
