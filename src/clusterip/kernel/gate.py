"""Have processes in a guest's kernel: start a part of clusterip there, follow it, signal it, run a command.

Stage: kernel (client side; the server is cluster/umlgate.py).  In: an address, a token, requests.  Out: pids, exit
codes, streams, connections.
Rules: one TCP connection per request; one to connect becomes that connection.  Descriptors cannot pass between kernels,
files can be named because both sides see the same ones.  A part outlives the connection that asked for it; a command
does not.  A boot has a number: a pid of another boot names nothing.
Truth: this file is the protocol: frames of kind and length, the first of them JSON with the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

PORT = 10247
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
AGAIN_SECONDS = 0.2
LONGEST_FRAME = 1 << 20
HEADER = struct.Struct("!BI")

REQUEST, ANSWER, STDIN, STDOUT, STDERR, END_OF_INPUT, SIZE, EXIT = range(8)


class GateError(OSError):
    """The guest refused, or is not there."""


class Frame(NamedTuple):
    """One message of a connection."""

    kind: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Gate:
    """Where a guest's gate is, and what opens it."""

    address: str
    token: str
    port: int = PORT


@dataclass(frozen=True, slots=True)
class Distant:
    """A process of a guest: its pid and start time there, in one boot of the guest."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, kw_only=True)
class PartRequest:
    """A part of clusterip that is to run: `clusterip ARGV`, its output at the end of a file.

    binds are shown to it alone: (path, path in its own copy of the mounts, read-only).
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    log: str
    binds: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CommandRequest:
    """A command with streams; in the mounts of a process of the guest, when one is given."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    tty: bool = False
    rows: int = 0
    columns: int = 0
    beside: int = 0


# -- frames -----------------------------------------------------------------------------------------------------------


def frame(kind: int, content: bytes = b"") -> bytes:
    """A message as bytes."""
    return HEADER.pack(kind, len(content)) + content


def json_frame(kind: int, tree: Any) -> bytes:
    return frame(kind, json.dumps(tree).encode())


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next message; None when the other side has gone."""
    try:
        kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
        if length > LONGEST_FRAME:
            raise GateError(0, f"a frame of {length} bytes is too long")
        return Frame(kind, await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        return None


# -- requests ---------------------------------------------------------------------------------------------------------


class Connection:
    """One request on its way, its answers, and what is sent after it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def frame(self) -> Frame | None:
        return await read_frame(self._reader)

    async def answer(self) -> dict[str, Any]:
        """The next answer; a refusal is a GateError."""
        found = await self.frame()
        if found is None:
            raise GateError(0, "the guest's gate closed the connection")
        tree: dict[str, Any] = json.loads(found.content)
        if "error" in tree:
            raise GateError(0, tree["error"])
        return tree

    async def send(self, kind: int, content: bytes = b"") -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(frame(kind, content))
            await self._writer.drain()

    def send_soon(self, kind: int, content: bytes = b"") -> None:
        """Send something small without waiting."""
        if not self._writer.is_closing():
            self._writer.write(frame(kind, content))

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def asking(gate: Gate, do: str, request: dict[str, Any]) -> AsyncIterator[Connection]:
    """A connection with its request sent; OSError when nobody listens."""
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(gate.address, gate.port)
    _notice_its_end(writer.get_extra_info("socket"))
    connection = Connection(reader, writer)
    try:
        writer.write(json_frame(REQUEST, {"token": gate.token, "do": do, **request}))
        await writer.drain()
        yield connection
    finally:
        connection.close()


def _notice_its_end(connection: socket.socket) -> None:
    """A kernel that was killed closes nothing; the one that follows it refuses what it does not know."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 10)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def start_part(gate: Gate, request: PartRequest) -> Distant:
    """Start it, once the guest has booted; GateError or TimeoutError when that could not be."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            try:
                async with asking(gate, "start", asdict(request)) as connection:
                    answer = await connection.answer()
                    return Distant(answer["pid"], answer["started"], answer["boot"])
            except (ConnectionRefusedError, TimeoutError):  # it boots; nothing was asked of it yet
                await asyncio.sleep(AGAIN_SECONDS)


async def wait_part(gate: Gate, process: Distant) -> int | None:
    """Its exit code; None when nobody knows it, as after the end of its kernel."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with asking(gate, "wait", asdict(process)) as connection:
                code: int | None = (await connection.answer())["exit"]
                return code
        await asyncio.sleep(AGAIN_SECONDS)  # the guest boots, or its gate begins anew


async def signal_part(gate: Gate, process: Distant, number: int) -> bool:
    """Send a signal; whether the process was there."""
    async with asyncio.timeout(ANSWER_SECONDS), asking(gate, "signal", asdict(process) | {"number": number}) as sent:
        return bool((await sent.answer())["there"])


def command(gate: Gate, request: CommandRequest) -> contextlib.AbstractAsyncContextManager[Connection]:
    """Run a command; frames of its output come until EXIT, input goes as STDIN, END_OF_INPUT, SIZE."""
    return asking(gate, "run", asdict(request))


async def run_command(gate: Gate, argv: Sequence[str], beside: int, timeout: float) -> tuple[int | None, bytes]:
    """Run a command without input: exit code (None: too late), output."""
    output = bytearray()
    try:
        async with asyncio.timeout(timeout), command(gate, CommandRequest(argv=tuple(argv), beside=beside)) as running:
            await running.send(END_OF_INPUT)
            while (found := await running.frame()) is not None:
                if found.kind == EXIT:
                    return int(found.content), bytes(output)
                output += found.content
    except TimeoutError:
        return None, bytes(output)
    raise GateError(0, "the guest's gate closed the connection")


async def connected(gate: Gate, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection as from the guest itself, to its loopback too; OSError as there."""
    reader, writer = await asyncio.open_connection(gate.address, gate.port)
    try:
        writer.write(json_frame(REQUEST, {"token": gate.token, "do": "connect", "host": host, "port": port}))
        refused = (await Connection(reader, writer).answer())["errno"]
        if refused:
            raise OSError(refused, os.strerror(refused))
    except BaseException:
        writer.close()
        raise
    return reader, writer


def size(rows: int, columns: int) -> bytes:
    """The content of a SIZE frame."""
    return struct.pack("!HH", rows, columns)


def parse_size(content: bytes) -> tuple[int, int]:
    rows, columns = struct.unpack("!HH", content)
    return rows, columns
