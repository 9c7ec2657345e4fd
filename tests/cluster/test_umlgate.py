"""A guest's gate, on this kernel: parts started, followed and signalled, commands with their streams, strangers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clusterip
from clusterip.cluster.umlgate import GateServer
from clusterip.cluster.umlinit import PRELOADED
from clusterip.kernel import gate
from clusterip.kernel.gate import CommandRequest, Distant, Gate, GateError, PartRequest
from transport.ports import free_port

pytestmark = pytest.mark.root

ZYGOTE = """
import sys, time
from clusterip.cluster import zygote

def main(argv):
    print("part", *argv, flush=True)
    if argv[0] == "show": print(open(argv[1]).read())
    if argv[0] == "sleep": time.sleep(60)
    return int(argv[-1]) if argv[-1].isdigit() else 0

zygote.carry_out(zygote.serve(zygote.open_door(sys.argv[1])), main)
"""


@pytest.fixture
def zygote_socket(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "z.sock"
    environment = dict(os.environ, PYTHONPATH=str(Path(clusterip.__file__).parent.parent))
    started = subprocess.Popen([sys.executable, "-c", ZYGOTE, str(path)], env=environment)
    yield str(path)
    started.kill()
    started.wait()


@asynccontextmanager
async def opened(zygote_socket: str) -> AsyncIterator[Gate]:
    """A gate on loopback, once its zygote listens."""
    while not os.path.exists(zygote_socket):  # noqa: ASYNC110, ASYNC240 - its imports
        await asyncio.sleep(0.01)
    port = free_port()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(GateServer("secret", zygote_socket).serve("127.0.0.1", port))
        door = Gate("127.0.0.1", "secret", port)
        while not await _answers(door):  # noqa: ASYNC110 - it has just begun
            await asyncio.sleep(0.005)
        yield door
        serving.cancel()


async def _answers(door: Gate) -> bool:
    try:
        _, writer = await asyncio.open_connection(door.address, door.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def with_gate(zygote_socket: str, act: Callable[[Gate], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        async with asyncio.timeout(30), opened(zygote_socket) as door:
            await act(door)

    asyncio.run(inside())


def part(log: Path, *argv: str) -> PartRequest:
    return PartRequest(name="part", argv=argv, log=str(log))


def test_a_part_writes_its_log_and_its_end_is_known(zygote_socket: str, tmp_path: Path) -> None:
    async def act(door: Gate) -> None:
        started = await gate.start_part(door, part(tmp_path / "log", "exit", "7"))
        assert await gate.wait_part(door, started) == 7
        assert await gate.wait_part(door, started) == 7  # whoever asks later hears it too
        assert (tmp_path / "log").read_text() == "part exit 7\n"

    with_gate(zygote_socket, act)


def test_a_part_sees_its_volumes_where_it_expects_them(zygote_socket: str, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "config").write_text("mode: ipvs")
    target = tmp_path / "shown"

    async def act(door: Gate) -> None:
        request = part(tmp_path / "log", "show", f"{target}/config")
        binds = ((str(tmp_path / "volume"), str(target), True),)
        started = await gate.start_part(door, replace(request, binds=binds))
        assert await gate.wait_part(door, started) == 0
        assert "mode: ipvs" in (tmp_path / "log").read_text()

    with_gate(zygote_socket, act)
    assert not (target / "config").exists()


def test_a_part_can_be_signalled(zygote_socket: str, tmp_path: Path) -> None:
    async def act(door: Gate) -> None:
        started = await gate.start_part(door, part(tmp_path / "log", "sleep"))
        assert await gate.signal_part(door, started, signal.SIGTERM)
        assert await gate.wait_part(door, started) == 128 + signal.SIGTERM
        assert not await gate.signal_part(door, started, signal.SIGTERM)

    with_gate(zygote_socket, act)


def test_a_process_of_another_boot_has_ended(zygote_socket: str, tmp_path: Path) -> None:
    async def act(door: Gate) -> None:
        former = Distant(os.getpid(), 1, "another boot")
        assert await gate.wait_part(door, former) is None
        assert not await gate.signal_part(door, former, signal.SIGKILL)

    with_gate(zygote_socket, act)


def test_a_command_has_its_streams_and_its_exit_code(zygote_socket: str) -> None:
    async def act(door: Gate) -> None:
        words = ("sh", "-c", "cat; echo to stderr >&2; exit 3")
        async with gate.command(door, CommandRequest(argv=words, env={"PATH": "/usr/bin:/bin"})) as running:
            await running.send(gate.STDIN, b"typed\n")
            await running.send(gate.END_OF_INPUT)
            frames = [frame async for frame in frames_of(running)]
        assert (gate.STDOUT, b"typed\n") in frames
        assert (gate.STDERR, b"to stderr\n") in frames
        assert frames[-1] == (gate.EXIT, b"3")

    with_gate(zygote_socket, act)


async def frames_of(running: gate.Connection) -> AsyncIterator[gate.Frame]:
    while (found := await running.frame()) is not None:
        yield found


def test_a_command_on_a_terminal(zygote_socket: str) -> None:
    async def act(door: Gate) -> None:
        request = CommandRequest(
            argv=("sh", "-c", "tty; stty size"), env={"PATH": "/usr/bin:/bin"}, tty=True, rows=30, columns=90
        )
        async with gate.command(door, request) as running:
            shown = b"".join([frame.content async for frame in frames_of(running) if frame.kind == gate.STDOUT])
        assert shown.startswith(b"/dev/pts/")
        assert b"30 90" in shown

    with_gate(zygote_socket, act)


def test_a_command_ends_with_its_client(zygote_socket: str) -> None:
    async def act(door: Gate) -> None:
        request = CommandRequest(argv=("sh", "-c", "echo $$; sleep 60"), env={"PATH": "/usr/bin:/bin"})
        async with gate.command(door, request) as running:
            first = await running.frame()
            assert first is not None
            pidfd = os.pidfd_open(int(first.content))
        async with asyncio.timeout(30):
            await gate_process_ended(pidfd)

    with_gate(zygote_socket, act)


async def gate_process_ended(pidfd: int) -> None:
    from clusterip.kernel.process import wait_pidfd

    await wait_pidfd(pidfd)
    os.close(pidfd)


def test_a_missing_program_is_said_and_a_late_one_is_ended(zygote_socket: str) -> None:
    async def act(door: Gate) -> None:
        async with gate.command(door, CommandRequest(argv=("no-such-program",))) as running:
            with pytest.raises(GateError, match="FileNotFoundError"):
                await running.answer()
        assert await gate.run_command(door, ["/bin/echo", "there"], 0, 10) == (0, b"there\n")
        code, _ = await gate.run_command(door, ["/bin/sleep", "60"], 0, 0.1)
        assert code is None

    with_gate(zygote_socket, act)


def test_a_connection_leads_on(zygote_socket: str) -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    async def act(door: Gate) -> None:
        async with await asyncio.start_server(upper, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await gate.connected(door, "127.0.0.1", port)
            writer.write(b"said")
            writer.write_eof()
            assert await reader.read() == b"SAID"
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await gate.connected(door, "127.0.0.1", port)
        with pytest.raises(GateError, match="closed"):
            await gate.connected(replace(door, token="guessed"), "127.0.0.1", port)

    with_gate(zygote_socket, act)


def test_a_stranger_is_told_nothing(zygote_socket: str) -> None:
    async def act(door: Gate) -> None:
        stranger = replace(door, token="guessed")
        async with gate.command(stranger, CommandRequest(argv=("/bin/true",))) as running:
            assert await running.frame() is None
        reader, writer = await asyncio.open_connection(door.address, door.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        writer.write_eof()
        await reader.read()
        writer.close()
        assert await gate.run_command(door, ["/bin/true"], 0, 10) == (0, b"")

    with_gate(zygote_socket, act)


def test_what_the_guest_preloads_can_be_imported() -> None:
    for name in PRELOADED:
        __import__(name)
