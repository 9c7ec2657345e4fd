"""The zygote as its askers see it: forks, files, namespaces, exit codes, and deaths."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import clusterip
from clusterip.cluster.zygote import open_door
from clusterip.kernel import netns, process
from clusterip.kernel.zygote import Child, Spawn, ZygoteError, adopt, spawn

# A zygote whose "main" does what the test says, without importing the whole of clusterip.
SERVER = """
import os, socket, sys, time
from clusterip.cluster import zygote
from clusterip.failure import Failure

def main(argv):
    if argv[0] == "raise": raise ValueError("trouble")
    if argv[0] == "fail": raise Failure("no such thing; try another")
    if argv[0] == "exit": sys.exit(int(argv[1]))
    if argv[0] == "sleep": time.sleep(60)
    exec(argv[0], {"os": os, "sys": sys})
    return 0

door = sys.argv[1]
serving = socket.socket(fileno=int(door)) if door.isdigit() else zygote.open_door(door)
zygote.carry_out(zygote.serve(serving), main)
"""


def start(door: str, *kept: int) -> subprocess.Popen[bytes]:
    """A zygote; its door is a path, or the number of one that is open."""
    environment = dict(os.environ, PYTHONPATH=str(Path(clusterip.__file__).parent.parent))
    return subprocess.Popen([sys.executable, "-c", SERVER, door], env=environment, pass_fds=kept)


class Server:
    """A zygote process and its socket."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "z.sock")
        self.process = start(self.path)
        deadline = time.monotonic() + 60
        while not Path(self.path).exists() and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        Path(self.path).unlink(missing_ok=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.stop()


async def _output(server: Server, *argv: str, **more: object) -> tuple[str, int | None]:
    """What a child wrote, and its exit code."""
    reader, writer = os.pipe()
    child = await spawn(server.path, Spawn(name="t", argv=argv), stdout=writer, **more)  # type: ignore[arg-type]
    os.close(writer)
    code = await child.wait()
    child.close()
    with os.fdopen(reader) as file:
        return file.read(), code


def test_a_child_runs_main_and_tells_its_exit_code(server: Server) -> None:
    async def body() -> None:
        assert await _output(server, "print('hello', sys.argv[0])") == ("hello clusterip\n", 0)
        assert await _output(server, "exit", "7") == ("", 7)
        text, code = await _output(server, "raise")
        assert code == 1
        assert text.endswith("ValueError: trouble\n")
        assert await _output(server, "fail") == ("clusterip: no such thing; try another\n", 1)
        text, code = await _output(server, "os.kill(os.getpid(), 9)")
        assert code == 128 + 9

    asyncio.run(body())


def test_a_child_holds_nothing_of_the_zygote(server: Server) -> None:
    async def body() -> None:
        text, _ = await _output(
            server, "print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.getsid(0) == os.getpid())"
        )
        assert text == "[0, 1, 2] True\n"

    asyncio.run(body())


def test_environment_name_and_listeners(server: Server) -> None:
    async def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            code = (
                "from clusterip.kernel.zygote import inherited_listeners as l;"
                "print(os.environ['A'], 'PYTHONPATH' in os.environ, l()['api'].getsockname()[1],"
                "open('/proc/self/comm').read().strip())"
            )
            reader, writer = os.pipe()
            request = Spawn(name="kube-proxy", argv=(code,), env={"A": "1"})
            child = await spawn(server.path, request, stdout=writer, listeners={"api": listener.fileno()})
            os.close(writer)
            assert await child.wait() == 0
            child.close()
            with os.fdopen(reader) as file:
                assert file.read() == f"1 False {listener.getsockname()[1]} kube-proxy\n"

    asyncio.run(body())


def test_execute_becomes_a_program(server: Server) -> None:
    async def body() -> None:
        reader, writer = os.pipe()
        request = Spawn(name="x", argv=("sh", "-c", "echo $0 $A; exit 3"), env={"A": "b"}, execute=True)
        child = await spawn(server.path, request, stdout=writer)
        os.close(writer)
        assert await child.wait() == 3
        child.close()
        with os.fdopen(reader) as file:
            assert file.read() == "sh b\n"

    asyncio.run(body())


@pytest.mark.root
def test_a_child_lives_in_the_namespaces_given(server: Server) -> None:
    async def body() -> None:
        net = netns.create()
        try:
            text, _ = await _output(server, "print(os.stat('/proc/self/ns/net').st_ino)", net=net)
            assert int(text) == netns.inode(net)
        finally:
            os.close(net)

    asyncio.run(body())


def _stop(child: Child) -> None:
    child.kill(signal.SIGKILL)
    child.close()


def test_a_child_outlives_who_asked_and_can_be_adopted(server: Server) -> None:
    async def body() -> None:
        child = await spawn(server.path, Spawn(name="t", argv=("sleep",)))
        asked = child.process
        child.close()
        assert (await _output(server, "print(1)"))[0] == "1\n"  # the zygote serves on
        assert asked.alive()
        found = adopt(asked)
        found.kill(signal.SIGKILL)
        assert await found.wait() is None
        found.close()

    asyncio.run(body())


def test_a_child_outlives_the_zygote(server: Server) -> None:
    async def body() -> None:
        child = await spawn(server.path, Spawn(name="t", argv=("sleep",)))
        server.stop()
        assert child.process.alive()
        waiting = asyncio.create_task(child.wait())
        await asyncio.sleep(0)
        child.kill(signal.SIGKILL)
        assert await waiting is None
        child.close()

    asyncio.run(body())


def test_a_dead_zygote_is_said(server: Server) -> None:
    async def body() -> None:
        server.process.kill()
        server.process.wait()
        with pytest.raises(ZygoteError, match="Connection refused"):
            await spawn(server.path, Spawn(name="t", argv=("sleep",)))

    asyncio.run(body())


def test_what_cannot_be_started_is_said(server: Server) -> None:
    async def body() -> None:
        text, code = await _output(server, "print(1)", net=0)
        assert code == 1
        assert "setns" in text
        assert (await _output(server, "print(3)"))[0] == "3\n"

    asyncio.run(body())


def test_forks_are_quick_and_no_zombie_stays(server: Server) -> None:
    async def body() -> None:
        children = [await spawn(server.path, Spawn(name="t", argv=("exit", "0"))) for _ in range(10)]
        assert [await child.wait() for child in children] == [0] * 10
        for child in children:
            assert process.start_time(child.pid) is None
            child.close()

    asyncio.run(body())


def test_what_is_asked_while_nobody_serves_waits_for_the_next(tmp_path: Path) -> None:
    """As in a guest, whose first process keeps the door open."""
    path = str(tmp_path / "z.sock")

    async def scenario(door: int) -> None:
        for _ in range(2):
            asked = asyncio.create_task(spawn(path, Spawn(name="t", argv=("pass",))))
            await asyncio.sleep(0)  # it is at the door
            serving = start(str(door), door)
            try:
                child = await asked
                assert await child.wait() == 0
                child.close()
            finally:
                serving.kill()
                serving.wait()

    with open_door(path) as door:
        asyncio.run(scenario(door.fileno()))
