"""Exec, attach and logs against real containers: runc under conmon, busybox inside, a WebSocket client outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from clusterip.clock import SystemClock
from clusterip.node.logs import Follower
from clusterip.node.runtime import exit_code
from clusterip.node.server import NodeServer
from clusterip.transport import departure
from clusterip.transport.http import Handler, Listener
from clusterip.transport.request import Peer, Request
from node.containers import BUSYBOX, CONMON, RUNC, FakeAgent, container

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (RUNC and CONMON and BUSYBOX), reason="needs runc, conmon and a static busybox"),
]


async def printed(agent: FakeAgent, text: bytes) -> None:
    """Wait until the container has printed the text."""
    seen = b""
    async for chunk in Follower(agent.ref.log_path).chunks(asyncio.Event()):
        seen += chunk
        if text in seen:
            return


def as_api_server(handler: Handler) -> Handler:
    async def handle(request: Request) -> Any:
        request.peer = Peer("127.0.0.1", "kube-apiserver-kubelet-client")
        return await handler(request)

    return handle


@dataclass
class Session:
    """A client's view: what came on each channel, the Status at the end."""

    socket: aiohttp.ClientWebSocketResponse
    got: dict[int, bytes] = field(default_factory=dict)

    async def type(self, text: str) -> None:
        await self.socket.send_bytes(b"\0" + text.encode())

    async def end_input(self) -> None:
        await self.socket.send_bytes(b"\xff\0")

    async def resize(self, rows: int, columns: int) -> None:
        await self.socket.send_bytes(b"\4" + json.dumps({"Width": columns, "Height": rows}).encode())

    def vanish(self) -> None:
        """Leave without a word."""
        connection = self.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()

    async def until(self, text: bytes, channel: int = 1) -> bytes:
        """Read until the text came on the channel. A doubled carriage return is one (see OnTerminal)."""
        while text not in (seen := self.got.get(channel, b"").replace(b"\r\r\n", b"\r\n")):
            assert await self._one(), f"ended before {text!r}: {self.got}"
        return seen

    async def status(self) -> dict[str, Any]:
        while await self._one():
            pass
        return dict(json.loads(self.got[3]))

    async def _one(self) -> bool:
        async with asyncio.timeout(90):
            message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            return False
        channel, content = message.data[0], message.data[1:]
        self.got[channel] = self.got.get(channel, b"") + content
        return True


