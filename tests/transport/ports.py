"""Ports of loopback for servers that a test starts: nobody else's, TCP and UDP, from now until this process ends.

They lie below those that the kernel gives to whoever asks for any, and each is held bound, so that no other test's
process takes it while its server is away.
"""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10_000, 32_000
HELD: list[socket.socket] = []


def free_port() -> int:
    while True:
        sock = socket.socket()
        try:
            with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                port = random.SystemRandom().randrange(LOWEST, HIGHEST)
                datagrams.bind(("", port))
                sock.bind(("", port))
        except OSError:
            sock.close()
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after the bind: a server may share it, no test may
        HELD.append(sock)
        return port
