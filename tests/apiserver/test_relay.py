"""Logs and streams: the node's answer reaches the client, byte for byte, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from apiserver.wire import PODS, Wire, account, pod, served
from clusterip.transport import departure
from clusterip.transport.certificates import server_context


class Kubelet:
    """A node agent that remembers requests and answers what it is told to."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.peers: list[str] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        subject = dict(part[0] for part in writer.get_extra_info("peercert")["subject"])
        self.peers.append(subject["commonName"])
        writer.write(self.answer)
        await writer.drain()
        if "Upgrade" in head:
            while piece := await reader.read(100):
                writer.write(piece.upper())
                await writer.drain()
        writer.close()


@asynccontextmanager
async def node(wire: Wire, kubelet: Kubelet) -> AsyncIterator[None]:
    """A node named n with that agent, and a pod on it."""
    authority = wire.api.server.identity.authority
    context = server_context(authority.server("system:node:n", ["127.0.0.1"]), authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(kubelet.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    await account(wire)
    await wire.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": port}}
    await wire.ok("PATCH", "/api/v1/nodes/n/status", {"status": status}, type="merge")
    await wire.ok("POST", PODS, pod("p", nodeName="n"))
    try:
        yield
    finally:
        server.close()


def test_a_log_is_relayed() -> None:
    async def body(wire: Wire) -> None:
        kubelet = Kubelet()
        async with node(wire, kubelet):
            assert await wire.ok("GET", f"{PODS}/p/log?tailLines=5&container=c") == "hello\n"
            assert kubelet.heads[0].startswith("GET /containerLogs/default/p/c?tailLines=5 HTTP/1.1\r\n")
            assert "Authorization" not in kubelet.heads[0]
            assert kubelet.peers == ["kube-apiserver-kubelet-client"]
            kubelet.answer = (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\none\r\n4\r\n two\r\n0\r\n\r\n"
            )
            assert await wire.ok("GET", f"{PODS}/p/log?follow=true") == "one two"
            kubelet.answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\nnot started\n"
            status, refused = await wire("GET", f"{PODS}/p/log")
            assert (status, refused["message"]) == (400, "not started")

    served(body)


def test_what_cannot_be_reached_is_said() -> None:
    async def body(wire: Wire) -> None:
        async with node(wire, Kubelet()):
            status, refused = await wire("GET", f"{PODS}/p/log?container=x")
            assert (status, refused["message"]) == (400, "container x is not valid for pod p")
            assert (await wire("GET", f"{PODS}/none/log"))[0] == 404
            status, refused = await wire("GET", f"{PODS}/p/log?stream=Stdout&tailLines=-1")
            assert (status, refused["reason"]) == (422, "Invalid")
            assert [cause["field"] for cause in refused["details"]["causes"]] == ["tailLines", "stream"]
            assert (await wire("GET", f"{PODS}/p/log?tailLines=many"))[0] == 400
            assert (await wire("POST", f"{PODS}/p/exec?command=x"))[0] == 400
        await wire.ok("POST", PODS, pod("waiting"))
        status, refused = await wire("GET", f"{PODS}/waiting/log")
        assert (status, refused["message"]) == (400, "pod waiting does not have a host assigned")
        status, refused = await wire("GET", f"{PODS}/p/log")
        assert status == 500
        assert "error dialing backend" in refused["message"]

    served(body)


def test_forwarded_ports_are_told_to_the_node_as_one_list() -> None:
    async def body(wire: Wire) -> None:
        kubelet = Kubelet()
        kubelet.answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        async with node(wire, kubelet):
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Authorization": f"Bearer {wire.api.token}"}
            ports = f"{wire.api.url}{PODS}/p/portforward?ports=80&ports=81"
            async with wire.session.get(ports, headers=upgrade) as answer:
                assert answer.status == 101
            assert kubelet.heads[0].startswith("GET /portForward/default/p?port=80%2C81 HTTP/1.1\r\n")

    served(body)


def test_a_nodes_refusal_is_handed_on() -> None:
    """It has closed its connection before anybody listens to it."""

    class Refusing(Kubelet):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
            writer.close()

    async def body(wire: Wire) -> None:
        async with node(wire, Refusing()):
            upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "Authorization": f"Bearer {wire.api.token}"}
            async with wire.session.post(f"{wire.api.url}{PODS}/p/exec?command=x", headers=upgrade) as answer:
                assert (answer.status, await answer.text()) == (400, "no\n")

    served(body)


def test_a_client_that_vanishes_while_the_node_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All buffers are full and nothing is read: the node hears of it by a reset, whatever waits before it."""
    monkeypatch.setattr(departure, "LAST_SECONDS", 0.1)
    heard = asyncio.Event()

    class Stubborn(Kubelet):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n")
            await departure.left(writer.transport)
            heard.set()
            writer.transport.abort()

    async def body(wire: Wire) -> None:
        async with node(wire, Stubborn()):
            host, _, port = wire.api.url.removeprefix("https://").partition(":")
            context = ssl.create_default_context(cadata=wire.api.ca.decode())
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            head = f"POST {PODS}/p/exec?command=x&stdin=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {wire.api.token}"
            writer.write(f"{head}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(bytes(30_000_000))
            with contextlib.suppress(TimeoutError):  # until nobody takes any more
                await asyncio.wait_for(writer.drain(), 0.5)
            departure.reset(writer.transport)
            async with asyncio.timeout(30):
                await heard.wait()

    served(body)


def test_an_upgrade_is_relayed_both_ways() -> None:
    async def body(wire: Wire) -> None:
        kubelet = Kubelet()
        kubelet.answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        async with node(wire, kubelet):
            host, _, port = wire.api.url.removeprefix("https://").partition(":")
            context = ssl.create_default_context(cadata=wire.api.ca.decode())
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            request = (
                f"GET {PODS}/p/exec?command=sh&command=-c&stdin=true&container=c HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {wire.api.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
            )
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            for word in (b"hello", b"x" * 70_000):
                writer.write(word)
                await writer.drain()
                assert await reader.readexactly(len(word)) == word.upper()
            writer.close()
            first = kubelet.heads[0].partition("\r\n")[0]
            assert first == "GET /exec/default/p/c?command=sh&command=-c&stdin=true HTTP/1.1"
            assert "Sec-WebSocket-Protocol: v5.channel.k8s.io" in kubelet.heads[0]
            assert "Bearer" not in kubelet.heads[0]
        await wire.ok("GET", PODS)

    served(body)
