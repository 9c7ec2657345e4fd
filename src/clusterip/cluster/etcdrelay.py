"""The control namespace's way to an etcd outside the cluster: a socket file that leads to it.

Stage: shell, in the supervisor, which lives in the host's namespaces.  In: the store's name.  Out: bytes, both ways.
Rules: files are seen in every network namespace, addresses are not: so the API server of a cluster reaches an etcd on
       the host's loopback, or beyond, without a route out.  An etcd on the cluster's own LAN is reached directly.
       TLS is between the API server and etcd; the relay sees none of it.  Servers are tried in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.topology import LAN_NETWORK
from clusterip.kernel.unixsocket import listen

if TYPE_CHECKING:
    from clusterip.store.opening import EtcdOptions

log = logging.getLogger(__name__)

BACKLOG = 64
CONNECT_SECONDS = 2.0
PIECE = 256 * 1024
SOCKET = "etcd.sock"
ETCD = "etcd="


def options(config: Config) -> EtcdOptions:
    """How this cluster's API server shows itself to etcd."""
    from clusterip.store.opening import EtcdOptions  # only for clusters on etcd: the light commands need no store

    files = (config.etcd_cafile, config.etcd_certfile, config.etcd_keyfile)
    authority, certificate, key = (Path(name) if name else None for name in files)
    prefix = config.etcd_prefix or f"/clusterip/{config.name}"
    return EtcdOptions(authority=authority, certificate=certificate, key=key, prefix=prefix)


def places(config: Config) -> list[tuple[str, int]]:
    """The servers to relay to; none when the store is another one, or on the cluster's LAN."""
    if not config.store.startswith(ETCD):
        return []
    from clusterip.store.opening import endpoints

    urls = [urlsplit(url) for url in endpoints(config.store, options(config)).urls]
    found = [(url.hostname or "", url.port or 2379) for url in urls]
    return [] if any(_is_on_lan(host) for host, _ in found) else found


def _is_on_lan(host: str) -> bool:
    try:
        return ip_address(host) in LAN_NETWORK
    except ValueError:
        return False


def arguments(folder: Folder, config: Config) -> tuple[str, ...]:
    """What the API server is told."""
    if not config.store.startswith(ETCD):
        return ()
    found = options(config)
    files = (("cafile", found.authority), ("certfile", found.certificate), ("keyfile", found.key))
    given = [f"--etcd-{name}={path}" for name, path in files if path]
    relay = [f"--etcd-relay={folder.run / SOCKET}"] if places(config) else []
    return (f"--etcd-prefix={found.prefix}", *given, *relay)


async def run(path: Path, servers: Sequence[tuple[str, int]]) -> None:
    """Relay for as long as the supervisor lives."""
    if not servers:
        return
    sock = listen(str(path), socket.SOCK_STREAM, BACKLOG)
    sock.setblocking(False)

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _relay(reader, writer, servers)
        except (OSError, ExceptionGroup) as error:
            log.warning("Cannot reach etcd", extra={"kv": {"err": error}})
        finally:
            writer.close()

    server = await asyncio.start_unix_server(visit, sock=sock)
    async with server:
        await server.serve_forever()


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, servers: Sequence[tuple[str, int]]
) -> None:
    far_reader, far_writer = await _connected(servers)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, far_writer))
            group.create_task(_pump(far_reader, writer))
    finally:
        far_writer.close()


async def _connected(servers: Sequence[tuple[str, int]]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first server that takes the connection."""
    last: OSError = OSError("no server")
    for host, port in servers:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(host, port, limit=PIECE)
        except OSError as error:
            last = error
    raise last


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end; the other direction ends with it."""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()
