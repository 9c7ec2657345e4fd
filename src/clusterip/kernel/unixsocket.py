"""Unix sockets by path: names of any length, and listeners that are never seen before they listen.

Stage: kernel.  In: paths.  Out: addresses, listening sockets.
Rules: a listener takes its name when it accepts, in place of one that a dead process left.
Truth: unix(7): an address has 108 bytes.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def socket_address(path: str) -> Iterator[str]:
    """A name for a unix socket that fits into 108 bytes, however deep its folder lies."""
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def listen(path: str, kind: socket.SocketKind, backlog: int) -> socket.socket:
    """A listener for this user alone."""
    early = f"{path}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    with socket_address(early) as address:
        listener.bind(address)
    os.chmod(early, 0o600)
    listener.listen(backlog)
    os.rename(early, path)
    return listener
