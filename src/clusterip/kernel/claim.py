"""A name that one process of a network namespace can hold, for as long as it lives.

Stage: kernel.  In: a name.  Out: a held socket, or who holds the name.
Rules: an abstract Unix socket: it belongs to the network namespace, leaves no file and goes with its process.  Programs
that are started with close_fds=False hold it too: the name is free once they have ended, however their starter did.
Truth: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import errno
import socket
import struct

BACKLOG = 1024  # those who ask who holds the name are never answered
_CREDENTIALS = struct.Struct("3i")


def hold(name: str) -> socket.socket | None:
    """The name, held until the socket is closed; None when it is held already."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(f"\0{name}")
        held.listen(BACKLOG)
        held.set_inheritable(True)
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return held


def holder(name: str) -> int:
    """The process that holds the name; 0 when there is none, or none that can be seen from here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"\0{name}")
            pid, _, _ = _CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        except OSError:
            return 0
    return int(pid)
