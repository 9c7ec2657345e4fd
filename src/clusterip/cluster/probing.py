"""Take a sample of a cluster: its Services from the API, connections and questions from its nodes.

Stage: read.  In: a cluster's folder.  Out: samples; nothing is changed.
Rules: sockets are opened in a node's namespace and stay there; every wait has a clock; while the API is away, what was
known of Services goes on being probed.  Nodes of kind uml have a kernel of their own and are not entered.
Truth: connect(2), RFC 1035.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from clusterip.api.errors import ApiError
from clusterip.client.names import ENDPOINT_SLICES, SERVICES
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock
from clusterip.cluster.config import UML, Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.machines import anchor_name
from clusterip.cluster.monitoring import Lookup, Probe, Sample, Spot, Watched, watched_ports
from clusterip.cluster.topology import topology
from clusterip.dns import message
from clusterip.failure import Failure
from clusterip.kernel import netns
from clusterip.kernel.conntrack import Flow, KernelConntrack
from clusterip.transport.departure import end_abruptly

API_SECONDS = 3.0
ANSWER_SECONDS = 1.0
AT_ONCE = 100  # sockets of one node
ASKED = "kubernetes.default.svc"
DNS_PORT, LARGEST = 53, 4096
REFUSALS = {message.SERVFAIL: "SERVFAIL", message.NXDOMAIN: "NXDOMAIN", message.REFUSED: "REFUSED"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one cluster, what a look needs."""

    nodes: Mapping[str, int]  # open namespaces
    addresses: tuple[str, ...]
    dns: str
    name: str  # that DNS is asked for


@contextmanager
def opened(folder: Folder, config: Config) -> Iterator[Settings]:
    """The nodes' namespaces, open for as long as looks go on."""
    addresses = tuple(ip for machine in topology(config).nodes for ip in machine.ips.split(","))
    try:
        with networks_of({} if config.node_kind == UML else anchors_of(folder, config)) as nets:
            yield Settings(nets, addresses, config.dns_address, f"{ASKED}.{config.domain}")
    except PermissionError as error:
        raise Failure("looking from nodes needs root: run it as root") from error


def anchors_of(folder: Folder, config: Config) -> dict[str, int]:
    """The processes that hold the nodes which are there."""
    living = folder.living()
    return {node: anchor.pid for node in config.nodes if (anchor := living.get(anchor_name(node)))}


@contextmanager
def networks_of(anchors: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """The network namespaces of processes, open until the block ends."""
    with ExitStack() as held:
        nets: dict[str, int] = {}
        for name, pid in anchors.items():
            nets[name] = netns.open_of_pid(pid)
            held.callback(os.close, nets[name])
        yield nets


@dataclass(slots=True)
class Prober:
    """Takes samples, one after another."""

    settings: Settings
    client: Client
    clock: Clock
    known: tuple[Watched, ...] = field(default=())

    async def sample(self) -> Sample:
        """One look."""
        troubles = [] if self.settings.nodes else ["no node can be entered: endpoints only"]
        try:
            self.known = await self._ports()
        except (ApiError, Unreachable, TimeoutError) as error:
            troubles.append(f"the API does not answer, Services are as they were: {error or 'no answer'}")
        spots = sorted({spot for watched in self.known for spot in watched.virtual})
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._from(node, fd, spots)) for node, fd in self.settings.nodes.items()]
        done = [look.result() for look in looks]
        return Sample(
            self.clock.now(),
            self.known,
            tuple(probe for look in done for probe in look.probes),
            tuple(look.lookup for look in done),
            {look.lookup.node: look.flows for look in done},
            (*troubles, *(look.trouble for look in done if look.trouble)),
        )

    async def _ports(self) -> tuple[Watched, ...]:
        async with asyncio.timeout(API_SECONDS):
            services = await self.client.list(SERVICES)
            slices = await self.client.list(ENDPOINT_SLICES)
        return watched_ports(services["items"], slices["items"], self.settings.addresses)

    async def _from(self, node: str, fd: int, spots: Sequence[Spot]) -> _Look:
        """What one node sees: the flows first, so that they hold fewer of our own."""
        flows, trouble = tuple[Flow, ...](), ""
        try:
            flows = await asyncio.to_thread(flows_in, fd)
        except OSError as error:
            trouble = f"{node}: connections cannot be listed, load is not known: {error.strerror or error}"
        probes: list[Probe] = []
        for start in range(0, len(spots), AT_ONCE):
            probes += await connect_all(node, fd, spots[start : start + AT_ONCE], self.clock)
        lookup = await look_up(node, fd, self.settings.dns, self.settings.name, self.clock)
        return _Look(tuple(probes), lookup, flows, trouble)


