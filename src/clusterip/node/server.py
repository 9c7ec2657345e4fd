"""The node's HTTP API on port 10250, as the API server uses it: logs, exec, attach, pods.

Stage: edge.  In: requests of the API server, the agent's `Lookup`.  Out: answers, streams.
Rules: only the API server's client certificate (or an administrator's) is let in, /healthz apart; an error before the
upgrade is a Status, which the API server hands on as it is.
Truth: the kubelet's HTTP API (pkg/kubelet/server): paths, parameters, the words of its errors.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.clock import Clock
from clusterip.kernel.loopback import dial
from clusterip.node import channelforward, channels, logfiles, spdychannels
from clusterip.node.attach import run_attach
from clusterip.node.carriers import Carrier, Plain, Tunnel
from clusterip.node.channelforward import ChannelForwarding, parse_ports
from clusterip.node.channels import PROTOCOLS, Channels, Client
from clusterip.node.commands import StreamOptions
from clusterip.node.execute import run_exec
from clusterip.node.logs import BadLogOptions, LogOptions, parse_options, rendered
from clusterip.node.lookup import ContainerRef, Lookup, NoSuchContainer, PodRef
from clusterip.node.spdychannels import SpdyChannels
from clusterip.node.spdyforward import PROTOCOL, TUNNEL, Forwarding
from clusterip.transport import listening, websocket
from clusterip.transport.answers import TEXT, Answer, Response, Sink, Stream, Takeover, framed
from clusterip.transport.http import Listener
from clusterip.transport.request import Peer, Request

CLIENTS = frozenset({"kube-apiserver-kubelet-client"})
ADMINISTRATORS = "system:masters"
TRUE = ("true", "1")
SPDY = "spdy/3.1"
LOG_ROOT = Path("/var/log/pods")
FORBIDDEN = "only the API server may ask a node"

Session = Callable[[ContainerRef, StreamOptions, Client], Awaitable[None]]


class NodeServer:
    """The API of one node."""

    def __init__(self, lookup: Lookup, clock: Clock, log_root: Path = LOG_ROOT) -> None:
        self._lookup, self._log_root = lookup, log_root
        self._clock = clock
        self._shown: dict[
            str, int
        ] = {}  # how much of their logs was read of containers that wait for their first attach
        self._sessions: Mapping[str, Session] = {"exec": run_exec, "attach": self._attach}
        self._routes: Mapping[str, Callable[[Request, list[str]], Awaitable[Answer]]] = {
            "pods": self._pods,
            "metrics": self._metrics,
            "containerLogs": self._logs,
            "logs": self._log_files,
            "exec": self._session,
            "attach": self._session,
            "portForward": self._port_forward,
        }

    async def run(self, address: str, context: ssl.SSLContext) -> None:
        """Serve on `host:port` until cancelled."""
        listener = Listener(self.handle)
        await listener.listen(listening.bind(address), context)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await listener.close()

    async def handle(self, request: Request) -> Answer:
        """The answer to one request."""
        segments = request.segments()
        if segments == ["healthz"]:
            return Response(200, b"ok", TEXT)
        try:
            _admit(request.peer)
            route = self._routes.get(segments[0] if segments else "")
            if route is None:
                return Response(404, b"404 page not found\n", TEXT)
            return await route(request, segments)
        except ApiError as error:
            return _refused(error)

    async def _pods(self, request: Request, segments: list[str]) -> Answer:
        tree: Tree = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._lookup.pods()}
        return Response(200, json.dumps(tree).encode())

    async def _metrics(self, request: Request, segments: list[str]) -> Answer:
        pods = self._lookup.pods()
        lines = (
            "# HELP kubelet_running_pods [ALPHA] Number of pods that have a running pod sandbox",
            "# TYPE kubelet_running_pods gauge",
            f"kubelet_running_pods {sum(1 for pod in pods if (pod.get('status') or {}).get('phase') == 'Running')}",
            "",
        )
        return Response(200, "\n".join(lines).encode(), "text/plain; version=0.0.4; charset=utf-8")

    async def _log_files(self, request: Request, segments: list[str]) -> Answer:
        return logfiles.answer(self._log_root, segments[1:], as_folder=request.target.partition("?")[0].endswith("/"))

    async def _logs(self, request: Request, segments: list[str]) -> Answer:
        if len(segments) != 4:
            raise ApiError.bad_request("a log is at /containerLogs/NAMESPACE/POD/CONTAINER")
        namespace, pod, name = segments[1:]
        try:
            ref = self._lookup.container(namespace, pod, name)
            options = parse_options(request.query, self._clock.now())
        except NoSuchContainer as error:
            raise ApiError(404, "NotFound", str(error)) from error
        except BadLogOptions as error:
            raise ApiError.bad_request(str(error)) from error
        path = ref.previous_log_path if options.previous else ref.log_path
        if path is None:
            raise ApiError.bad_request(f'previous terminated container "{name}" in pod "{pod}" not found')
        if not ref.id and not path.exists():
            why = _waiting_reason(self._lookup.pods(), namespace, pod, name)
            raise ApiError.bad_request(f'container "{name}" in pod "{pod}" is waiting to start: {why}')

        def read_to(at: int) -> None:
            if options == LogOptions() and ref.stdin_once:
                self._shown[ref.id] = at

        async def write(sink: Sink) -> None:
            over = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                ending = group.create_task(self._end(ref, over), name="log end") if options.follow else None
                if options.previous:
                    over.set()
                async for text in rendered(path, options, over, read_to):
                    if sink.closing:
                        break
                    sink.write(framed(text))
                    await sink.drain()
                if ending:
                    ending.cancel()

        return Stream(write, content_type=TEXT)

    async def _end(self, ref: ContainerRef, over: asyncio.Event) -> None:
        await self._lookup.ended(ref)
        over.set()

    async def _session(self, request: Request, segments: list[str]) -> Answer:
        """exec and attach: /KIND/NAMESPACE/POD[/UID]/CONTAINER, upgraded to a WebSocket or to SPDY."""
        if len(segments) not in (4, 5):
            raise ApiError.bad_request(f"{segments[0]} is at /{segments[0]}/NAMESPACE/POD/CONTAINER")
        namespace, pod, name = segments[1], segments[2], segments[-1]
        try:
            ref = self._lookup.container(namespace, pod, name)
        except NoSuchContainer as error:
            raise ApiError(404, "NotFound", str(error)) from error
        options = parse_streams(request.target, ref, segments[0])
        if segments[0] == "exec" and not ref.running:
            raise ApiError.internal(f'unable to upgrade connection: container not found ("{name}")')
        if segments[0] == "attach" and ref.id and not ref.running and not ref.stdin_once:
            raise ApiError.internal("container is in CONTAINER_EXITED state")  # clients turn to its log instead
        session = self._sessions[segments[0]]
        if request.headers.get("Upgrade", "").lower() == SPDY:
            return Takeover(_over_spdy(request, ref, options, session))
        if not websocket.wants(request.headers):
            raise ApiError.bad_request(
                f"Upgrade request required: SPDY/3.1, or a WebSocket with {' or '.join(PROTOCOLS)}"
            )
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        protocol = websocket.choose(request.headers, PROTOCOLS)
        if protocol is None and offered:
            raise _not_spoken(offered, PROTOCOLS)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(websocket.answer(request.headers, protocol))
            await session(ref, options, Channels(websocket.WebSocket(reader, writer), protocol or ""))

        return Takeover(talk)

    async def _port_forward(self, request: Request, segments: list[str]) -> Answer:
        """/portForward/NAMESPACE/POD[/UID], upgraded to a WebSocket (channels, or a tunnel for SPDY) or to SPDY."""
        if len(segments) not in (3, 4):
            raise ApiError.bad_request("port forwarding is at /portForward/NAMESPACE/POD")
        try:
            pod = self._lookup.pod(segments[1], segments[2])
        except NoSuchContainer as error:
            raise ApiError(404, "NotFound", str(error)) from error
        if websocket.wants(request.headers):
            return Takeover(_forward_by_websocket(request, pod))
        if request.headers.get("Upgrade", "").lower() != SPDY:
            raise ApiError.bad_request(f"Upgrade request required: a WebSocket with {TUNNEL}, or SPDY/3.1")

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(spdychannels.answer(PROTOCOL))
            await _forwarding(Plain(reader, writer), pod).run()

        return Takeover(talk)

    async def _attach(self, ref: ContainerRef, options: StreamOptions, client: Client) -> None:
        await run_attach(ref, self._lookup, options, client, self._shown.pop(ref.id, 0))


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _over_spdy(request: Request, ref: ContainerRef, options: StreamOptions, session: Session) -> Talk:
    """A session by SPDY, in the best protocol that the client offers; one that offers none speaks the first."""
    lines = [value for name, value in request.headers.items() if name.lower() == "x-stream-protocol-version"]
    offered = [word.strip() for line in lines for word in line.split(",")]
    protocol = next((each for each in spdychannels.PROTOCOLS if each in offered), "")
    if offered and not protocol:
        raise _not_spoken(", ".join(offered), spdychannels.PROTOCOLS)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(spdychannels.answer(protocol))
        client = SpdyChannels(Plain(reader, writer), protocol)
        if await client.opened(_streams(options)):
            await session(ref, options, client)

    return talk


def _forward_by_websocket(request: Request, pod: PodRef) -> Talk:
    """Port forwarding by SPDY in a tunnel, or by a pair of channels for each port that the request names."""
    spoken = (TUNNEL, *channelforward.PROTOCOLS)
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    protocol = websocket.choose(request.headers, spoken)
    if protocol is None and offered:
        raise _not_spoken(offered, spoken)
    ports = () if protocol == TUNNEL else parse_ports(parse_qs(request.target.partition("?")[2]).get("port", ()))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(websocket.answer(request.headers, protocol))
        socket = websocket.WebSocket(reader, writer)
        if protocol == TUNNEL:
            await _forwarding(Tunnel(socket), pod).run()
        else:
            await ChannelForwarding(
                socket, protocol or "", ports, partial(dial, pod.netns), partial(_unforwarded, pod)
            ).run()

    return talk


def _forwarding(carrier: Carrier, pod: PodRef) -> Forwarding:
    return Forwarding(carrier, partial(dial, pod.netns), partial(_unforwarded, pod))


def _unforwarded(pod: PodRef, port: int, why: str) -> str:
    return f"error forwarding port {port} to pod {pod.name}, uid {pod.uid}: {why}"


def _streams(options: StreamOptions) -> frozenset[int]:
    """The streams that a client opens for these options; that of sizes may come or not."""
    wanted = {
        channels.STDIN: options.stdin,
        channels.STDOUT: options.stdout,
        channels.STDERR: options.stderr,
        channels.ERROR: True,
    }
    return frozenset(channel for channel, is_wanted in wanted.items() if is_wanted)


def _not_spoken(offered: str, spoken: Sequence[str]) -> ApiError:
    return ApiError(403, "Forbidden", f"unable to upgrade: none of [{offered}] is spoken here: {', '.join(spoken)}")


def parse_streams(target: str, ref: ContainerRef, kind: str) -> StreamOptions:
    """The streams that a request asks for, by either of the two spellings that clients use."""
    query = parse_qs(target.partition("?")[2], keep_blank_values=True)

    def asked(*names: str) -> bool:
        return any(query.get(name, [""])[0].lower() in TRUE for name in names)

    command = tuple(query.get("command", ()))
    if kind == "exec" and not any(command):
        raise ApiError.bad_request("you must specify at least one command for the container")
    tty = asked("tty") if kind == "exec" else ref.tty
    options = StreamOptions(
        stdin=asked("stdin", "input"),
        stdout=asked("stdout", "output"),
        stderr=asked("stderr", "error") and not tty,
        tty=tty,
        command=command,
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise ApiError.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return options


def _admit(peer: Peer) -> None:
    if not peer.common_name:
        raise ApiError.unauthorized()
    if peer.common_name not in CLIENTS and ADMINISTRATORS not in peer.organizations:
        raise ApiError(403, "Forbidden", f'Forbidden (user="{peer.common_name}"): {FORBIDDEN}')


def _refused(error: ApiError) -> Response:
    return Response(error.code, json.dumps(error.status()).encode())


def _waiting_reason(pods: list[Tree], namespace: str, pod: str, name: str) -> str:
    """Why a container that was never created is not there, in the kubelet's words."""
    for tree in pods:
        metadata = tree.get("metadata") or {}
        if (metadata.get("namespace"), metadata.get("name")) != (namespace, pod):
            continue
        for status in (tree.get("status") or {}).get("containerStatuses") or ():
            if status.get("name") == name:
                reason = ((status.get("state") or {}).get("waiting") or {}).get("reason") or "ContainerCreating"
                return "trying and failing to pull image" if reason in ("ErrImagePull", "ImagePullBackOff") else reason
    return "ContainerCreating"
