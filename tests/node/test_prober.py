"""Probes against true sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from clusterip.node import prober
from clusterip.node.model import Container, parse_action, parse_probe

SECONDS = 30.0


class Process:
    """A container's first process, as far as probes ask."""

    def __init__(self, code: int | None = 0, output: bytes = b"") -> None:
        self.code, self.output, self.asked = code, output, [""]

    async def wait(self) -> int | None:
        return None

    def signal(self, number: int) -> bool:
        return True

    async def execute(self, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
        self.asked = list(argv)
        return self.code, self.output

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(host, port)


def ask(
    tree: dict[str, Any], port: int = 0, handle: Process | None = None, timeout: float = SECONDS
) -> tuple[bool, str]:
    action = parse_action(tree)
    assert action is not None
    container = Container({"name": "c", "ports": [{"name": "web", "containerPort": port}]})
    target = prober.Target(container, "127.0.0.1", handle or Process())
    return asyncio.run(prober.ask(target, action, timeout))


def against(
    answer: bytes | None, tree: Callable[[int], dict[str, Any]], timeout: float = SECONDS
) -> tuple[bool, str, bytes]:
    """Ask a server that answers this (None: nothing at all); the result, and what the server heard."""
    heard = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.read(4096)
        if answer is not None:
            writer.write(answer)
            writer.close()

    async def body() -> tuple[bool, str]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        action = parse_action(tree(port))
        assert action is not None
        container = Container({"name": "c", "ports": [{"name": "web", "containerPort": port}]})
        found = await prober.ask(prober.Target(container, "127.0.0.1", Process()), action, timeout)
        server.close()
        return found

    return (*asyncio.run(body()), heard)


@pytest.mark.parametrize(
    ("answer", "good", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", True, ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False, "HTTP probe failed with statuscode: 404"),
        (b"", False, "EOF"),
        (b"hello\r\n", False, "malformed HTTP response"),
    ],
)
def test_http(answer: bytes, good: bool, words: str) -> None:
    found, said, _ = against(answer, lambda port: {"httpGet": {"path": "/ready", "port": "web"}})
    assert found is good
    assert words in said


def test_what_an_http_probe_sends() -> None:
    headers = [{"name": "Host", "value": "shop.example"}, {"name": "X-Probe", "value": "1"}]
    _, _, heard = against(b"", lambda port: {"httpGet": {"path": "ready?x=1", "port": port, "httpHeaders": headers}})
    assert heard.startswith(b"GET /ready?x=1 HTTP/1.1\r\n")
    assert b"Host: shop.example\r\n" in heard
    assert b"X-Probe: 1\r\n" in heard
    assert b"User-Agent: kube-probe/1.36\r\n" in heard


def test_a_silent_server_is_late() -> None:
    good, said, _ = against(None, lambda port: {"httpGet": {"path": "/", "port": port}}, timeout=0.05)
    assert not good
    assert "context deadline exceeded" in said


def test_a_port_that_takes_no_connection_is_late() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # there is no room for another
            said = ask({"tcpSocket": {"port": port}}, timeout=0.05)
    assert said == (False, f"dial tcp 127.0.0.1:{port}: i/o timeout")


def test_tcp_and_a_closed_port() -> None:
    assert against(b"", lambda port: {"tcpSocket": {"port": "web"}})[0]
    good, said = ask({"tcpSocket": {"port": 1}})
    assert not good
    assert said == "dial tcp 127.0.0.1:1: connect: connection refused"
    assert "connection refused" in ask({"httpGet": {"port": 1}})[1]
    assert ask({"tcpSocket": {"port": "other"}})[1] == "couldn't find port: 'other' in container c"


def test_exec_is_asked_in_the_container() -> None:
    process = Process(0, b"fine\n")
    assert ask({"exec": {"command": ["cat", "/x"]}}, handle=process) == (True, "fine\n")
    assert process.asked == ["cat", "/x"]
    assert ask({"exec": {"command": ["false"]}}, handle=Process(1, b"no")) == (False, "no")
    late = ask({"exec": {"command": ["sleep", "9"]}}, handle=Process(None), timeout=2)
    assert late == (False, 'command timed out: "sleep 9" timed out after 2s')


def told_by(tree: dict[str, Any], kind: Any, codes: list[int], once: bool = False) -> list[bool | None]:
    """The verdicts of a probe whose command ends with these codes, one after the other."""
    probe = parse_probe(kind, {"exec": {"command": ["x"]}, **tree})
    verdicts: list[bool | None] = []
    left = list(codes)

    class Series(Process):
        async def execute(self, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
            return left.pop(0), b""

    async def body() -> None:
        over = asyncio.Event()

        def told(_: object, verdict: Any, __: str) -> None:
            verdicts.append(verdict.holds)
            if not left:
                over.set()

        target = prober.Target(Container({"name": "c"}), "127.0.0.1", Series())
        watching: Awaitable[None] = prober.watch(target, probe, told, once=once)
        task = asyncio.ensure_future(watching)
        async with asyncio.timeout(SECONDS):
            await (task if once else over.wait())
        task.cancel()

    asyncio.run(body())
    return verdicts


def test_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {"periodSeconds": 0.001, "failureThreshold": 2, "successThreshold": 2, "initialDelaySeconds": 0.001}
    assert told_by(tree, "readiness", [0, 0, 1, 1, 0, 0]) == [False, True, True, False, False, True]
    assert told_by({**tree, "successThreshold": 1}, "startup", [1, 0], once=True) == [None, True]


def test_https_where_nobody_speaks_it() -> None:
    good, said, _ = against(b"HTTP/1.1 200 OK\r\n\r\n", lambda port: {"httpGet": {"port": port, "scheme": "HTTPS"}})
    assert not good
    assert "connect: tls: wrong version number" in said
