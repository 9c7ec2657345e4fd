"""Proxy processes on the node of a lab, with a true API server that both the test and the node reach.

async with bench(tmp_path) as found:
    async with found.proxy("--proxy-mode=iptables") as process: ...
    async with found.traffic(CLIENT, "10.96.0.20:80/tcp") as traffic: ...
    assert not traffic.failures
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apiserver.serving import IDENTITY
from clusterip.apiserver.core import Settings
from clusterip.apiserver.server import NAMES, ApiServer, Identity
from clusterip.client.config import ServerConfig
from clusterip.client.names import ENDPOINT_SLICES, NODES, SERVICES
from clusterip.client.rest import Client
from clusterip.store.memory import MemoryStore
from clusterip.transport.kubeconfig import kubeconfig
from clusterip.transport.listening import bind, url_of
from packets.lab import Lab
from packets.machines import Machine

HERE, ALSO, CLIENT = "10.244.1.5", "10.244.1.6", "10.244.1.9"
NODE_ADDRESS = "192.168.4.101"
ONCE_SECONDS = 2.0  # where the question is asked again
LATE_SECONDS = 30.0  # a busy machine takes its time
SOURCES = Path(__file__).parents[2] / "src"
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16
clientConnection: {{kubeconfig: {kubeconfig}}}
"""
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-1"},
    "status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]},
}
WEB = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "targetPort": 8080}]},
}


def slice_of(*addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}, "nodeName": "node-1"} for address in addresses
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


class Process:
    """A proxy, and what it says; its log is read all the time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._read = 0
        self._more = asyncio.Event()
        self._reader = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line)
            self._more.set()
        self.lines.append("")
        self._more.set()

    async def said(self, words: str, seconds: float = 90.0) -> str:
        """Wait for a line of the log that was not waited for before."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self._read < len(self.lines):
                        line = self.lines[self._read]
                        self._read += 1
                        if words in line:
                            return line
                        assert line, f"ended with {await self.process.wait()}\n{''.join(self.lines)}"
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"not said: {words}\n{''.join(self.lines)}") from None

    async def end(self, number: int = signal.SIGTERM) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(60):
            code = await self.process.wait()
            await self._reader
        return code


@dataclass(slots=True)
class Traffic:
    """New connections, one after another, and those that did not get an answer."""

    answers: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    senders: set[str] = field(default_factory=set)


