"""The DNS server: sockets around the resolver, informers around the zone.

Stage: edge.  In: packets, the API's events, a Corefile.  Out: replies; health, readiness and counts over HTTP.
Rules: not ready (SERVFAIL) before the first list of everything; when the API goes away the last state keeps answering;
nothing that a client sends ends the loop.
Truth: RFC 1035 4.2 (UDP and TCP); CoreDNS's plugins health, ready and prometheus for ports and paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from ipaddress import ip_address
from typing import TypeVar

from clusterip.client.config import ServerConfig
from clusterip.client.informer import Informer
from clusterip.client.names import ENDPOINT_SLICES, NAMESPACES, SERVICES
from clusterip.client.rest import Client
from clusterip.clock import Clock
from clusterip.dns import corefile
from clusterip.dns.corefile import Corefile
from clusterip.dns.directory import Key
from clusterip.dns.model import Address, namespace_of, service_of, slice_of
from clusterip.dns.reloading import Addresses, Serving, reread, ways
from clusterip.dns.resolver import Resolver
from clusterip.dns.zone import Settings, Zone
from clusterip.transport import listening
from clusterip.transport.answers import TEXT, Response
from clusterip.transport.http import Listener
from clusterip.transport.request import Request

T = TypeVar("T")
logger = logging.getLogger(__name__)

BATCH = 64  # packets a turn, so that a flood leaves room for the API's events
PACKET = 4096
IDLE_SECONDS = 10.0
MOST_CONNECTIONS = 500
MOST_WAITING = 4096  # replies by UDP that wait for others
RECEIVE_BUFFER = 4 * 1024 * 1024
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


async def run(server: ServerConfig | None, serving: Serving) -> None:
    """Serve until cancelled. Without an API server no cluster's names are answered."""
    zone = Zone(_settings(serving.config), own_addresses(server.url)) if server is not None else None
    resolver = Resolver(zone, ways(serving.config, serving), ready=zone is None)
    async with asyncio.TaskGroup() as group:
        for serve in listeners(resolver, serving.addresses, serving.sockets):
            group.create_task(serve, name="dns listener")
        group.create_task(reread(resolver, serving), name="dns configuration")
        if server is not None and zone is not None:
            await _follow_cluster(group, server, resolver, zone, serving)
        logger.info("Serving", extra={"kv": {"address": serving.addresses.dns}})


async def _follow_cluster(
    group: asyncio.TaskGroup, server: ServerConfig, resolver: Resolver, zone: Zone, serving: Serving
) -> None:
    """Keep the zone; ready once it is complete."""
    cluster = serving.config.kubernetes
    client = Client(server, user_agent="clusterip-dns/0.1")
    group.create_task(_while_open(client), name="client")
    informers = follow(client, zone, serving.clock, pod_names=cluster is not None and cluster.endpoint_pod_names)
    for informer in informers:
        group.create_task(informer.run(), name=f"informer {informer.ref.plural}")
    logger.info("Waiting for the Kubernetes API", extra={"kv": {"url": server.url}})
    for informer in informers:
        await informer.synced()
    resolver.ready = True


async def _while_open(client: Client) -> None:
    """Hold the client open until cancelled."""
    async with client:
        await asyncio.get_running_loop().create_future()


def _settings(config: Corefile) -> Settings:
    cluster = config.kubernetes or corefile.Kubernetes()
    return Settings(cluster.domain, cluster.ttl, cluster.pods)


def follow(client: Client, zone: Zone, clock: Clock, *, pod_names: bool = False) -> list[Informer[object]]:
    """Informers that keep the zone."""

    def serial() -> int:
        return int(clock.now().timestamp())

    def put_namespace(key: Key, new: str | None) -> None:
        zone.put_namespace(key[1], new is not None, serial())

    namespaces = Informer(client, NAMESPACES, namespace_of)
    services = Informer(client, SERVICES, service_of)
    slices = Informer(client, ENDPOINT_SLICES, lambda tree: slice_of(tree, pod_names=pod_names))
    namespaces.subscribe(_changes(put_namespace))
    services.subscribe(_changes(lambda key, new: zone.put_service(key, new, serial())))
    slices.subscribe(_changes(lambda key, new: zone.put_slice(key, new, serial())))
    return [namespaces, services, slices]  # type: ignore[list-item]  # each is an Informer of its own type


def _changes(put: Callable[[Key, T | None], None]) -> Callable[[Key, T | None, T | None], None]:
    """A subscriber that passes on what changes a name; a status or a label that no name depends on does not."""

    def told(key: Key, old: T | None, new: T | None) -> None:
        if old != new:
            put(key, new)

    return told