@dataclass(frozen=True, slots=True)
class _Look:
    probes: tuple[Probe, ...]
    lookup: Lookup
    flows: tuple[Flow, ...]
    trouble: str


def flows_in(fd: int) -> tuple[Flow, ...]:
    """The connections that a namespace tracks."""
    conntrack = KernelConntrack()
    return netns.inside(fd, lambda: tuple(flow for version in (4, 6) for flow in conntrack.tcp_flows(version)))


def _sockets(fd: int, hosts: Iterable[str], kind: socket.SocketKind) -> list[socket.socket]:
    """Sockets that live in a namespace."""

    def make() -> list[socket.socket]:
        families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host in hosts]
        return [socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) for family in families]

    return netns.inside(fd, make)


async def connect_all(node: str, fd: int, spots: Sequence[Spot], clock: Clock) -> list[Probe]:
    """A connection to every spot, at once, from a namespace."""
    sockets = await asyncio.to_thread(_sockets, fd, [spot.address for spot in spots], socket.SOCK_STREAM)
    pairs = zip(sockets, spots, strict=True)
    return list(await asyncio.gather(*(_connect(node, sock, spot, clock) for sock, spot in pairs)))


async def _connect(node: str, sock: socket.socket, spot: Spot, clock: Clock) -> Probe:
    """Connect and part, by a reset: the kernel keeps no trace for others to count."""
    began = clock.monotonic()
    with sock:
        end_abruptly(sock)
        trouble = await _tried(asyncio.get_running_loop().sock_connect(sock, tuple(spot)))
        took = clock.monotonic() - began
        return Probe(node, spot, sock.getsockname()[1], None if trouble else took, trouble)


async def look_up(node: str, fd: int, server: str, name: str, clock: Clock) -> Lookup:
    """A question to cluster DNS from a namespace."""
    [sock] = await asyncio.to_thread(_sockets, fd, [server], socket.SOCK_DGRAM)
    loop, began, answer = asyncio.get_running_loop(), clock.monotonic(), bytearray()
    question = message.question(int.from_bytes(os.urandom(2)), name, message.A)

    async def ask() -> None:
        await loop.sock_connect(sock, (server, DNS_PORT))
        await loop.sock_sendall(sock, question)
        while answer[:2] != question[:2]:
            answer[:] = await loop.sock_recv(sock, LARGEST)

    with sock:
        trouble = await _tried(ask()) or refusal(bytes(answer))
        return Lookup(node, None if trouble else clock.monotonic() - began, trouble)


def refusal(answer: bytes) -> str:
    """What is wrong with an answer; nothing when it has an address."""
    if len(answer) < message.HEADER.size:
        return "no DNS answer"
    _, flags, _, records, _, _ = message.HEADER.unpack_from(answer)
    if code := flags & 0xF:
        return REFUSALS.get(code, f"code {code}")
    return "" if records else "no address"


async def _tried(work: object) -> str:
    """What went wrong, in a few words."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await work  # type: ignore[misc]
    except TimeoutError:
        return "timed out"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return error.strerror or str(error)
    return ""
