"""Changes of files as events.

Stage: kernel.  In: paths.  Out: a wait that ends when something happened to one of them.
Rules: an event says only that it is time to look again; what happened is read from the files themselves.
Truth: inotify(7).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from clusterip.kernel.process import check

IN_MODIFY = 0x0002
IN_ATTRIB = 0x0004
IN_CLOSE_WRITE = 0x0008
IN_MOVED_TO = 0x0080
IN_CREATE = 0x0100
IN_MOVE_SELF = 0x0800
WRITTEN = IN_MODIFY | IN_CLOSE_WRITE
APPEARED = IN_CREATE | IN_MOVED_TO

REWRITTEN = WRITTEN | IN_MOVE_SELF

_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One inotify instance in the running loop; a context manager."""

    def __init__(self) -> None:
        self._fd = check(_libc.inotify_init1(_CLOEXEC_NONBLOCK), "inotify")
        self._happened = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def watch(self, path: Path, events: int) -> None:
        """Let these events of a file, or of the files in a folder, end the wait."""
        raw = os.fsencode(path)
        check(_libc.inotify_add_watch(self._fd, raw, ctypes.c_uint32(events)), f"inotify {path}")

    async def wait(self) -> None:
        """Return when anything happened since the last return; at once when it already has."""
        await self._happened.wait()
        self._happened.clear()

    def wake(self) -> None:
        """End the wait, as an event would."""
        self._happened.set()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self._happened.set()


async def rewritten(path: Path) -> None:
    """Return when the file that is there now gets another content, or is moved away.

    One that is removed, with another in its place, was not: so a ConfigMap's files change.
    """
    with path.open("rb") as file, Inotify() as inotify:
        inotify.watch(path, REWRITTEN)
        before = file.read()
        while True:
            await inotify.wait()
            file.seek(0)
            if file.read() != before or (os.fstat(file.fileno()).st_nlink and not _is_at(path, file.fileno())):
                return


def _is_at(path: Path, fd: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(path), os.fstat(fd))
    return False
