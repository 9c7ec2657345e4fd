"""Pods that say what reached them, a client over a Unix socket, and a controller with a real HAProxy."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from apiserver.serving import Api
from clusterip.client.config import ServerConfig
from clusterip.client.names import ENDPOINT_SLICES, INGRESSES, SERVICES
from clusterip.client.rest import Client
from clusterip.ingress import controller as following
from clusterip.ingress.compile import Listening
from clusterip.ingress.controller import Published
from clusterip.ingress.model import Slice, read_slice
from clusterip.ingress.plan import Served
from clusterip.ingress.process import Process, Settings

NGINX = "nginx.ingress.kubernetes.io/"
SECONDS = 60.0
STAND_IN = "192.0.2.1"  # for loopback, which the API takes for no endpoint
Tree = dict[str, Any]


class Pod:
    """A server that answers with its name and the request."""

    def __init__(self, name: str) -> None:
        self.name, self.port, self.delay = name, 0, 0.0
        self._server: asyncio.Server | None = None

    async def start(self) -> Pod:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
                if headers.get("transfer-encoding") == "chunked":
                    await reader.readuntil(b"0\r\n\r\n")
                await reader.readexactly(int(headers.get("content-length", 0)))
                if headers.get("upgrade") == "websocket":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
                    writer.write(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                    while said := await reader.read(1000):
                        writer.write(said)
                    return
                await asyncio.sleep(self.delay)
                body = json.dumps({"pod": self.name, "path": first.split(" ")[1], "headers": headers}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def pods(*names: str) -> AsyncIterator[list[Pod]]:
    started = [await Pod(name).start() for name in names]
    try:
        yield started
    finally:
        for pod in started:
            pod.close()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)
    pod: str = ""
    path: str = ""
    seen: Mapping[str, str] = field(default_factory=dict)  # headers, as the pod saw them


async def get(
    socket: Path, host: str, path: str, method: str = "GET", body: bytes = b"", sender: str = "", **headers: str
) -> Answer:
    """One request on a connection of its own; the path goes out as it is. The sender is said in PROXY protocol."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}{length}\r\n"
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        said = f"PROXY TCP{6 if ':' in sender else 4} {sender} {sender} 4000 80\r\n" if sender else ""
        writer.write(f"{said}{head}".encode("latin-1") + body)
        raw = await reader.read(-1)
        writer.close()
    return parsed(raw)


def parsed(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines]
    cookies = [value for name, value in pairs if name == "set-cookie"]
    answer = Answer(int(first.split(" ")[1]), dict(pairs), cookies)
    if body.startswith(b"{"):
        told = json.loads(body)
        answer.pod, answer.path, answer.seen = told["pod"], told["path"], told["headers"]
    return answer


@dataclass
class Running:
    process: Process
    folder: Path
    published: Published = field(default_factory=Published)

    @property
    def http(self) -> Path:
        return self.folder / "http"

    @property
    def proxied(self) -> Path:
        """Where a client says its address, in PROXY protocol."""
        return self.folder / "proxied"

    @property
    def https(self) -> Path:
        return self.folder / "https"

    async def get(self, host: str, path: str, *args: Any, **headers: str) -> Answer:
        return await get(self.http, host, path, *args, **headers)


def places(folder: Path) -> Listening:
    plain = (f"unix@{folder / 'http'}", f"unix@{folder / 'proxied'} accept-proxy")
    return Listening(plain, (f"unix@{folder / 'https'}",))


def settings_of(server: ServerConfig, folder: Path, published: Published | None = None) -> Settings:
    return Settings(
        server=server,
        served=Served(without_class=True),
        published=published or Published(addresses=("192.0.2.7",)),
        listening=places(folder),
        state=folder / "state",
        grace_seconds=5.0,
    )


@asynccontextmanager
async def controller(api: Api, folder: Path, published: Published | None = None) -> AsyncIterator[Running]:
    """A controller and its HAProxy; ready."""
    settings = Settings(
        server=api.config(),
        served=Served(without_class=True),
        published=published or Published(addresses=("192.0.2.7",)),
        listening=places(folder),
        state=folder / "state",
        grace_seconds=30.0,
    )
    process = Process(settings)
    patched = patch.object(following, "read_slice", on_loopback)
    patched.start()
    running = asyncio.ensure_future(process.run())
    ready = asyncio.ensure_future(process.ready.wait())
    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield Running(process, folder)
    finally:
        patched.stop()
        ready.cancel()
        running.cancel()
        await asyncio.gather(running, ready, return_exceptions=True)


def on_loopback(tree: Tree) -> Slice:
    found = read_slice(tree)
    return replace(found, endpoints=tuple(replace(each, address="127.0.0.1") for each in found.endpoints))


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """A folder with a short name: a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="ci-") as name:
        yield Path(name)


async def eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(SECONDS):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.02)


async def service(client: Client, name: str, *backends: Pod) -> None:
    spec = {"ports": [{"name": "http", "port": 80}]}
    await client.create(SERVICES, meta(SERVICES, name) | {"spec": spec})
    for number, pod in enumerate(backends):
        await endpoint(client, name, number, pod)


async def endpoint(client: Client, name: str, number: int, pod: Pod) -> None:
    """A slice of its own for each pod, since all of them have one address."""
    tree = meta(ENDPOINT_SLICES, f"{name}-{number}") | {
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [STAND_IN], "conditions": {"ready": True}}],
    }
    tree["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    await client.create(ENDPOINT_SLICES, tree)


async def ingress(client: Client, name: str, *rules: tuple[str, str, str], **more: Any) -> None:
    """Rules are host, path and Service; an annotation is written with underscores."""
    tls = more.pop("tls", None)
    kind = more.pop("kind", "Prefix")
    notes = {NGINX + key.replace("_", "-"): value for key, value in more.items()}
    tree = meta(INGRESSES, name) | {"spec": {"rules": [rule(*each, kind) for each in rules]}}
    tree["metadata"]["annotations"] = notes
    if tls:
        tree["spec"]["tls"] = tls
    await client.create(INGRESSES, tree)


def rule(host: str, path: str, name: str, kind: str = "Prefix") -> Tree:
    port = {"number": 80} if path != "/named" else {"name": "http"}
    paths = [{"path": path, "pathType": kind, "backend": {"service": {"name": name, "port": port}}}]
    return {"http": {"paths": paths}} | ({"host": host} if host else {})


def meta(ref: Any, name: str) -> Tree:
    metadata: Tree = {"name": name, "namespace": "default"}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}
