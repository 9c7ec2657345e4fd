"""Wait for a change in a folder, told by the kernel.

Stage: kernel.  In: a folder.  Out: wake-ups.
Truth: inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from clusterip.kernel.process import check

CREATE, MOVED_TO, CLOSE_WRITE, DELETE = 0x100, 0x80, 0x8, 0x200
CHANGES = CREATE | MOVED_TO | CLOSE_WRITE | DELETE

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """A folder under watch, from before the first look."""

    def __init__(self, folder: Path, changes: int = CHANGES) -> None:
        self.fd = check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")
        try:
            check(_libc.inotify_add_watch(self.fd, os.fsencode(folder), ctypes.c_uint32(changes)), f"watch {folder}")
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self) -> FolderWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def until(self, seen: Callable[[], bool], pidfd: int, timeout_seconds: float) -> bool:
        """Block until it is seen; False when the process of the pidfd ends first, or time runs out."""
        deadline = time.monotonic() + timeout_seconds
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while not seen():
            left = deadline - time.monotonic()
            ready = dict(poll.poll(max(0.0, left) * 1000)) if left > 0 else {}
            if not ready or pidfd in ready:
                return seen()
            os.read(self.fd, 65536)
        return True
