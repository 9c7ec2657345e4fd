"""A client of a SOCK_SEQPACKET Unix socket: whole packets both ways, without blocking the loop.

Stage: kernel.  In: a path.  Out: packets.
Truth: unix(7).
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

LARGEST = 64 * 1024


class Seqpacket:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    async def receive(self) -> bytes:
        """The next packet; empty at the end."""
        while True:
            try:
                return self._socket.recv(LARGEST)
            except BlockingIOError:
                await self._ready(write=False)
            except ConnectionError:
                return b""

    async def send(self, packet: bytes) -> None:
        while True:
            try:
                self._socket.send(packet)
                return
            except BlockingIOError:
                await self._ready(write=True)

    def end(self) -> None:
        """Send no more."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the peer has gone already

    def close(self) -> None:
        self._socket.close()

    async def _ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        fd = self._socket.fileno()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(fd, done.set)
        try:
            await done.wait()
        finally:
            remove(fd)