class Bench:
    """An API that both the test and the node reach, and proxy processes on the node."""

    def __init__(self, lab: Lab, client: Client, folder: Path, inner: Door) -> None:
        self.lab, self.client, self.folder, self._inner = lab, client, folder, inner

    async def pause(self) -> None:
        """Take the API away from the node; the test keeps it."""
        await self._inner.close()

    async def go_on(self) -> None:
        await self._inner.open()

    @asynccontextmanager
    async def another_api(self) -> AsyncIterator[Client]:
        """A new API server with an empty store, in place of the first one as the node sees it."""
        await self.pause()
        outer = bind("127.0.0.1:0")
        async with ApiServer(MemoryStore(), IDENTITY[0], Settings()).running([outer]):
            first = self._inner.lead_to(outer.getsockname()[1])
            config = ServerConfig(url=url_of(outer), ca=IDENTITY[0].authority.certificate, token=IDENTITY[0].token)
            async with Client(config) as client:
                yield client
            await self.pause()
            self._inner.lead_to(first)

    def on_node(self, *command: str) -> list[str]:
        """A program on the node."""
        node = self.lab.nodes["node-1"].fd
        return [shutil.which("nsenter") or "nsenter", f"--net=/proc/{os.getpid()}/fd/{node}", *command]

    def part(self, *words: str) -> list[str]:
        """A command of ours on the node."""
        return self.on_node(sys.executable, "-m", "clusterip.main", *words)

    def command(self, *flags: str) -> list[str]:
        """A proxy on the node, by the file unless flags say otherwise."""
        config = f"--config={self.folder / 'config.conf'}"
        return self.part("proxy", config, "--hostname-override=node-1", "--v=4", *flags)

    async def launch(self, *flags: str, programs: Path | None = None, path: str = "") -> Process:
        """A proxy, whatever becomes of it; with programs of the test's own before the machine's, or instead of them."""
        path = f"{programs}:{os.environ['PATH']}" if programs else path
        return await self.begin(*self.command(*flags), **({"PATH": path} if path else {}))

    async def begin(self, *command: str, **environment: str) -> Process:
        """A command of ours, running."""
        known = {**os.environ, "PYTHONPATH": str(SOURCES), **environment}
        pipe = asyncio.subprocess.PIPE
        return Process(await asyncio.create_subprocess_exec(*command, env=known, stderr=pipe))

    async def start(self, *flags: str, mode: str = "nftables") -> Process:
        """A proxy, once it has programmed the node; IPv6, which nobody asks for, may be first."""
        process = await self.launch(f"--proxy-mode={mode}", *flags)
        await process.said(f"Using {mode} Proxier")
        await process.said('Full sync ipFamily="IPv4"')
        return process

    async def run(self, *command: str) -> str:
        """A program on the node, to its end."""
        pipe, known = asyncio.subprocess.PIPE, {**os.environ, "PYTHONPATH": str(SOURCES)}
        process = await asyncio.create_subprocess_exec(
            *self.on_node(*command), env=known, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return output.decode()

    async def ask(self, frontend: str, source: str = CLIENT, *, seconds: float = LATE_SECONDS) -> str:
        return await asyncio.to_thread(lambda: self.lab.ask(source, frontend, seconds=seconds))

    async def until(self, process: Process, frontend: str, expected: str) -> None:
        """Ask again after each sync until the answer is the one expected."""
        answer = ""
        try:
            async with asyncio.timeout(90):
                while (answer := await self.ask(frontend, seconds=ONCE_SECONDS)) != expected:
                    if answer != "silence":  # which a busy machine answers too
                        await process.said("Synced")
        except (TimeoutError, AssertionError) as error:
            raise AssertionError(f"{answer!r}, not {expected!r}\n{error}\n{''.join(process.lines)}") from None

    async def fetch(self, port: int, path: str) -> str:
        """What one of the proxy's own pages says, seen on its node."""

        def get() -> str:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

        return await asyncio.to_thread(self.lab.nodes["node-1"].inside, get)

    async def place(self, *addresses: str) -> None:
        await self.client.patch(
            ENDPOINT_SLICES, "web-1", "default", {"endpoints": slice_of(*addresses)["endpoints"]}, type="merge"
        )

    async def serve_web(self, *addresses: str) -> str:
        """Service web with these endpoints; where it is reached."""
        service = await self.client.create(SERVICES, WEB, "default")
        await self.client.create(ENDPOINT_SLICES, slice_of(*addresses), "default")
        return f"{service['spec']['clusterIP']}:80/tcp"

    @asynccontextmanager
    async def traffic(self, source: str, frontend: str) -> AsyncIterator[Traffic]:
        """New connections all the time."""
        found, ended = Traffic(), threading.Event()

        def send() -> None:
            while not ended.is_set():
                answer = self.lab.ask(source, frontend, seconds=LATE_SECONDS)
                place, _, sender = answer.partition(" saw ")
                if sender:
                    found.answers += 1
                    found.senders.add(sender)
                else:
                    found.failures.append((time.monotonic(), place))

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            await asyncio.to_thread(thread.join)


class Door:
    """The node's way to the API: a relay that can be shut."""

    def __init__(self, machine: Machine, port: int) -> None:
        self._machine, self._port = machine, port
        self._place = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._closings = 0

    def lead_to(self, port: int) -> int:
        """Another API server from now on; the one before."""
        before, self._port = self._port, port
        return before

    async def open(self) -> str:
        sock = self._machine.inside(lambda: bind(f"127.0.0.1:{self._place}"))
        self._place = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=sock)
        return url_of(sock)

    async def close(self) -> None:
        self._closings += 1
        if self._server:
            self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closings = self._closings
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        both = {writer, far_writer}
        self._writers |= both
        if self._closings != closings:  # shut while this one was half-way through
            for each in both:
                each.transport.abort()
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    if not IDENTITY:
        IDENTITY.append(Identity.fresh([*NAMES, "127.0.0.1", "10.96.0.1"]))
    store = MemoryStore()
    server = ApiServer(store, IDENTITY[0], Settings())
    with Lab(nodes=["node-1"]) as lab:
        for address in (HERE, ALSO):
            lab.serve(address, 8080)
        outer = bind("127.0.0.1:0")
        door = Door(lab.nodes["node-1"], outer.getsockname()[1])
        async with server.running([outer]):
            authority = server.identity.authority.certificate
            inner = await door.open()
            (folder / "kubeconfig").write_bytes(kubeconfig(inner, authority, token=server.identity.token))
            (folder / "config.conf").write_text(CONFIG.format(kubeconfig=folder / "kubeconfig"))
            config = ServerConfig(url=url_of(outer), ca=authority, token=server.identity.token)
            async with Client(config) as client:
                await client.create(NODES, NODE)
                yield Bench(lab, client, folder, door)
            await door.close()
        await store.close()
