"""Attach: a client joins a container's own input and output.

Stage: edge.  In: a container, the client's channels.  Out: bytes both ways.
Attach takes its output from the container's log alone: conmon writes there at once and as it came, so that what was
printed before the attach can be shown first, with no gap and nothing twice; conmon's socket carries the input only.
Rules: a client that leaves never ends a container; the first attach to a `stdinOnce` container shows first what nobody
has read yet, and when it ends the container's input is over.  Any other container's input stays open for the next one:
a client whose own input has ended is let go.
Truth: conmon's attach socket (SOCK_SEQPACKET, raw input); containerd's cri/io for who is let go when.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from clusterip.kernel.seqpacket import Seqpacket
from clusterip.kernel.terminal import set_size
from clusterip.node import channels as remote
from clusterip.node.channels import Client
from clusterip.node.commands import END_OF_INPUT, StreamOptions, first_channel
from clusterip.node.logs import Follower, Splitter
from clusterip.node.lookup import ContainerRef, Lookup

CONMON_PACKET = 8192
REPLAYED_MARK = "attached"


class ConmonInput:
    """A container's standard input and terminal size, by conmon's socket and the terminal itself."""

    def __init__(self, ref: ContainerRef, over: asyncio.Event, *, stdin: bool) -> None:
        self._ref, self._over = ref, over
        self._socket = Seqpacket(ref.attach_socket) if stdin and ref.stdin and ref.attach_socket else None

    async def write(self, content: bytes) -> None:
        if self._socket:
            for at in range(0, len(content), CONMON_PACKET):
                await self._socket.send(content[at : at + CONMON_PACKET])

    async def end_input(self) -> None:
        """A pipe for one client alone ends, others are left; a terminal is told what its user would type."""
        if self._socket and self._ref.tty:
            await self._socket.send(END_OF_INPUT)
        elif self._socket and self._ref.stdin_once:
            self._socket.end()
        elif self._socket:
            self._over.set()

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
        sink = ConmonInput(ref, over, stdin=options.stdin)
    except OSError:  # the container has ended in the meantime; its output is still there
        sink = ConmonInput(ref, over, stdin=False)
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
        await client.send(first_channel(options), b"")
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
