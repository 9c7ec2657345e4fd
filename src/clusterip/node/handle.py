"""A running container, whoever started it: wait for its end, signal it, run a command in it.

Stage: shell.  In: processes by pid and start time.  Out: exit codes.
Rules: a handle can be made anew from a record by an agent that starts again; nothing is polled: ends come by pidfd.
Truth: pidfd_open(2); conmon writes the exit file before it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from clusterip.kernel import gate, process
from clusterip.kernel.zygote import Child
from clusterip.node import runtime

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Handle(Protocol):
    """One attempt of a container that was started."""

    async def wait(self) -> int | None:
        """Its exit code, once it is over; None when nobody knows."""
        ...

    def signal(self, number: int) -> bool:
        """Send a signal to its first process; whether it was there."""
        ...

    async def execute(self, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
        """Run a command in it: exit code (None: too late), output."""
        ...

    async def connect(self, host: str, port: int) -> Streams:
        """A connection as its node makes it; OSError when nobody takes it."""
        ...


async def ended(one: process.Process) -> None:
    """Return when the process is over."""
    try:
        fd = process.pidfd_open(one.pid, one.started)
    except (ProcessLookupError, OSError):
        return
    try:
        await process.wait_pidfd(fd)
    finally:
        os.close(fd)


class Monitored:
    """A container under conmon."""

    def __init__(
        self, tool: runtime.Runtime, id: str, bundle: Path, first: process.Process, monitor: process.Process
    ) -> None:
        self._tool, self._id, self._bundle = tool, id, bundle
        self._first, self._monitor = first, monitor

    async def wait(self) -> int | None:
        """conmon ends after its container; if conmon was killed, the container may live on, and its code is lost."""
        await ended(self._monitor)
        code = runtime.exit_code(self._bundle, self._id)
        if code is None:
            await ended(self._first)
            code = runtime.exit_code(self._bundle, self._id)
        return code

    def signal(self, number: int) -> bool:
        return self._first.kill(number)

    async def execute(self, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
        return await self._tool.execute(self._id, argv, timeout)

    async def connect(self, host: str, port: int) -> Streams:
        return await asyncio.open_connection(host, port)


class Forked:
    """A system part, forked by the zygote; after an adoption only its end can be seen."""

    def __init__(self, first: process.Process, child: Child | None = None) -> None:
        self._first, self._child = first, child

    async def wait(self) -> int | None:
        if self._child is None:
            await ended(self._first)
            return None
        try:
            return await self._child.wait()
        finally:
            self._child.close()

    def signal(self, number: int) -> bool:
        return self._first.kill(number)

    async def execute(self, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
        enter = ["nsenter", "--target", str(self._first.pid), "--mount", "--uts", "--net", "--", *argv]
        return await runtime.run(enter, timeout)

    async def connect(self, host: str, port: int) -> Streams:
        return await asyncio.open_connection(host, port)


class InGuest:
    """A system part in a guest's kernel."""

    def __init__(self, door: gate.Gate, process: gate.Distant) -> None:
        self._door, self._process = door, process

    async def wait(self) -> int | None:
        return await gate.wait_part(self._door, self._process)

    def signal(self, number: int) -> bool:
        """Whether the process is there is known only later; who waits for its end hears of it."""
        sending = asyncio.ensure_future(self._send(number))
        _sending.add(sending)
        sending.add_done_callback(_sending.discard)
        return True

    async def _send(self, number: int) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # a guest that is not there has no processes
            await gate.signal_part(self._door, self._process, number)

    async def execute(self, argv: Sequence[str], timeout: float) -> tuple[int | None, bytes]:
        try:
            return await gate.run_command(self._door, argv, self._process.pid, timeout)
        except OSError as error:
            return 1, str(error).encode()

    async def connect(self, host: str, port: int) -> Streams:
        """Its node's network is the guest's, loopback included."""
        return await gate.connected(self._door, host, port)


_sending: set[asyncio.Future[None]] = set()


async def wait_at_most(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came in time."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return False
    return True
