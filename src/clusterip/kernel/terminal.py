"""Pseudo terminals.

Stage: kernel.  In: sizes, bytes.  Out: the two ends of a terminal, awaited reads and writes of its near end.
Truth: pty(7), tty_ioctl(4), termios(3).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
import tty

CHUNK = 32 * 1024


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set a terminal's size from either end; its foreground programs get SIGWINCH."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    """The near end of a terminal, read and written without blocking the loop; `far` is for the program."""

    def __init__(self, *, raw: bool) -> None:
        self.near, self.far = os.openpty()
        os.set_blocking(self.near, False)
        if raw:  # the program behind it sets up a terminal of its own
            tty.setraw(self.far)

    def resize(self, rows: int, columns: int) -> None:
        set_size(self.near, rows, columns)

    def close_far(self) -> None:
        """The program has its own copy; without ours, reading ends when the program does."""
        if self.far >= 0:
            os.close(self.far)
            self.far = -1

    def close(self) -> None:
        self.close_far()
        if self.near >= 0:
            os.close(self.near)
            self.near = -1

    async def read(self) -> bytes:
        """What the program wrote; empty at its end."""
        while True:
            try:
                return os.read(self.near, CHUNK)
            except BlockingIOError:
                await _ready(self.near, write=False)
            except OSError as error:
                if error.errno == errno.EIO:  # the far end is closed
                    return b""
                raise

    async def write(self, content: bytes) -> None:
        """Type; waits while the program does not read."""
        view = memoryview(content)
        while view:
            try:
                view = view[os.write(self.near, view) :]
            except BlockingIOError:
                await _ready(self.near, write=True)


async def _ready(fd: int, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    add(fd, done.set)
    try:
        await done.wait()
    finally:
        remove(fd)
