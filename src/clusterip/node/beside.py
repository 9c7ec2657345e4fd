"""Exec into a system part that runs in a guest's kernel: its streams come through the guest's gate.

Stage: edge.  In: a gate, a pid of the guest, a command.  Out: a running command, as commands.py wants it.
Rules: one reader takes the gate's frames apart; a connection that is lost ends the command's output and is an error.
Truth: kernel/gate.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from clusterip.kernel import gate
from clusterip.kernel.gate import CommandRequest, Connection, Gate, GateError
from clusterip.node import channels as remote

CHANNELS: Mapping[int, int] = {gate.STDOUT: remote.STDOUT, gate.STDERR: remote.STDERR}


class Beside:
    """A command in the guest, beside a part."""

    def __init__(self, connection: Connection, tty: bool) -> None:
        self._connection = connection
        self._queues: dict[int, asyncio.Queue[bytes]] = {channel: asyncio.Queue() for channel in CHANNELS.values()}
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exit.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may find no waiter
        shown = (remote.STDOUT,) if tty else (remote.STDOUT, remote.STDERR)
        self.outputs = [(channel, self._queues[channel].get) for channel in shown]

    async def follow(self) -> None:
        """Take the gate's frames apart until the command is over."""
        try:
            while (found := await self._connection.frame()) is not None:
                if found.kind == gate.EXIT:
                    self._exit.set_result(int(found.content))
                    break
                if found.kind == gate.ANSWER:
                    self._exit.set_exception(GateError(0, found.content.decode(errors="replace")))
                    break
                if found.content:
                    self._queues[CHANNELS[found.kind]].put_nowait(found.content)
        finally:
            if not self._exit.done():
                self._exit.set_exception(GateError(0, "the node's guest ended"))
            for queue in self._queues.values():
                queue.put_nowait(b"")

    async def write(self, content: bytes) -> None:
        await self._connection.send(gate.STDIN, content)

    async def end_input(self) -> None:
        await self._connection.send(gate.END_OF_INPUT)

    def resize(self, rows: int, columns: int) -> None:
        self._connection.send_soon(gate.SIZE, gate.size(rows, columns))

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    def leave(self) -> None:
        """The gate ends a command whose client has gone."""
        self._connection.close()


@contextlib.asynccontextmanager
async def started(
    door: Gate, pid: int, command: Sequence[str], env: Mapping[str, str], *, tty: bool, stdin: bool
) -> AsyncIterator[Beside]:
    """The command as it runs; afterwards nothing of it is left."""
    request = CommandRequest(argv=tuple(command), env=dict(env), tty=tty, beside=pid)
    async with gate.command(door, request) as connection:
        if not stdin:
            await connection.send(gate.END_OF_INPUT)
        running = Beside(connection, tty)
        following = asyncio.create_task(running.follow(), name="exec in the guest")
        try:
            yield running
        finally:
            following.cancel()
