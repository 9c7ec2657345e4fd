"""A command in a container: how it is started, what it is made of while it runs.

Stage: edge.  In: a container, a command and the streams that a client asks for.  Out: what runs, with its input, its
outputs and its exit code, the same on pipes, on a terminal and in a guest.
Truth: runc-exec(8); nsenter(1).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clusterip.kernel.terminal import Terminal
from clusterip.node import beside
from clusterip.node import channels as remote
from clusterip.node.lookup import ContainerRef

CHUNK = 32 * 1024
END_OF_INPUT = b"\x04"  # what a terminal's user types to end the input
SYSTEM_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams a client asks for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """How to start a command in a container."""

    argv: tuple[str, ...]
    env: dict[str, str]
    folder: Path  # of this one exec: process.json, pid, log
    by_runtime: bool

    def refusal(self) -> str | None:
        """Why the runtime did not start the command; None when it did."""
        if not self.by_runtime or (self.folder / "pid").exists():
            return None
        with contextlib.suppress(OSError, ValueError, KeyError):
            lines = (self.folder / "log").read_text().splitlines()
            return str(json.loads(lines[-1])["msg"])
        return "the runtime gave no reason"


def process_of(bundle_process: dict[str, Any], options: StreamOptions) -> dict[str, Any]:
    """The container's own process with another command: same user, environment, folder and limits."""
    process = {**bundle_process, "args": list(options.command), "terminal": options.tty}
    process.pop("consoleSize", None)
    names = {entry.partition("=")[0] for entry in process.get("env", ())}
    if options.tty and "TERM" not in names:
        process["env"] = [*process.get("env", ()), "TERM=xterm"]
    return process


def start_of(ref: ContainerRef, options: StreamOptions, folder: Path) -> Start:
    """The command line that runs the options' command in a container."""
    if ref.gate is not None:
        return Start(options.command, {**SYSTEM_ENVIRONMENT, "TERM": "xterm"}, folder, by_runtime=False)
    if not ref.runtime:
        enter = ("nsenter", "--target", str(ref.pid), "--all", "--", *options.command)
        terminal = ("setsid", "-c") if options.tty else ()
        return Start((*terminal, *enter), {**SYSTEM_ENVIRONMENT, "TERM": "xterm"}, folder, by_runtime=False)
    assert ref.bundle is not None
    spec = json.loads((ref.bundle / "config.json").read_bytes())
    (folder / "process.json").write_text(json.dumps(process_of(spec["process"], options)))
    log = ("--log", str(folder / "log"), "--log-format", "json")
    words = ("exec", "--pid-file", str(folder / "pid"), "--process", str(folder / "process.json"), ref.id)
    return Start((*ref.runtime, *log, *words), dict(os.environ), folder, by_runtime=True)


Outputs = Sequence[tuple[int, Callable[[], Awaitable[bytes]]]]  # (channel, read)


class Running(Protocol):
    """A command that runs, whatever its streams are made of."""

    @property
    def outputs(self) -> Outputs: ...

    async def write(self, content: bytes) -> None: ...

    async def end_input(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None: ...

    async def wait(self) -> int: ...

    def leave(self) -> None:
        """The client is gone: let go of the streams, as a terminal that is closed."""
        ...


class Piped:
    """A command on pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout, process.stderr
        self.outputs: Outputs = ((remote.STDOUT, lambda: out.read(CHUNK)), (remote.STDERR, lambda: err.read(CHUNK)))

    async def write(self, content: bytes) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(content)
            await self._process.stdin.drain()

    async def end_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        """Pipes have no size."""

    async def wait(self) -> int:
        return _shell_code(await self._process.wait())

    def leave(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.transport.abort()  # what the command has not read, nobody will write


class OnTerminal:
    """A command on a terminal of its own.

    The runtime has another terminal inside, and clears its newline translation only after the command has started: a
    command that is quick to remember its settings ends its lines with a second carriage return, which nobody sees.
    """

    def __init__(self, process: asyncio.subprocess.Process, terminal: Terminal) -> None:
        self._process = process
        self._terminal = terminal
        self.outputs: Outputs = ((remote.STDOUT, terminal.read),)

    async def write(self, content: bytes) -> None:
        await self._terminal.write(content)

    async def end_input(self) -> None:
        await self._terminal.write(END_OF_INPUT)

    def resize(self, rows: int, columns: int) -> None:
        with contextlib.suppress(OSError, ProcessLookupError):
            self._terminal.resize(rows, columns)
            self._process.send_signal(signal.SIGWINCH)  # the runtime passes the size on to the terminal inside

    async def wait(self) -> int:
        return _shell_code(await self._process.wait())

    def leave(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # its end of the inner terminal closes: the shell there gets SIGHUP


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


@contextlib.asynccontextmanager
async def _started(start: Start, options: StreamOptions) -> AsyncIterator[Running]:
    """The command as it runs; afterwards nothing of ours is left of it."""
    terminal = Terminal(raw=start.by_runtime) if options.tty else None
    try:
        if terminal:
            streams = (terminal.far, terminal.far, terminal.far)
        else:
            source = asyncio.subprocess.PIPE if options.stdin else asyncio.subprocess.DEVNULL
            streams = (source, asyncio.subprocess.PIPE, asyncio.subprocess.PIPE)
        process = await asyncio.create_subprocess_exec(
            *start.argv, stdin=streams[0], stdout=streams[1], stderr=streams[2], env=start.env
        )
        if terminal:
            terminal.close_far()
        running: Running = OnTerminal(process, terminal) if terminal else Piped(process)
        try:
            yield running
        finally:
            running.leave()
            await asyncio.shield(process.wait())
            process._transport.close()  # type: ignore[attr-defined]  # what the runtime started may hold its pipes for long
    finally:
        if terminal:
            terminal.close()


def entered(ref: ContainerRef, start: Start, options: StreamOptions) -> contextlib.AbstractAsyncContextManager[Running]:
    """The command, in this kernel or in a guest's."""
    if ref.gate is not None:
        return beside.started(ref.gate, ref.pid or 0, start.argv, start.env, tty=options.tty, stdin=options.stdin)
    return _started(start, options)


def first_channel(options: StreamOptions) -> int:
    if options.stdout:
        return remote.STDOUT
    return remote.STDERR if options.stderr else remote.ERROR
