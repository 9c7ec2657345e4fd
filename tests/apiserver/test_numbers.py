"""Numbers that are read when they are asked for, and that move when something is done."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from apiserver.hooks import VALIDATING, configuration, hooked
from apiserver.serving import serving
from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.apiserver.numbers import Peak
from clusterip.store.sqlite import SqliteStore

MAPS = 'group="",version="v1",resource="configmaps"'


async def read(wire: Wire, name: str) -> float:
    """One sample; 0 where there is none."""
    _, text = await wire("GET", "/metrics")
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - a page is asked, nobody tells
            await asyncio.sleep(0.02)


def test_the_most_at_once_in_the_last_second() -> None:
    peak = Peak()
    for by, moment in ((1, 1.0), (1, 1.1), (-2, 1.2), (1, 2.1)):
        peak.moved(by, moment)
    assert (peak.before, peak.most, peak.now) == (2, 1, 1)
    peak.moved(0, 9.0)
    assert (peak.before, peak.most) == (1, 1)


def test_bytes_of_requests() -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a", k="x" * 60_000))
        labels = 'group="",resource="configmaps",verb="create"'
        assert await read(wire, f'apiserver_request_body_size_bytes_bucket{{{labels},le="50000"}}') == 0
        assert await read(wire, f'apiserver_request_body_size_bytes_bucket{{{labels},le="150000"}}') == 1

    served(run)


def test_clients_that_leave_before_their_answer() -> None:
    async def run(wire: Wire) -> None:
        begun, over = asyncio.Event(), asyncio.Event()

        async def says(request: object) -> dict[str, bool]:
            begun.set()
            await over.wait()
            return {"allowed": True}

        async with hooked(says) as hook:
            tree = configuration(VALIDATING, hook.client, timeoutSeconds=30)
            await wire.ok("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", tree)
            asked = asyncio.ensure_future(wire("POST", CONFIGMAPS, config_map("a")))
            await begun.wait()
            asked.cancel()
            name = f'apiserver_request_aborts_total{{verb="POST",{MAPS},subresource="",scope="resource"}}'

            async def is_counted() -> bool:
                return await read(wire, name) == 1

            await until(is_counted)
            over.set()

    served(run)


def test_watches_that_begin_with_what_there_is() -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
        events: list[tuple[str, object]] = []
        await wire.watch(f"{CONFIGMAPS}?{query}", events, lambda: len(events) == 2)
        name = f'apiserver_watch_list_duration_seconds_count{{{MAPS},scope="namespace"}}'

        async def is_counted() -> bool:
            return await read(wire, name) == 1

        await until(is_counted)

    served(run)


def test_handshakes_that_fail() -> None:
    async def run(wire: Wire) -> None:
        name = "apiserver_tls_handshake_errors_total"
        before = await read(wire, name)
        address = urlsplit(wire.api.url)
        _, plain = await asyncio.open_connection(address.hostname, address.port)
        plain.write(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")

        async def is_counted() -> bool:
            return await read(wire, name) > before

        await until(is_counted)
        plain.close()

    served(run)


def test_bytes_of_a_store_that_is_a_file(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "state.db")
        async with serving(store=store) as api:
            context = ssl.create_default_context(cadata=api.ca.decode())
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
                wire = Wire(api, session)
                name = 'apiserver_storage_size_bytes{storage_cluster_id="state.db"}'
                before = await read(wire, name)
                await wire.ok("POST", CONFIGMAPS, config_map("a", k="x" * 500_000))
                assert await read(wire, name) > before > 0
        await store.close()

    asyncio.run(run())
