"""Bring a started cluster to the point where it can be used, and see that it can.

Stage: commit (the first objects) and read (is it usable).  In: an administrator's client, the nodes' namespaces.
Out: objects; steps told to `Progress`.
Rules: what waits, waits for an event; only the last proof, packets from every node, is tried again and again.
Truth: docs/architecture.md, "A cluster on one machine", says when `up` returns.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client import names
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client, Unreachable
from clusterip.cluster.config import Config
from clusterip.cluster.manifests import manifests
from clusterip.cluster.progress import Progress
from clusterip.kernel import netns

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 0.02
ANSWER_SECONDS = 0.25
LATE_SECONDS = 30.0
KUBERNETES = "10.96.0.1"
REFS: Mapping[str, ResourceRef] = {
    ref.kind: ref
    for ref in (
        names.SERVICE_ACCOUNTS,
        names.CONFIG_MAPS,
        names.SERVICES,
        names.DAEMON_SETS,
        names.DEPLOYMENTS,
        names.ROLES,
        names.ROLE_BINDINGS,
        names.CLUSTER_ROLES,
        names.CLUSTER_ROLE_BINDINGS,
        names.STORAGE_CLASSES,
    )
}


async def _until(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Try until it is so."""
    while not await attempt():  # noqa: ASYNC110 - nobody tells when packets begin to pass
        await asyncio.sleep(AGAIN_SECONDS)


async def api_answers(client: Client) -> None:
    """The listener was open before the server, so the first question waits in its queue."""

    async def attempt() -> bool:
        try:
            await client.request("GET", "/version")
        except (Unreachable, ApiError) as error:
            logger.debug("The API does not answer yet", extra={"kv": {"err": error}})
            return False
        return True

    await _until(attempt)


async def create_missing(client: Client, tree: Tree) -> None:
    """Create the object; one that is there stays as its owner left it."""

    async def attempt() -> bool:
        try:
            if not await _exists(client, tree):
                await client.create(REFS[tree["kind"]], tree)
        except ApiError as error:
            if error.code in (403, 404) or error.code >= 500:  # the namespace is not there yet
                return False
            if error.reason != "AlreadyExists":
                raise
        except Unreachable:
            return False
        return True

    await _until(attempt)


async def _exists(client: Client, tree: Tree) -> bool:
    """Asked first: a Service that is there would be refused for its own address."""
    try:
        await client.get(REFS[tree["kind"]], tree["metadata"]["name"], tree["metadata"].get("namespace", ""))
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    return True


async def create_first_objects(client: Client, config: Config) -> None:
    async with asyncio.TaskGroup() as group:
        for tree in manifests(config):
            group.create_task(create_missing(client, tree), name=f"create {tree['kind']} {tree['metadata']['name']}")


def is_ready(node: Tree) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


async def nodes_ready(client: Client, wanted: Iterable[str]) -> None:
    """Every node of the cluster is there and Ready."""
    waiting = set(wanted)

    async def attempt() -> bool:
        try:
            await _watch_nodes(client, waiting)
        except (ApiError, Unreachable) as error:
            logger.debug("Watching nodes again", extra={"kv": {"err": error}})
        return not waiting

    await _until(attempt)


async def _watch_nodes(client: Client, waiting: set[str]) -> None:
    listed = await client.list(names.NODES)
    waiting -= {node["metadata"]["name"] for node in listed["items"] if is_ready(node)}
    if not waiting:
        return
    async for _, node in client.watch(names.NODES, resource_version=listed["metadata"]["resourceVersion"]):
        if is_ready(node):
            waiting.discard(node["metadata"]["name"])
        if not waiting:
            return


# -- packets --------------------------------------------------------------------------------------------------------


def dns_question(name: str, number: int = 1) -> bytes:
    """A question for an A record."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def is_answer(reply: bytes, address: str) -> bool:
    """Whether the reply is without error and ends in the address."""
    return len(reply) > 12 and reply[3] & 0x0F == 0 and socket.inet_aton(address) in reply[12:]


def _connected(fd: int, kind: int, address: tuple[str, int]) -> socket.socket:
    """A socket of the namespace on its way to the address."""
    opened = netns.inside(fd, lambda: socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
    code = opened.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        opened.close()
        raise OSError(code, "connect")
    return opened


async def _ready(fd: int, writing: bool) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fd, event.set)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await event.wait()
    finally:
        remove(fd)


async def dns_answers(net: int, server: str, name: str) -> bool:
    """Whether the cluster's DNS answers a machine."""
    try:
        with _connected(net, socket.SOCK_DGRAM, (server, 53)) as asking:
            asking.send(dns_question(name))
            await _ready(asking.fileno(), writing=False)
            return is_answer(asking.recv(4096), KUBERNETES)
    except (OSError, TimeoutError):
        return False


async def accepts(net: int, address: str, port: int) -> bool:
    """Whether a connection from a machine is accepted."""
    try:
        with _connected(net, socket.SOCK_STREAM, (address, port)) as asking:
            await _ready(asking.fileno(), writing=True)
            return asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    except (OSError, TimeoutError):
        return False


async def packets_pass(config: Config, nets: Mapping[str, int]) -> None:
    """From every node the kubernetes Service is reached and DNS answers."""
    name = f"kubernetes.default.svc.{config.domain}"
    async with asyncio.TaskGroup() as group:
        for node in config.nodes:
            net = nets[node]
            group.create_task(_until(lambda net=net: accepts(net, KUBERNETES, 443)), name=f"service {node}")  # type: ignore[misc]
            group.create_task(_until(lambda net=net: dns_answers(net, config.dns_address, name)), name=f"dns {node}")  # type: ignore[misc]


# -- all of it --------------------------------------------------------------------------------------------------------


async def bring_up(client: Client, config: Config, nets: Mapping[str, int], progress: Progress) -> None:
    """From a started API server to a usable cluster."""
    await _step(progress, "API server answers", "the API server does not answer", api_answers(client))
    async with asyncio.TaskGroup() as group:
        group.create_task(create_first_objects(client, config), name="first objects")
        nodes = nodes_ready(client, config.nodes)
        group.create_task(
            _step(progress, f"{len(config.nodes)} nodes Ready", "not all nodes are Ready", nodes), name="nodes"
        )
        packets = packets_pass(config, nets)
        group.create_task(
            _step(progress, "Services and DNS answer on every node", "Services or DNS do not answer yet", packets),
            name="packets",
        )
    await progress.say("cluster is up", ready=True)


async def _step(progress: Progress, done: str, late: str, work: Awaitable[None]) -> None:
    """Say when it is done, and now and then that it is not."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LATE_SECONDS))[0]:
            await progress.say(late, trouble=True)
        await task
    finally:
        task.cancel()
    await progress.say(done)
