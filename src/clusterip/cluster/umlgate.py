"""The gate of a guest: what the agent and a user's shell, who live in the host's kernel, have started in the guest's.

Stage: commit (the client is kernel/gate.py).  In: connections with a token.  Out: parts forked by the guest's zygote,
commands with streams, connections from the guest itself.
Rules: it listens on the node's address, so that every refusal comes before a request is read: no token, no word.  A
part's end is kept for whoever asks later; a gate that began anew knows ends only of what it can still see.
Truth: kernel/gate.py is the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import json
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterip.kernel import gate, namespaces, process, zygote
from clusterip.kernel.gate import CommandRequest, PartRequest
from clusterip.kernel.terminal import Terminal
from clusterip.node.binds import show
from clusterip.node.ocispec import BindMount

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
MOST_ENDS = 256
CHUNK = 32 * 1024
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class GateServer:
    """The gate of one boot."""

    token: str
    zygote_socket: str
    boot: str = field(default_factory=lambda: BOOT_ID.read_text().strip())
    ends: dict[tuple[int, int], asyncio.Future[int | None]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, address: str, port: int = gate.PORT) -> None:
        """Until cancelled."""
        server = await asyncio.start_server(self._connected, address, port)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                found = await gate.read_frame(reader)
            tree: dict[str, Any] = json.loads(found.content) if found else {}
            if not hmac.compare_digest(str(tree.pop("token", "")).encode(), self.token.encode()):
                return
            await self._handle(str(tree.pop("do")), tree, (reader, writer))
        except (ValueError, KeyError, TypeError, TimeoutError, OSError) as error:
            with contextlib.suppress(ConnectionError):
                writer.write(gate.json_frame(gate.ANSWER, {"error": f"{type(error).__name__}: {error}"}))
        finally:
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

    async def _handle(self, do: str, tree: dict[str, Any], streams: Streams) -> None:
        actions: Mapping[str, Callable[[dict[str, Any], Streams], Awaitable[None]]] = {
            "start": self._start,
            "wait": self._wait,
            "signal": self._signal,
            "run": self._run,
            "connect": self._connect,
        }
        await actions[do](tree, streams)

    # -- parts --------------------------------------------------------------------------------------------------------

    async def _start(self, tree: dict[str, Any], streams: Streams) -> None:
        wanted = PartRequest(**{**tree, "binds": tuple((s, t, bool(r)) for s, t, r in tree["binds"])})
        child = await self._fork(wanted)
        self._follow(child)
        answer = {"pid": child.pid, "started": child.started, "boot": self.boot}
        streams[1].write(gate.json_frame(gate.ANSWER, answer))

    async def _fork(self, wanted: PartRequest) -> zygote.Child:
        binds = [BindMount(source, target, readonly) for source, target, readonly in wanted.binds]
        request = zygote.Spawn(name=wanted.name, argv=tuple(wanted.argv), env=wanted.env)
        mounts = await asyncio.to_thread(namespaces.copy_mounts, lambda: show(binds))
        log = os.open(wanted.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            return await zygote.spawn(self.zygote_socket, request, mnt=mounts, stdout=log)
        finally:
            os.close(log)
            os.close(mounts)

    def _follow(self, child: zygote.Child) -> asyncio.Future[int | None]:
        """Know its end when it comes."""
        end: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.ends[child.pid, child.started] = end
        while len(self.ends) > MOST_ENDS:
            self.ends.pop(next(iter(self.ends)))

        async def wait() -> None:
            code = await child.wait()
            child.close()
            if not end.done():
                end.set_result(code)

        task = asyncio.create_task(wait(), name=f"end of {child.pid}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return end

    async def _wait(self, tree: dict[str, Any], streams: Streams) -> None:
        code = await self._end(tree)
        streams[1].write(gate.json_frame(gate.ANSWER, {"exit": code}))

    async def _end(self, tree: dict[str, Any]) -> int | None:
        if tree["boot"] != self.boot:
            return None
        end = self.ends.get((tree["pid"], tree["started"]))
        if end is None:
            try:
                end = self._follow(zygote.adopt(process.Process(tree["pid"], tree["started"])))
            except ProcessLookupError:
                return None
        return await asyncio.shield(end)

    async def _signal(self, tree: dict[str, Any], streams: Streams) -> None:
        there = tree["boot"] == self.boot and process.kill_pid(tree["pid"], tree["started"], int(tree["number"]))
        streams[1].write(gate.json_frame(gate.ANSWER, {"there": there}))

    # -- commands -----------------------------------------------------------------------------------------------------

    async def _run(self, tree: dict[str, Any], streams: Streams) -> None:
        wanted = CommandRequest(**tree)
        running = await _begin(wanted)
        reading = asyncio.create_task(_inputs(streams[0], running), name="input")
        try:
            await running.outputs(streams[1])
            code = await running.process.wait()
            shown = code if code >= 0 else 128 - code
            streams[1].write(gate.frame(gate.EXIT, str(shown).encode()))
        finally:
            reading.cancel()
            running.leave()

    # -- connections --------------------------------------------------------------------------------------------------

    async def _connect(self, tree: dict[str, Any], streams: Streams) -> None:
        """Lead on to a place in the guest's own network."""
        try:
            far = await asyncio.open_connection(str(tree["host"]), int(tree["port"]))
        except OSError as error:
            streams[1].write(gate.json_frame(gate.ANSWER, {"errno": error.errno or errno.EIO}))
            return
        streams[1].write(gate.json_frame(gate.ANSWER, {"errno": 0}))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_lead(streams[0], far[1]))
                group.create_task(_lead(far[0], streams[1]))
        finally:
            far[1].close()


