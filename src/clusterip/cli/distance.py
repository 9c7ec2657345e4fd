"""A command in a guest's kernel, with this process's terminal or pipes as its own.

Stage: edge.  In: a gate, a command, our stdin.  Out: its output and its exit code.
Rules: a terminal of ours is raw while the command runs, and as it was afterwards, whatever happens; the command has one
of its own of the same size.
Truth: kernel/gate.py is the protocol; tty(4).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence

from clusterip.failure import Failure
from clusterip.kernel import gate
from clusterip.kernel.gate import CommandRequest, Connection, Gate

NOT_FOUND, NOT_EXECUTABLE, LOST = 127, 126, 255
CHUNK = 32 * 1024


def run_there(door: Gate, command: Sequence[str], environment: dict[str, str], folder: str) -> int:
    """Run it; its exit code."""
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    rows, columns = _size() if on_terminal else (0, 0)
    request = CommandRequest(
        argv=tuple(command), env=environment, folder=folder, tty=on_terminal, rows=rows, columns=columns
    )
    sys.stdout.flush()
    try:
        with _raw(on_terminal):
            return asyncio.run(_run(door, request))
    except (OSError, TimeoutError) as error:
        raise Failure(f"the node's guest does not answer ({str(error) or 'timeout'}); it may be booting") from error


def _size() -> tuple[int, int]:
    found = os.get_terminal_size(sys.stdin.fileno())
    return found.lines, found.columns


@contextlib.contextmanager
def _raw(on_terminal: bool) -> Iterator[None]:
    """Every key goes to the command."""
    if not on_terminal:
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


async def _run(door: Gate, request: CommandRequest) -> int:
    async with gate.command(door, request) as running:
        if request.tty:
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, _resized, running)
        typing = asyncio.create_task(_type(running), name="input")
        try:
            return await _show(running, request.argv[0])
        finally:
            typing.cancel()


def _resized(running: Connection) -> None:
    running.send_soon(gate.SIZE, gate.size(*_size()))


async def _type(running: Connection) -> None:
    """Send our input until it ends."""
    while content := await _read_input():
        await running.send(gate.STDIN, content)
    await running.send(gate.END_OF_INPUT)


async def _read_input() -> bytes:
    """What there is on stdin; a regular file is always ready, and no loop takes it."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(sys.stdin.fileno(), ready.set)
    except (PermissionError, OSError):
        return os.read(sys.stdin.fileno(), CHUNK)
    try:
        await ready.wait()
        return os.read(sys.stdin.fileno(), CHUNK)
    finally:
        loop.remove_reader(sys.stdin.fileno())


async def _show(running: Connection, program: str) -> int:
    """Pass its output on until it ends."""
    while (found := await running.frame()) is not None:
        if found.kind == gate.EXIT:
            return int(found.content)
        if found.kind == gate.ANSWER:
            return _refused(program, found.content.decode(errors="replace"))
        _write(2 if found.kind == gate.STDERR else 1, found.content)
    sys.stderr.write("clusterip: the connection to the node's guest was lost\n")
    return LOST


def _refused(program: str, why: str) -> int:
    missing = "FileNotFoundError" in why
    text = "no such program on the machine" if missing else why
    sys.stderr.write(f"clusterip: {program}: {text}\n")
    return NOT_FOUND if missing else NOT_EXECUTABLE


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
