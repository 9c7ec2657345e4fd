"""What the supervisor tells those who ask how far it is: a line of JSON per step, from the first one on.

Stage: edge.  In: steps.  Out: a unix socket on which each visitor gets all steps so far, and those to come.
Rules: the last step is "ready"; after it the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.kernel.unixsocket import listen, socket_address

BACKLOG = 16


@dataclass(frozen=True)
class Step:
    """One thing done, or one that holds things up."""

    text: str
    ready: bool = False
    trouble: bool = False

    def to_wire(self) -> bytes:
        return json.dumps({"text": self.text, "ready": self.ready, "trouble": self.trouble}).encode() + b"\n"

    @classmethod
    def from_wire(cls, line: bytes | str) -> Step:
        return cls(**json.loads(line))


@dataclass
class Progress:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def done(self) -> bool:
        return bool(self.steps) and self.steps[-1].ready

    async def say(self, text: str, *, ready: bool = False, trouble: bool = False) -> None:
        async with self._more:
            self.steps.append(Step(text, ready, trouble))
            self._more.notify_all()

    async def follow(self) -> AsyncIterator[Step]:
        """Every step, up to the one that says ready."""
        told = 0
        while True:
            async with self._more:
                while len(self.steps) == told:
                    await self._more.wait()
                fresh = self.steps[told:]
            told += len(fresh)
            for step in fresh:
                yield step
                if step.ready:
                    return

    async def serve(self, path: Path) -> None:
        """Tell everybody who connects, until cancelled."""
        server = await asyncio.start_unix_server(self._tell, sock=listen(str(path), socket.SOCK_STREAM, BACKLOG))
        async with server:
            await server.serve_forever()

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            async for step in self.follow():
                writer.write(step.to_wire())
                await writer.drain()
        writer.close()


def follow(path: Path, timeout_seconds: float) -> Iterator[Step]:
    """The steps of the supervisor behind the socket, for a caller without a loop; ends early when it dies."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(timeout_seconds)
        with socket_address(str(path)) as address:
            connection.connect(address)
        with connection.makefile("rb") as lines:
            for line in lines:
                yield Step.from_wire(line)