async def _lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one to the other, and the end of them."""
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(CHUNK):
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@dataclass
class Running:
    """A command of the gate, on pipes or on a terminal."""

    process: asyncio.subprocess.Process
    terminal: Terminal | None

    async def outputs(self, writer: asyncio.StreamWriter) -> None:
        """Send what it writes until it writes no more."""
        if self.terminal is not None:
            await _pour(self.terminal.read, gate.STDOUT, writer)
            return
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout, self.process.stderr
        async with asyncio.TaskGroup() as group:
            group.create_task(_pour(lambda: out.read(CHUNK), gate.STDOUT, writer))
            group.create_task(_pour(lambda: err.read(CHUNK), gate.STDERR, writer))

    async def write(self, content: bytes) -> None:
        if self.terminal is not None:
            await self.terminal.write(content)
        elif self.process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self.process.stdin.write(content)
                await self.process.stdin.drain()

    async def end_input(self) -> None:
        if self.terminal is not None:
            await self.terminal.write(b"\x04")
        elif self.process.stdin is not None:
            self.process.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        if self.terminal is not None:
            self.terminal.resize(rows, columns)

    def leave(self) -> None:
        """The client is gone, or the command is over: its group hears of it."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGHUP)
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.terminal is not None:
            self.terminal.close()


async def _begin(wanted: CommandRequest) -> Running:
    """Start the command; what cannot be started ends as a shell would say it."""
    enter = ("nsenter", "--target", str(wanted.beside), "--mount", "--") if wanted.beside else ()
    words = (*enter, *wanted.argv)
    if wanted.tty:
        terminal = Terminal(raw=False)
        if wanted.rows:
            terminal.resize(wanted.rows, wanted.columns)
        far = terminal.far
        running = await asyncio.create_subprocess_exec(
            "setsid", "-c", "-w", *words, stdin=far, stdout=far, stderr=far, env=wanted.env, cwd=wanted.folder
        )
        terminal.close_far()
        return Running(running, terminal)
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, stderr=pipe, env=wanted.env, cwd=wanted.folder, start_new_session=True
    )
    return Running(running, None)


async def _pour(read: Callable[[], Awaitable[bytes]], kind: int, writer: asyncio.StreamWriter) -> None:
    while content := await read():
        writer.write(gate.frame(kind, content))
        await writer.drain()


async def _inputs(reader: asyncio.StreamReader, running: Running) -> None:
    """What the client sends, until it goes; then the command goes too."""
    while (found := await gate.read_frame(reader)) is not None:
        if found.kind == gate.STDIN:
            await running.write(found.content)
        elif found.kind == gate.END_OF_INPUT:
            await running.end_input()
        elif found.kind == gate.SIZE:
            running.resize(*gate.parse_size(found.content))
    running.leave()