def listeners(
    resolver: Resolver, addresses: Addresses, sockets: tuple[socket.socket, socket.socket] | None = None
) -> list[Coroutine[None, None, None]]:
    """Everything that listens. Sockets are bound at once, so that a taken port is said before anything runs."""
    udp, tcp = sockets or bind_pair(addresses.dns)
    pages: list[tuple[str, str, Callable[[], Response]]] = [
        (addresses.health, "/health", lambda: Response(200, b"OK", TEXT)),
        (addresses.ready, "/ready", lambda: Response(200 if resolver.ready else 503, _readiness(resolver), TEXT)),
        (addresses.metrics, "/metrics", lambda: Response(200, metrics(resolver), "text/plain; version=0.0.4")),
    ]
    bound = [(listening.bind(address), path, page) for address, path, page in pages if address]
    return [serve_udp(udp, resolver), serve_tcp(tcp, resolver), *(_serve_page(*page) for page in bound)]


def _readiness(resolver: Resolver) -> bytes:
    return b"OK" if resolver.ready else b"kubernetes"


def bind_pair(address: str) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets of one address; the same port when it is chosen here (port 0)."""
    tcp = listening.bind(address)
    udp = socket.socket(tcp.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        udp.bind(tcp.getsockname())
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp


async def serve_udp(sock: socket.socket, resolver: Resolver) -> None:
    """Answer packets until cancelled."""
    waiting: set[asyncio.Task[None]] = set()

    def receive() -> None:
        for _ in range(BATCH):
            try:
                packet, sender = sock.recvfrom(PACKET)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier reply
            try:
                found = resolver.reply(packet, stream=False)
            except Exception:
                logger.exception(
                    "A packet could not be answered", extra={"kv": {"packet": packet.hex(), "sender": sender[0]}}
                )
                continue
            if isinstance(found, bytes):
                _send(sock, found, sender)
            elif found is not None and len(waiting) < MOST_WAITING:
                task = asyncio.ensure_future(_send_later(sock, found, sender))
                waiting.add(task)
                task.add_done_callback(waiting.discard)

    loop = asyncio.get_running_loop()
    loop.add_reader(sock.fileno(), receive)
    try:
        await loop.create_future()
    finally:
        loop.remove_reader(sock.fileno())
        for task in waiting:
            task.cancel()
        sock.close()


def _send(sock: socket.socket, reply: bytes, receiver: tuple[str, int]) -> None:
    """A reply is lost, as UDP may lose it, when the send buffer is full or the receiver has no way back."""
    with contextlib.suppress(OSError):
        sock.sendto(reply, receiver)


async def _send_later(sock: socket.socket, promised: Awaitable[bytes], receiver: tuple[str, int]) -> None:
    try:
        _send(sock, await promised, receiver)
    except Exception:
        logger.exception("A question could not be asked of others", extra={"kv": {"sender": receiver[0]}})


async def serve_tcp(sock: socket.socket, resolver: Resolver) -> None:
    """Answer connections until cancelled."""
    open_connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            if open_connections <= MOST_CONNECTIONS:
                await _converse(reader, writer, resolver)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client is gone, or said nothing for too long
        finally:
            open_connections -= 1
            writer.close()

    server = await asyncio.start_server(connected, sock=sock)
    async with server:
        await server.serve_forever()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, resolver: Resolver) -> None:
    """Questions of one connection in turn; one that deserves no reply ends it."""
    while True:
        async with asyncio.timeout(IDLE_SECONDS):
            size = int.from_bytes(await reader.readexactly(2), "big")
            packet = await reader.readexactly(size)
        found = resolver.reply(packet, stream=True)
        if found is None:
            return
        if not isinstance(found, bytes):
            found = await found
        writer.write(len(found).to_bytes(2, "big") + found)
        async with asyncio.timeout(IDLE_SECONDS):
            await writer.drain()


async def _serve_page(sock: socket.socket, path: str, page: Callable[[], Response]) -> None:
    async def handle(request: Request) -> Response:
        return page() if request.path == path else Response(404, b"404 page not found\n", TEXT)

    listener = Listener(handle)
    await listener.listen(sock, None)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await listener.close()


def metrics(resolver: Resolver) -> bytes:
    """Counts in Prometheus's text form."""
    lines = [
        "# HELP coredns_dns_responses_total Counter of response status codes.",
        "# TYPE coredns_dns_responses_total counter",
        *(
            f'coredns_dns_responses_total{{proto="{proto}",rcode="{RCODES.get(rcode, str(rcode))}"}} {count}'
            for (proto, rcode), count in sorted(resolver.counts.items())
        ),
    ]
    return ("\n".join(lines) + "\n").encode()


def own_addresses(url: str) -> tuple[Address, ...]:
    """The address by which this machine reaches the API server: how others reach this server, as a rule."""
    host, port = listening.split_address(
        url.split("://")[-1].partition("/")[0], None if ":" in url.split("://")[-1] else 443
    )
    with contextlib.suppress(OSError, ValueError):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return (ip_address(probe.getsockname()[0]),)
    return ()