@dataclass
class Client:
    http: aiohttp.ClientSession
    url: str

    @contextlib.asynccontextmanager
    async def open(self, target: str, protocol: str = "v5.channel.k8s.io") -> AsyncIterator[Session]:
        async with self.http.ws_connect(f"{self.url}/{target}", protocols=(protocol,), max_msg_size=0) as socket:
            assert socket.protocol == protocol
            yield Session(socket)

    async def get(self, target: str) -> tuple[int, str]:
        async with self.http.get(f"{self.url}/{target}") as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def served(agent: FakeAgent) -> AsyncIterator[Client]:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    listener = Listener(as_api_server(NodeServer(agent, SystemClock()).handle))
    await listener.listen(listening, None)
    try:
        async with aiohttp.ClientSession() as http:
            yield Client(http, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        await listener.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    uvloop.run(bounded())


def command(*words: str, **flags: bool) -> str:
    asked = "&".join(f"{name}={str(value).lower()}" for name, value in flags.items())
    return "exec/default/web/c?" + "&".join(f"command={word}" for word in words) + "&" + asked


def test_exec(tmp_path: Path) -> None:
    async def work() -> None:
        async with container(tmp_path, "sleep", "1000") as agent, served(agent) as client:
            async with client.open(
                command("sh", "-c", "echo out; echo err >%262; exit 7", stdout=True, stderr=True)
            ) as session:
                status = await session.status()
                assert session.got[1] == b"out\n"
                assert session.got[2] == b"err\n"
                assert status["reason"] == "NonZeroExitCode"
                assert status["details"] == {"causes": [{"reason": "ExitCode", "message": "7"}]}
            async with client.open(command("cat", stdin=True, stdout=True), "v5.channel.k8s.io") as session:
                await session.type("x" * 300_000)
                await session.end_input()
                assert (await session.status())["status"] == "Success"
                assert session.got[1] == b"x" * 300_000
            async with client.open(
                command("no-such-program", stdout=True, stderr=True), "v4.channel.k8s.io"
            ) as session:
                status = await session.status()
                assert status["reason"] == "InternalError"
                assert 'exec: "no-such-program": executable file not found in $PATH' in status["message"]
                assert not session.got.get(2)  # the reason is told once
            async with client.open(
                command("sh", "-c", "echo exec failed: mine >%262; exit 1", stdout=True, stderr=True)
            ) as session:
                await session.status()
                assert session.got[2] == b"exec failed: mine\n"
            async with client.open(command("sh", "-c", "kill -9 $$", stdout=True)) as session:
                assert (await session.status())["details"]["causes"][0]["message"] == "137"

    run(work())


def until_size(size: str) -> str:
    """For the shell: the runtime passes a size on when it comes to it, maybe after what was typed."""
    return f'until [ "$(stty size 2>&1)" = "{size}" ]; do sleep 0.1; done; '


def test_exec_on_a_terminal(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            container(tmp_path, "sleep", "1000") as agent,
            served(agent) as client,
            client.open(command("sh", stdin=True, stdout=True, tty=True)) as session,
        ):
            await session.resize(33, 77)
            await session.until(b"# ")
            await session.type(until_size("33 77") + "echo now $(stty size) $TERM $WHO\n")
            await session.until(b"now 33 77 xterm container\r\n")
            await session.resize(44, 88)
            await session.type(until_size("44 88") + "echo now $(stty size)\n")
            await session.until(b"now 44 88\r\n")
            await session.type("exit 3\n")
            assert (await session.status())["details"]["causes"][0]["message"] == "3"

    run(work())


def test_a_client_that_leaves_ends_its_shell_not_the_container(tmp_path: Path) -> None:
    async def work() -> None:
        async with container(tmp_path, "sleep", "1000") as agent, served(agent) as client:
            async with client.open(command("sh", stdin=True, stdout=True, tty=True)) as session:
                await session.until(b"# ")
                await session.type("trap 'echo hung up > /tmp/said' HUP; echo $((40 + 2)); sleep 1000 & wait\n")
                await session.until(b"42\r\n")
            async for chunk in Follower(agent.bundle / "rootfs/tmp/said").chunks(asyncio.Event()):
                assert chunk == b"hung up\n"
                break
            async with client.open(command("sh", "-c", "cat /proc/[0-9]*/comm", stdout=True, stderr=True)) as session:
                await session.status()
                assert b"sleep" in session.got[1]

    run(work())


def children() -> set[int]:
    found = (path.read_text().split() for path in Path("/proc/self/task").glob("*/children"))
    return {int(word) for words in found for word in words}


async def over(pid: int) -> None:
    """Wait until a process has ended."""
    fd = os.pidfd_open(pid)
    try:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, gone.set)
        await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


def test_a_client_that_vanishes_behind_input_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command reads nothing, so nothing reads the client's end: the connection itself tells of it."""
    monkeypatch.setattr(departure, "LAST_SECONDS", 0.1)

    async def work() -> None:
        async with container(tmp_path, "sleep", "1000") as agent, served(agent) as client:
            before, before_fds = children(), len(os.listdir("/proc/self/fd"))
            async with client.open(command("sh", "-c", "echo begun; sleep 1000", stdin=True, stdout=True)) as session:
                await session.until(b"begun\n")
                (pid,) = children() - before
                for _ in range(8):
                    await session.type("x" * 100_000)  # more than the pipe holds, less than all buffers do
                session.vanish()
            await over(pid)
            while len(os.listdir("/proc/self/fd")) > before_fds:  # noqa: ASYNC110  (nothing tells of a closed file)
                await asyncio.sleep(0.01)
            async with client.open(command("echo", "others go on", stdout=True)) as session:
                await session.status()
                assert session.got[1] == b"others go on\n"

    run(work())


