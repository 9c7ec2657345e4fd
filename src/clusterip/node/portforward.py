"""Port forwarding: one connection into a pod, and the room that a client's connections share.

Stage: edge.  In: what a client sends for one connection, a way to connect.  Out: what the pod says, to the client.
Rules: taking a client's bytes never waits; each side's end is passed on while the other goes on; a connection that
fails, stalls or is dropped ends alone.  No flow control is spoken by any client (see spdy.py), so bytes that the pod
does not take wait in a bounded room; when it is full the client waits, and if connections wait behind one that takes
nothing at all for PATIENCE, that one is ended.
Truth: the kubelet's words for a port that cannot be reached; tcp(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from clusterip.transport import departure

CHUNK = 32 * 1024
ROOM = 16 * 1024 * 1024  # bytes of one client that wait for the pod
PATIENCE = 10.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[int], Awaitable[Streams]]
Words = Callable[[int, str], str]  # how a failure at a port is told


def plainly(port: int, why: str) -> str:
    return why


class Teller(Protocol):
    """How the client hears of one connection; ConnectionError when the client is gone."""

    async def send(self, content: bytes) -> None: ...

    async def end(self) -> None:
        """The pod has said all it will say; the client may go on."""
        ...

    async def fail(self, why: str) -> None: ...


class Room:
    """What of a client's bytes waits for the pod."""

    def __init__(self, size: int = ROOM, patience: float = PATIENCE) -> None:
        self._size = size
        self._patience = patience
        self._eased = asyncio.Event()
        self.connections: set[Connection] = set()
        self.held = 0

    def change(self, size: int) -> None:
        self.held += size
        if self.held <= self._size:
            self._eased.set()

    async def free(self) -> None:
        """Wait until there is room again."""
        while self.held > self._size:
            self._eased.clear()
            worst = max(self.connections, key=lambda each: each.held)
            taken = worst.taken
            try:
                async with asyncio.timeout(self._patience):
                    await self._eased.wait()
            except TimeoutError:
                if worst.taken == taken and len(self.connections) > 1:
                    worst.drop(f"nothing of {worst.held} bytes was taken in {self._patience:.0f} seconds")


class Connection:
    """One connection into the pod."""

    def __init__(self, port: int, connect: Connect, teller: Teller, room: Room) -> None:
        self.port = port
        self.held = 0
        self.taken = 0
        self._connect = connect
        self._teller = teller
        self._room = room
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._is_ended = False
        self._is_closed = False
        self._dropped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        room.connections.add(self)

    def take(self, content: bytes) -> None:
        """The client's next bytes; those that nobody takes any more are let go."""
        if content and not (self._is_ended or self._is_closed):
            self._waiting.append(content)
            self._hold(len(content))
            self._news.set()

    def end(self) -> None:
        """The client has said all; the pod may go on."""
        self._is_ended = True
        self._news.set()

    def drop(self, why: str = "") -> None:
        """End both ways at once; the client hears why, if there is something to say."""
        if not self._dropped.done():
            self._dropped.set_result(why)

    async def run(self) -> None:
        """From the first byte to the last."""
        try:
            with contextlib.suppress(ConnectionError):  # the client is gone: nobody to tell
                await self._run()
        finally:
            self.close()

    def close(self) -> None:
        """Nothing is held any more."""
        self._is_closed = True
        self._waiting.clear()
        self._hold(-self.held)
        self._room.connections.discard(self)

    def _hold(self, size: int) -> None:
        size = max(size, -self.held)  # what was let go of in the meantime is no longer held
        self.held += size
        self._room.change(size)

    async def _run(self) -> None:
        try:
            reader, writer = await self._connect(self.port)
        except (OSError, TimeoutError) as error:
            await self._teller.fail(f"failed to connect to localhost:{self.port} inside the pod: {reason(error)}")
            return
        ways = asyncio.ensure_future(self._both_ways(reader, writer))
        try:
            with departure.dropped(writer.transport):
                await asyncio.wait((ways, self._dropped), return_when=asyncio.FIRST_COMPLETED)
            if ways.done():
                ways.result()
            elif why := self._dropped.result():
                self.close()
                departure.reset(writer.transport)
                await self._teller.fail(why)
            else:
                writer.transport.abort()
        finally:
            ways.cancel()
            await asyncio.gather(ways, return_exceptions=True)
            writer.close()

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        typing = asyncio.ensure_future(self._type(writer))
        try:
            await self._tell(reader)
            await typing
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)

    async def _tell(self, reader: asyncio.StreamReader) -> None:
        """What the pod says, and that it has said all."""
        while content := await self._from_pod(reader):
            await self._teller.send(content)
        if not self._dropped.done():
            await self._teller.end()

    async def _from_pod(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(CHUNK)
        except OSError as error:
            self.drop(f"the connection to localhost:{self.port} inside the pod was lost: {reason(error)}")
            return b""

    async def _type(self, writer: asyncio.StreamWriter) -> None:
        """The client's bytes to the pod; one that takes no more may still have something to say."""
        try:
            while content := await self._next():
                writer.write(content)
                await writer.drain()
                self.taken += len(content)
                self._hold(-len(content))
            if writer.can_write_eof():
                writer.write_eof()
        except (OSError, RuntimeError):
            self._is_ended = True
            self._waiting.clear()
            self._hold(-self.held)

    async def _next(self) -> bytes:
        while not self._waiting and not self._is_ended:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft() if self._waiting else b""


def reason(error: OSError | TimeoutError) -> str:
    """Why a connection failed, as programs in Go word it."""
    return os.strerror(error.errno).lower() if error.errno else str(error) or "no answer in time"
