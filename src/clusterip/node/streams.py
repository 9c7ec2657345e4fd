"""Exec and attach: a container's input and output on a client's channels.

Stage: edge.  In: a container, the client's channels.  Out: bytes both ways, an exit code.
Attach takes its output from the container's log alone: conmon writes there at once and as it came, so that what was
printed before the attach can be shown first, with no gap and nothing twice; conmon's socket carries the input only.
Rules: a client that leaves never ends a container; the first attach to a `stdinOnce` container shows first what nobody
has read yet, and when it ends the container's input is over.
Truth: runc-exec(8); conmon's attach socket (SOCK_SEQPACKET, raw input).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clusterip.kernel.seqpacket import Seqpacket
from clusterip.kernel.terminal import Terminal, set_size
from clusterip.node import beside
from clusterip.node import channels as remote
from clusterip.node.channels import Client
from clusterip.node.logs import Follower, Splitter
from clusterip.node.lookup import ContainerRef, Lookup

CHUNK = 32 * 1024
CONMON_PACKET = 8192
END_OF_INPUT = b"\x04"  # what a terminal's user types to end the input
REPLAYED_MARK = "attached"
RUNTIME_WORDS = b"exec failed: "  # how the runtime begins to say on stderr why it did not start a command
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


def _running(
    ref: ContainerRef, start: Start, options: StreamOptions
) -> contextlib.AbstractAsyncContextManager[Running]:
    """The command, in this kernel or in a guest's."""
    if ref.gate is not None:
        return beside.started(ref.gate, ref.pid or 0, start.argv, start.env, tty=options.tty, stdin=options.stdin)
    return _started(start, options)


async def run_exec(ref: ContainerRef, options: StreamOptions, client: Client) -> None:
    """Run one command for one client, from its first byte to its Status."""
    with tempfile.TemporaryDirectory(prefix="clusterip-exec-") as name:
        start = start_of(ref, options, Path(name))
        try:
            async with _running(ref, start, options) as running:
                await client.send(_first_channel(options), b"")  # says that the connection stands
                code = await _relay(running, start, options, client)
        except OSError as error:
            if isinstance(error, ConnectionError):
                return
            await client.finish(remote.failed(f"error executing command in container: {error}"))
            return
        refusal = start.refusal() if code else None
        status = remote.failed(f"error executing command in container: {refusal}") if refusal else remote.exited(code)
        await client.finish(status)


def _first_channel(options: StreamOptions) -> int:
    if options.stdout:
        return remote.STDOUT
    return remote.STDERR if options.stderr else remote.ERROR


async def _relay(running: Running, start: Start, options: StreamOptions, client: Client) -> int:
    """Both ways until the command has ended and all that it wrote is sent."""
    wanted = {remote.STDOUT: options.stdout, remote.STDERR: options.stderr and not options.tty}
    async with asyncio.TaskGroup() as group:
        typing = group.create_task(_type(running, client), name="exec input")
        pumps = [
            group.create_task(
                _pump(_of_command(read, start), channel, wanted[channel], running, client),
                name=f"exec output {channel}",
            )
            for channel, read in running.outputs
        ]
        code = await running.wait()
        await asyncio.gather(*pumps)
        typing.cancel()
    return code


async def _type(running: Running, client: Client) -> None:
    await client.run_input(running)
    running.leave()


def _of_command(read: Callable[[], Awaitable[bytes]], start: Start) -> Callable[[], Awaitable[bytes]]:
    """The output without the runtime's own words: why it refused is told once, in the Status."""
    begun = False

    async def of_command() -> bytes:
        nonlocal begun
        content, first, begun = await read(), not begun, True
        if not (first and start.by_runtime and content.startswith(RUNTIME_WORDS)):
            return content
        while more := await read():
            content += more
        return b"" if start.refusal() else content

    return of_command


async def _pump(
    read: Callable[[], Awaitable[bytes]], channel: int, wanted: bool, running: Running, client: Client
) -> None:
    """One output to its channel; what is not wanted is read all the same, so that the command does not block."""
    while content := await read():
        if not wanted:
            continue
        try:
            await client.send(channel, content)
        except ConnectionError:
            running.leave()
            wanted = False