def test_first_attach_replays_and_then_goes_on(tmp_path: Path) -> None:
    async def work() -> None:
        script = "seq 1 2000; printf 'ready> '; read line; echo got $line; stty size; exit 5"
        async with (
            container(tmp_path, "sh", "-c", script, tty=True, stdin=True, once=True) as agent,
            served(agent) as client,
        ):
            async with client.open("attach/default/web/c?stdin=true&stdout=true&tty=true") as session:
                await session.resize(50, 100)
                text = await session.until(b"ready> ")
                assert text == b"".join(b"%d\r\n" % n for n in range(1, 2001)) + b"ready> "
                await session.resize(51, 101)  # two at once, as kubectl sends them: the last one counts
                await session.resize(50, 100)
                await session.type("hello\n")
                assert (await session.status())["status"] == "Success"
                assert session.got[1].endswith(b"hello\r\ngot hello\r\n50 100\r\n")
            assert exit_code(agent.bundle, agent.ref.id) == 5

    run(work())


def test_a_reader_of_the_log_who_attaches_sees_nothing_twice(tmp_path: Path) -> None:
    async def work() -> None:
        script = "echo one; echo two; read line; echo got $line"
        async with container(tmp_path, "sh", "-c", script, stdin=True, once=True) as agent, served(agent) as client:
            await printed(agent, b"two")
            assert await client.get("containerLogs/default/web/c") == (200, "one\ntwo\n")
            async with client.open("attach/default/web/c?stdin=true&stdout=true") as session:
                await session.type("it\n")
                await session.status()
                assert session.got[1] == b"got it\n"

    run(work())


def test_input_of_a_pipe_ends_with_the_first_attach(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            container(tmp_path, "sh", "-c", "cat; echo end", stdin=True, once=True) as agent,
            served(agent) as client,
            client.open("attach/default/web/c?stdin=true&stdout=true&stderr=true") as session,
        ):
            await session.type("one\ntwo")
            await session.end_input()
            await session.status()
            assert session.got[1] == b"one\ntwoend\n"

    run(work())


def test_input_that_stays_open_outlives_the_client(tmp_path: Path) -> None:
    """As `kubectl run --stdin --leave-stdin-open` does it: the client's input has ended, and the client is let go."""

    async def work() -> None:
        async with container(tmp_path, "cat", stdin=True) as agent, served(agent) as client:
            for text in ("one\n", "two\n"):
                async with client.open("attach/default/web/c?stdin=true&stdout=true&stderr=true") as session:
                    await session.type(text)
                    await session.end_input()
                    assert (await session.status())["status"] == "Success"
                await printed(agent, text.strip().encode())

    run(work())


def test_attach_sees_only_what_comes_and_both_streams(tmp_path: Path) -> None:
    async def work() -> None:
        script = "echo before; read x; echo after; echo wrong >&2; cat"
        async with container(tmp_path, "sh", "-c", script, stdin=True) as agent, served(agent) as client:
            await printed(agent, b"before")
            async with client.open("attach/default/web/c?stdin=true&stdout=true&stderr=true") as session:
                await session.type("go\n")
                assert await session.until(b"after\n") == b"after\n"
                assert await session.until(b"wrong\n", 2) == b"wrong\n"
            async with client.open("attach/default/web/c?stdin=true&stdout=true") as session:  # input stays open
                await session.type("again\n")
                await session.until(b"again\n")

    run(work())


def test_logs_follow_to_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        script = "echo one; echo two; read x; printf three; echo four >&2; exit 0"
        async with container(tmp_path, "sh", "-c", script, stdin=True, once=True) as agent, served(agent) as client:
            await printed(agent, b"two")
            async with client.http.get(f"{client.url}/containerLogs/default/web/c?follow=true&tailLines=1") as answer:
                assert await answer.content.readline() == b"two\n"
                async with client.open("attach/default/web/c?stdin=true&stdout=true") as session:
                    await session.type("go\n")
                    await session.status()
                rest = await answer.content.read()
                assert sorted(rest.replace(b"four\n", b"|").split(b"|")) == [b"", b"three"]
            assert await client.get("containerLogs/default/web/c?limitBytes=5") == (200, "one\nt")
            code, text = await client.get("containerLogs/default/web/c?previous=true")
            assert (code, json.loads(text)["message"]) == (
                400,
                'previous terminated container "c" in pod "web" not found',
            )

    run(work())
