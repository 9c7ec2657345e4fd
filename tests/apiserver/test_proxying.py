"""The proxy of Services, pods and nodes: there, back, both ways; and what is answered where there is nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiserver.test_relay import Kubelet, node
from apiserver.wire import PODS, SERVICES, Wire, account, pod, served, service
from clusterip.apiserver.proxying import split

ENDPOINTS = "/api/v1/namespaces/default/endpoints"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Mine: yes\r\nContent-Length: 7\r\n\r\n[1,2,3]"


class Backend:
    """A server that remembers what it was asked, and answers what it is told to."""

    def __init__(self) -> None:
        self.answer = JSON
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        lower = head.lower()
        if "content-length: " in lower:
            length = int(lower.partition("content-length: ")[2].partition("\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
        writer.write(self.answer)
        await writer.drain()
        while "upgrade: " in lower and (piece := await reader.read(100)):
            writer.write(piece.upper())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def backend(wire: Wire) -> AsyncIterator[tuple[Backend, int]]:
    """Service web with port `http` and one pod behind it."""
    it = Backend()
    server = await asyncio.start_server(lambda *streams: it.serve(*streams), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await account(wire)
    await wire.ok("POST", SERVICES, service("web", ports=[{"name": "http", "port": 80}]))
    await wire.ok("POST", PODS, pod("p", nodeName="n"))
    status = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    await wire.ok("PATCH", f"{PODS}/p/status", {"status": status}, type="merge")
    target = {"kind": "Pod", "name": "p", "namespace": "default"}
    subset = {"addresses": [{"ip": "10.1.1.1", "targetRef": target}], "ports": [{"name": "http", "port": port}]}
    await wire.ok("POST", ENDPOINTS, {"metadata": {"name": "web"}, "subsets": [subset]})
    endpoints = wire.api.server.core.registry.of("endpoints")
    assert endpoints is not None
    entry = endpoints.entries["default/web"]
    entry.body = entry.body.replace(b"10.1.1.1", b"127.0.0.1")  # as nobody may write it
    try:
        yield it, port
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web", ("", "web", "")),
        ("web:80", ("", "web", "80")),
        ("https:web:80", ("https", "web", "80")),
        ("ftp:web:80", None),
        (":80", None),
        ("a:b:c:d", None),
    ],
)
def test_names(text: str, parts: tuple[str, str, str] | None) -> None:
    assert split(text) == parts


def test_a_request_goes_on_and_its_answer_comes_back() -> None:
    async def run(wire: Wire) -> None:
        async with backend(wire) as (web, _):
            assert await wire.ok("GET", f"{SERVICES}/web:http/proxy/a/b/?x=1&x=2", Accept="text/plain") == [1, 2, 3]
            assert wire.last["X-Mine"] == "yes"
            head = web.heads[-1]
            assert head.startswith("GET /a/b/?x=1&x=2 HTTP/1.1\r\n")
            assert f"X-Forwarded-Uri: {SERVICES}/web:http/proxy/a/b/\r\n" in head
            assert "authorization" not in head.lower()
            await wire.ok("POST", f"{SERVICES}/http:web:80/proxy/", {"a": 1})
            assert web.heads[-1].startswith("POST / HTTP/1.1")
            assert web.bodies == [b'{"a": 1}']
            web.answer = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n"
            assert await wire("DELETE", f"{SERVICES}/web:http/proxy/x") == (404, "nope")

    served(run)


def test_places_that_an_answer_names_lead_through_here() -> None:
    async def run(wire: Wire) -> None:
        base = f"{SERVICES}/web:http/proxy"
        async with backend(wire) as (web, port):
            for given, told in (
                (f"http://127.0.0.1:{port}/x/?y", f"{base}/x/?y"),
                ("/x", f"{base}/x"),
                (f"{wire.api.url}/x", f"{wire.api.url}{base}/x"),
                ("x", "x"),
                ("http://example.com/x", "http://example.com/x"),
            ):
                web.answer = f"HTTP/1.1 302 Found\r\nLocation: {given}\r\nContent-Length: 0\r\n\r\n".encode()
                async with wire.session.get(
                    f"{wire.api.url}{base}/", headers=wire.headers, allow_redirects=False
                ) as got:
                    assert (got.status, got.headers["Location"]) == (302, told)
            page = b'<a href="/x">x</a><img alt="/y" src="z">'
            web.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (
                len(page),
                page,
            )
            told = await wire.ok("GET", f"{base}/")
            assert told == f'<a href="{base}/x">x</a><img alt="/y" src="z">'
            async with wire.session.get(
                f"{wire.api.url}{base}?a=b", headers=wire.headers, allow_redirects=False
            ) as got:
                assert (got.status, got.headers["Location"]) == (301, f"{base}/?a=b")

    served(run)


def test_an_upgrade_is_both_ways() -> None:
    async def run(wire: Wire) -> None:
        async with backend(wire) as (web, _):
            web.answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n"
            host, _, port = wire.api.url.removeprefix("https://").partition(":")
            context: Any = wire.session.connector._ssl  # type: ignore[union-attr]
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            head = f"GET {SERVICES}/web:http/proxy/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n"
            writer.write(f"{head}Authorization: {wire.headers['Authorization']}\r\n\r\n".encode())
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            writer.close()

    served(run)


def test_a_body_goes_on_while_its_answer_comes() -> None:
    async def parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while size := int(await reader.readuntil(b"\r\n"), 16):
            writer.write((await reader.readexactly(size + 2))[:-2].upper())
        writer.close()

    async def run(wire: Wire) -> None:
        async with backend(wire) as (web, _):
            web.serve = parrot  # type: ignore[method-assign]
            heard: asyncio.Queue[bytes] = asyncio.Queue()

            async def say() -> AsyncIterator[bytes]:
                yield b"one"
                assert await heard.get() == b"ONE"
                yield b"two"

            url = f"{wire.api.url}{SERVICES}/web:http/proxy/"
            async with wire.session.post(url, data=say(), headers=wire.headers) as answer:
                await heard.put(await answer.content.readexactly(3))
                assert await answer.read() == b"TWO"

    served(run)


async def _said(wire: Wire, name: str) -> tuple[int, str]:
    code, tree = await wire("GET", f"{SERVICES}/{name}/proxy/")
    return code, tree["message"]


def test_where_there_is_nobody() -> None:
    async def run(wire: Wire) -> None:
        async with backend(wire):
            assert await _said(wire, "web:81") == (503, 'no service port 81 found for service "web"')
            assert await _said(wire, "web:other") == (503, 'no endpoints available for service "web:other"')
            assert await _said(wire, "web") == (503, 'no endpoints available for service "web"')
            assert (await _said(wire, "none:80"))[0] == 404
            assert await _said(wire, "none") == (404, 'services "none" not found')
            assert await _said(wire, "ftp:web:80") == (400, 'invalid service request "ftp:web:80"')
            code, tree = await wire("GET", f"{PODS}/p/proxy/")
            assert (code, tree["message"]) == (400, "address not allowed")
        code, text = await _said(wire, "web:80")
        assert code == 503
        assert text.startswith("error trying to reach service: dial tcp 127.0.0.1:")

    served(run)


def test_a_node_without_a_port_is_its_agent() -> None:
    async def run(wire: Wire) -> None:
        kubelet = Kubelet()
        async with node(wire, kubelet):
            assert await wire.ok("GET", "/api/v1/nodes/n/proxy/healthz") == "hello\n"
            assert kubelet.heads[-1].startswith("GET /healthz HTTP/1.1")
            assert kubelet.peers[-1] == "kube-apiserver-kubelet-client"

    served(run)