class ConmonInput:
    """A container's standard input and terminal size, by conmon's socket and the terminal itself."""

    def __init__(self, ref: ContainerRef, *, stdin: bool) -> None:
        self._ref = ref
        self._socket = Seqpacket(ref.attach_socket) if stdin and ref.stdin and ref.attach_socket else None

    async def write(self, content: bytes) -> None:
        if self._socket:
            for at in range(0, len(content), CONMON_PACKET):
                await self._socket.send(content[at : at + CONMON_PACKET])

    async def end_input(self) -> None:
        """Pipes end; a terminal is told what its user would type."""
        if self._socket and self._ref.tty:
            await self._socket.send(END_OF_INPUT)
        elif self._socket:
            self._socket.end()

    def resize(self, rows: int, columns: int) -> None:
        """By the terminal itself: of several lines that wait in the control fifo, conmon 2.1 heeds only the first."""
        if not self._ref.tty or self._ref.pid is None:
            return
        with contextlib.suppress(OSError):  # the container has ended
            fd = os.open(f"/proc/{self._ref.pid}/root/dev/console", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                set_size(fd, rows, columns)
            finally:
                os.close(fd)

    async def drain(self) -> None:
        """conmon sends the output here as well; it is taken so that conmon never waits, and not used."""
        while self._socket and await self._socket.receive():
            pass

    def close(self) -> None:
        if self._socket:
            self._socket.close()


async def run_attach(ref: ContainerRef, lookup: Lookup, options: StreamOptions, client: Client, shown: int = 0) -> None:
    """Join one client to a running container until either ends; `shown` says how much of its log a reader has seen."""
    over = asyncio.Event()
    start = _attach_start(ref, options, shown)
    try:
        sink = ConmonInput(ref, stdin=options.stdin)
    except OSError:  # the container has ended in the meantime; its output is still there
        sink = ConmonInput(ref, stdin=False)
    try:
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(_set_at_end(ref, lookup, over), name="attach end")
            draining = group.create_task(sink.drain(), name="attach drain")
            typing = group.create_task(client.run_input(sink), name="attach input")
            showing = group.create_task(_show(ref, start, over, options, client), name="attach output")
            await asyncio.wait((typing, showing), return_when=asyncio.FIRST_COMPLETED)
            if options.stdin and ref.stdin_once and not over.is_set():
                with contextlib.suppress(OSError):
                    await sink.end_input()
            for task in (ending, draining, typing, showing):
                task.cancel()
    finally:
        sink.close()
    await client.finish(remote.exited(0))


async def _set_at_end(ref: ContainerRef, lookup: Lookup, over: asyncio.Event) -> None:
    await lookup.ended(ref)
    over.set()


async def _show(ref: ContainerRef, start: int, over: asyncio.Event, options: StreamOptions, client: Client) -> None:
    """The log's bytes, as they were before they became lines."""
    wanted = {b"stdout": options.stdout, b"stderr": options.stderr}
    splitter = Splitter()
    with contextlib.suppress(ConnectionError):
        await client.send(_first_channel(options), b"")
        async for chunk in Follower(ref.log_path, start).chunks(over):
            for stream, text in _runs(splitter, chunk):
                if wanted.get(stream, True):
                    await client.send(remote.STDERR if stream == b"stderr" else remote.STDOUT, text)


def _runs(splitter: Splitter, chunk: bytes) -> list[tuple[bytes, bytes]]:
    """Neighbouring lines of one stream joined."""
    runs: list[tuple[bytes, list[bytes]]] = []
    for line in splitter.feed(chunk):
        if runs and runs[-1][0] == line.stream:
            runs[-1][1].append(line.text)
        else:
            runs.append((line.stream, [line.text]))
    return [(stream, b"".join(texts)) for stream, texts in runs]


def _attach_start(ref: ContainerRef, options: StreamOptions, shown: int) -> int:
    """Where an attach begins in the log: at its end, but the first to a `stdinOnce` container where nobody has read.

    kubectl since 1.36 reads the log before it attaches for `run -i`, older ones do not; both see every byte once.
    """
    if options.stdin and ref.stdin_once and ref.bundle is not None:
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            (ref.bundle / f"{REPLAYED_MARK}.{ref.attempt}").touch(exist_ok=False)
            return shown
    try:
        return ref.log_path.stat().st_size
    except FileNotFoundError:
        return 0
