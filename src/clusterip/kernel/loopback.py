"""Connections to the loopback of a network namespace, a pod's or the node's own.

Stage: edge.  In: where a pod's network is pinned, a port.  Out: a connection, used from here.
Rules: the socket is made in the pod's network namespace, nothing else enters it; IPv4 first, then IPv6.
Truth: network_namespaces(7); container runtimes forward to `localhost` in that order.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from clusterip.kernel import netns
from clusterip.kernel.handover import handed_over
from clusterip.kernel.process import closing_fd

SECONDS = 10.0
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def dial(pod: Path | None, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a port; OSError or TimeoutError, that of IPv4, when nobody answers. None is the node itself."""
    (family, address), second = LOOPBACK
    try:
        return await _dial(pod, family, address, port)
    except (OSError, TimeoutError) as error:
        try:
            return await _dial(pod, *second, port)
        except (OSError, TimeoutError):
            raise error from None


async def _dial(
    pod: Path | None, family: socket.AddressFamily, address: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = _made(pod, family)
    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return await handed_over(asyncio.open_connection(sock=sock), lambda streams: streams[1].transport.abort())


def _made(pod: Path | None, family: socket.AddressFamily) -> socket.socket:
    def make() -> socket.socket:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    if pod is None:
        return make()
    with closing_fd(netns.open_pinned(pod)) as fd:
        return netns.inside(fd, make)
