"""log, exec, attach, port-forward: the node agent serves them; the API server asks it and relays bytes.

Stage: shell.  In: a Call for a pod.  Out: the node agent's answer, as it comes.
Rules: the request goes to https://<node>:<port> with the server's own client certificate; an upgrade is relayed raw
       both ways, so WebSocket and SPDY are between client and node; a client that leaves ends the node's side too.
Truth: the kubelet's HTTP API (containerLogs, exec, attach, portForward).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from clusterip.api import log_options
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.reading import found
from clusterip.transport import departure, websocket
from clusterip.transport.answers import Answer, Response, Sink, Stream, Takeover, framed

PORT = 10250
CONNECT_SECONDS = 10.0
HEAD_SECONDS = 30.0
PIECE = 64 * 1024
HEAD_LIMIT = 64 * 1024
NODE_PATHS = {"log": "containerLogs", "exec": "exec", "attach": "attach", "portforward": "portForward"}
LOG_AS_TEXT = "base64.binary.k8s.io"
LOG_PROTOCOLS = ("binary.k8s.io", LOG_AS_TEXT)  # of a log as a WebSocket's messages
# Of a request's headers, those that are for this server alone.
OWN_HEADERS = frozenset({"host", "authorization", "impersonate-user", "impersonate-group", "content-length"})

Pieces = AsyncIterator[bytes]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class NodeDialer:
    """Opens TLS connections to node agents."""

    context: ssl.SSLContext

    async def __call__(self, host: str, port: int) -> Streams:
        """A connection; OSError or TimeoutError when there is none to be had."""
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(host, port, ssl=self.context, server_hostname=host, limit=HEAD_LIMIT)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a stream is served."""

    node: str
    host: str
    port: int
    path: str


def target(core: Core, call: Call) -> Target:
    """The node agent's address and path for a pod's stream; ApiError when the pod has none."""
    pod = call.served.tree(found(call))
    node = pick(pod, "spec", "nodeName", default="")
    container = _container(pod, call) if call.subresource != "portforward" else ""
    if not node:
        raise ApiError.bad_request(f"pod {call.name} does not have a host assigned")
    host, port = address(core, node)
    parts = [NODE_PATHS[call.subresource], call.namespace, call.name, *([container] if container else [])]
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return Target(node, host, port, path + _query(call))


def _query(call: Call) -> str:
    """The parameters as sent, without the container: that is in the path."""
    text = call.request.target.partition("?")[2]
    pairs = [pair for pair in parse_qsl(text, keep_blank_values=True) if pair[0] != "container"]
    if call.subresource == "portforward":  # a node knows them as one list
        ports = ",".join(value for name, value in pairs if name == "ports")
        pairs = [("port", ports)] if ports else []
    return f"?{urlencode(pairs)}" if pairs else ""


def _container(pod: Tree, call: Call) -> str:
    """The container that is meant; with several of them it must be named."""
    spec = pod.get("spec") or {}
    kinds = ("containers", "initContainers", "ephemeralContainers")
    by_kind = {kind: [each["name"] for each in spec.get(kind) or ()] for kind in kinds}
    names: list[str] = [name for kind in kinds for name in by_kind[kind]]
    asked = call.query.get("container", "")
    if asked:
        if asked not in names:
            raise ApiError.bad_request(f"container {asked} is not valid for pod {call.name}")
        return str(asked)
    if len(names) == 1:
        return names[0]
    choose = (
        f"a container name must be specified for pod {call.name}, choose one of: [{' '.join(by_kind['containers'])}]"
    )
    if by_kind["initContainers"]:
        choose += f" or one of the init containers: [{' '.join(by_kind['initContainers'])}]"
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in names and call.subresource != "log":
        return str(default)
    raise ApiError.bad_request(choose)


