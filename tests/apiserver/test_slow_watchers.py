"""A watcher that stops reading: bounded memory, others unaffected, a clean prefix, and it can go on where it was."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.apiserver import watching
from clusterip.transport import connection

TEXT = "x" * 100_000
CHANGES = 150  # 15 MB: more than what the sockets' own buffers hold


@asynccontextmanager
async def deaf(wire: Wire, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """A watcher that has sent its request and reads nothing by itself."""
    host, port = wire.api.url.removeprefix("https://").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    context = ssl.create_default_context(cadata=wire.api.ca.decode())
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host, limit=1024)
    head = f"GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {wire.api.token}\r\n\r\n"
    writer.write(head.encode())
    try:
        yield reader
    finally:
        writer.transport.abort()


async def changed(wire: Wire) -> None:
    for n in range(CHANGES):
        await wire.ok("PUT", f"{CONFIGMAPS}/a", config_map("a", n=str(n), text=TEXT))


async def begun(wire: Wire, number: int) -> Any:
    collection = wire.api.server.core.registry.of("configmaps")
    while sum(key > 0 for key in collection.watchers) < number:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return collection


async def rest_of(reader: asyncio.StreamReader) -> list[int]:
    """The revisions of the events that are whole, until the end."""
    raw = bytearray()
    try:
        while piece := await reader.read(65536):
            raw += piece
    except ConnectionError:
        pass
    lines = [line for line in bytes(raw).split(b"\n") if line.startswith(b'{"type"')]
    found = []
    for line in lines:
        try:
            found.append(int(json.loads(line)["object"]["metadata"]["resourceVersion"]))
        except ValueError:
            break
    return found


async def one_is_deaf(wire: Wire) -> None:
    revision = int((await wire.ok("POST", CONFIGMAPS, config_map("a")))["metadata"]["resourceVersion"])
    path = f"{CONFIGMAPS}?watch=1&resourceVersion={revision}"
    events: list[Any] = []
    async with deaf(wire, path) as reader:
        other = asyncio.ensure_future(wire.watch(path, events, lambda: len(events) == CHANGES))
        collection = await begun(wire, 2)
        await changed(wire)
        await other
        while sum(key > 0 for key in collection.watchers) > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        seen = await rest_of(reader)
    assert 'apiserver_terminated_watchers_total{group="",resource="configmaps"} 1\n' in await wire.ok("GET", "/metrics")
    revisions = [int(tree["metadata"]["resourceVersion"]) for _, tree in events]
    assert revisions == list(range(revision + 1, revision + 1 + CHANGES))
    assert len(seen) < CHANGES
    assert seen == revisions[: len(seen)]
    last = seen[-1] if seen else revision
    again: list[Any] = []
    left = revisions[len(seen) :]
    await wire.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={last}", again, lambda: len(again) == len(left))
    assert [int(tree["metadata"]["resourceVersion"]) for _, tree in again] == left


def test_one_that_owes_too_much_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SLOW", 200_000)
    monkeypatch.setattr(watching, "OWED", 2_000_000)
    served(one_is_deaf)


def test_one_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SLOW", 200_000)
    monkeypatch.setattr(connection, "STALL_SECONDS", 2.0)
    served(one_is_deaf)


def test_one_that_was_behind_gets_everything_when_it_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SLOW", 200_000)

    async def body(wire: Wire) -> None:
        revision = int((await wire.ok("POST", CONFIGMAPS, config_map("a")))["metadata"]["resourceVersion"])
        path = f"{CONFIGMAPS}?watch=1&resourceVersion={revision}&timeoutSeconds=200"
        async with deaf(wire, path) as reader:
            await begun(wire, 1)
            await changed(wire)
            raw = bytearray()
            while b'"n":"%d"' % (CHANGES - 1) not in raw[-2 * len(TEXT) :]:
                piece = await reader.read(1_000_000)
                assert piece, "the watch ended"
                raw += piece
        seen = [int(text) for text in re.findall(rb'"n":"(\d+)"', raw)]
        assert seen == list(range(CHANGES))

    served(body)


def test_what_waits_for_a_deaf_watcher_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server never holds more for it than what the limits say, however much passes by."""
    monkeypatch.setattr(watching, "SLOW", 200_000)
    monkeypatch.setattr(watching, "OWED", 2_000_000)
    most = 0
    opened: list[watching.Watch] = []
    usual = watching.Watch.open
    monkeypatch.setattr(watching.Watch, "open", lambda watch: (opened.append(watch), usual(watch)))

    async def body(wire: Wire) -> None:
        nonlocal most
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        async with deaf(wire, f"{CONFIGMAPS}?watch=1"):
            await begun(wire, 1)
            (watch,) = opened
            for n in range(CHANGES):
                await wire.ok("PUT", f"{CONFIGMAPS}/a", config_map("a", n=str(n), text=TEXT))
                held = sum(len(change.entry.body) for change in watch._waiting or ())
                most = max(most, held + watch._sink.buffered)

    served(body)
    assert 200_000 < most < 5_000_000  # of 15 MB that passed by