def address(core: Core, name: str) -> tuple[str, int]:
    nodes = core.registry.of("nodes")
    entry = nodes.entries.get(name) if nodes else None
    if entry is None:
        raise ApiError.not_found("", "nodes", name)
    node = entry.tree()
    said = pick(node, "status", "addresses", default=None) or ()
    addresses = {each["type"]: each["address"] for each in reversed(said)}  # the first of a type is the one to ask
    host: str = addresses.get("InternalIP") or addresses.get("Hostname") or ""
    if not host:
        raise ApiError.internal(f"no preferred addresses found; known addresses: {addresses}")
    return host, pick(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port", default=0) or PORT


async def _open(core: Core, call: Call) -> tuple[Target, asyncio.StreamReader, asyncio.StreamWriter]:
    where = target(core, call)
    if core.dialer is None:
        raise ApiError.service_unavailable("this API server has no way to its nodes")
    try:
        reader, writer = await core.dialer(where.host, where.port)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        why = str(error) or "no answer in time"
        raise ApiError.internal(f"error dialing backend: {where.host}:{where.port} ({where.node}): {why}") from None
    return where, reader, writer


def _request_head(call: Call, where: Target, upgrade: bool) -> bytes:
    """The request for the node agent."""
    kept = [pair for pair in call.request.headers.items() if pair[0].lower() not in OWN_HEADERS]  # some come often
    if not upgrade:
        kept = [pair for pair in kept if pair[0].lower() in ("accept", "user-agent")]
        kept.append(("Connection", "close"))
    lines = [f"{call.request.method} {where.path} HTTP/1.1", f"Host: {where.host}:{where.port}"]
    lines += [f"{name}: {value}" for name, value in kept]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def stream(core: Core, call: Call) -> Answer:
    """exec, attach, port-forward: the connection itself goes to the node."""
    if not call.request.wants_upgrade:
        raise ApiError.bad_request("Upgrade request required")
    where, reader, writer = await _open(core, call)
    writer.write(_request_head(call, where, upgrade=True))
    return Takeover(both_ways(reader, writer))


def both_ways(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What leads a client's bytes to a backend and back."""

    async def run(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        out, into = asyncio.ensure_future(_pour(reader, back)), asyncio.ensure_future(_pour(client, writer))
        gone = asyncio.ensure_future(departure.left(back.transport))
        with departure.held(writer.transport) as hold, departure.dropped(writer.transport):
            try:
                await asyncio.wait((out, gone), return_when=asyncio.FIRST_COMPLETED)
                if not out.done():  # the backend may take the client's last bytes
                    await asyncio.wait((into,), timeout=departure.LAST_SECONDS)
                    await departure.let_go(writer.transport, hold)
            finally:
                writer.close()
                for task in (out, into, gone):
                    task.cancel()
                await asyncio.gather(out, into, gone, return_exceptions=True)

    return run


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Bytes as they come, until their end; the sink is then told so, where it can be."""
    while piece := await source.read(PIECE):
        sink.write(piece)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
    else:
        sink.close()


async def log(core: Core, call: Call) -> Answer:
    """A container's log, whole or as it grows."""
    if call.verb != "get":
        raise ApiError.method_not_allowed()
    _check_log_options(call)
    where, reader, writer = await _open(core, call)
    try:
        writer.write(_request_head(call, where, upgrade=False))
        async with asyncio.timeout(HEAD_SECONDS):
            status, pairs = await read_head(reader)
        headers = {name.lower(): value for name, value in pairs}
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        writer.close()
        raise ApiError.internal(f"no log from node {where.node}: {error or 'no answer in time'}") from None
    except BaseException:
        writer.close()
        raise
    if status != 200:
        return await _refused(call, where, status, reader, headers, writer)

    if websocket.wants(call.request.headers):
        return _in_messages(call, body(reader, headers), writer)

    async def run(sink: Sink) -> None:
        try:
            async for piece in body(reader, headers):
                sink.write(framed(piece))
                await sink.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the node went away: what there was has been said
        finally:
            writer.close()

    return Stream(run, content_type=headers.get("content-type", "text/plain"))


def _check_log_options(call: Call) -> None:
    try:
        errors = log_options.validate(call.query)
    except log_options.NotANumber as error:
        raise ApiError.bad_request(str(error)) from None
    if errors:
        raise ApiError.invalid("", "PodLogOptions", call.name, errors)


def _in_messages(call: Call, pieces: Pieces, backend: asyncio.StreamWriter) -> Answer:
    """A log as the messages of a WebSocket: an empty one says that it stands, then piece by piece."""
    protocol = websocket.choose(call.request.headers, LOG_PROTOCOLS)

    def message(piece: bytes) -> bytes:
        if protocol == LOG_AS_TEXT:
            return websocket.frame(base64.b64encode(piece), websocket.Opcode.TEXT)
        return websocket.frame(piece)

    async def talk(_: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            client.write(websocket.answer(call.request.headers, protocol) + message(b""))
            async for piece in pieces:
                client.write(message(piece))
                await client.drain()
            client.write(websocket.close_frame(1000))
            await client.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # one of both sides went away: what there was has been said
        finally:
            backend.close()

    return Takeover(talk)


async def _refused(
    call: Call,
    where: Target,
    status: int,
    reader: asyncio.StreamReader,
    headers: dict[str, str],
    writer: asyncio.StreamWriter,
) -> Answer:
    """What the node agent says instead of a log, as a Status."""
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            pieces = [piece async for piece in body(reader, headers)]
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pieces = []
    finally:
        writer.close()
    text = b"".join(pieces)[:4096].decode(errors="replace").strip()
    if headers.get("content-type", "").startswith("application/json"):
        return Response(status, b"".join(pieces))
    if status == 404:
        why = text or f"the server could not find the requested resource ( pods/log {call.name})"
        raise ApiError(404, "NotFound", why, {"name": call.name, "kind": "pods"})
    if status == 400:
        raise ApiError.bad_request(text)
    raise ApiError.internal(text or f"node {where.node} answered {status}")


async def read_head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    """An HTTP/1.1 answer's status and headers."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    status = int(first.split(" ", 2)[1])
    pairs = (line.partition(":") for line in lines if line)
    return status, [(name.strip(), value.strip()) for name, _, value in pairs]


async def body(reader: asyncio.StreamReader, headers: dict[str, str]) -> Pieces:
    """An answer's body, piece by piece."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
        return
    left = int(headers.get("content-length", "-1"))
    while left and (piece := await reader.read(PIECE if left < 0 else min(PIECE, left))):
        left -= len(piece) if left > 0 else 0
        yield piece
