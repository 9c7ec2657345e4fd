"""The proxy as a process on a node, following the true API server: start, kill, restart, end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apiserver.serving import IDENTITY
from clusterip.apiserver.core import Settings
from clusterip.apiserver.server import NAMES, ApiServer, Identity
from clusterip.client.config import ServerConfig
from clusterip.client.names import ENDPOINT_SLICES, NODES, SERVICES
from clusterip.client.rest import Client
from clusterip.store.memory import MemoryStore
from clusterip.transport.kubeconfig import kubeconfig
from clusterip.transport.listening import bind, url_of
from kernel.nft_places import program_in
from packets.lab import Lab

pytestmark = pytest.mark.root

HERE, ALSO, CLIENT = "10.244.1.5", "10.244.1.6", "10.244.1.9"
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
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.4.101"}]},
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


class Bench:
    """An API that both the test and the node reach, and proxy processes on the node."""

    def __init__(self, lab: Lab, client: Client, folder: Path) -> None:
        self.lab, self.client, self.folder = lab, client, folder

    async def start(self) -> asyncio.subprocess.Process:
        """A proxy, once it has programmed the node."""
        node = self.lab.nodes["node-1"].fd
        process = await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net=/proc/{os.getpid()}/fd/{node}",
            sys.executable,
            "-m",
            "clusterip.main",
            "proxy",
            f"--config={self.folder / 'config.conf'}",
            "--hostname-override=node-1",
            "--v=4",
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            stderr=asyncio.subprocess.PIPE,
        )
        await self.said(process, "Using nftables Proxier")
        await self.said(process, "Full sync")
        return process

    @staticmethod
    async def said(process: asyncio.subprocess.Process, words: str) -> str:
        """Wait for a line of the log."""
        assert process.stderr is not None
        seen = []
        async with asyncio.timeout(20):
            while line := (await process.stderr.readline()).decode():
                seen.append(line)
                if words in line:
                    return line
        raise AssertionError("".join(seen))

    async def ask(self, frontend: str) -> str:
        return await asyncio.to_thread(self.lab.ask, CLIENT, frontend)

    async def until(self, process: asyncio.subprocess.Process, frontend: str, expected: str) -> None:
        """Ask again after each sync until the answer is the one expected."""
        while (answer := await self.ask(frontend)) != expected:
            assert await self.said(process, "Synced"), answer

    async def fetch(self, port: int, path: str) -> str:
        """What one of the proxy's own pages says, seen on its node."""

        def get() -> str:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

        return await asyncio.to_thread(self.lab.nodes["node-1"].inside, get)

    async def place(self, *addresses: str) -> None:
        await self.client.patch(
            ENDPOINT_SLICES, "web-1", "default", {"endpoints": slice_of(*addresses)["endpoints"]}, type="merge"
        )


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    if not IDENTITY:
        IDENTITY.append(Identity.fresh([*NAMES, "127.0.0.1", "10.96.0.1"]))
    store = MemoryStore()
    server = ApiServer(store, IDENTITY[0], Settings())
    with Lab(["node-1"]) as lab:
        for address in (HERE, ALSO):
            lab.serve(address, 8080)
        outer, inner = bind("127.0.0.1:0"), lab.nodes["node-1"].inside(lambda: bind("127.0.0.1:0"))
        async with server.running([outer, inner]):
            authority = server.identity.authority.certificate
            (folder / "kubeconfig").write_bytes(kubeconfig(url_of(inner), authority, token=server.identity.token))
            (folder / "config.conf").write_text(CONFIG.format(kubeconfig=folder / "kubeconfig"))
            config = ServerConfig(url=url_of(outer), ca=authority, token=server.identity.token)
            async with Client(config) as client:
                await client.create(NODES, NODE)
                yield Bench(lab, client, folder)
        await store.close()


async def _life(folder: Path) -> None:
    async with bench(folder) as found:
        service = await found.client.create(SERVICES, WEB, "default")
        vip = f"{service['spec']['clusterIP']}:80/tcp"
        await found.client.create(ENDPOINT_SLICES, slice_of(HERE), "default")

        node = found.lab.nodes["node-1"].fd
        first = await found.start()
        assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
        assert await found.ask("192.168.4.101:30080/tcp") == f"{HERE}:8080 saw 192.168.4.101"

        await found.place(ALSO)
        await found.until(first, vip, f"{ALSO}:8080 saw {CLIENT}")

        first.kill()
        await first.wait()
        assert await found.ask(vip) == f"{ALSO}:8080 saw {CLIENT}", "rules outlive the proxy"
        await found.place(HERE)

        second = await found.start()
        assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}", "what was missed is made up for"

        damage = await asyncio.create_subprocess_exec(*program_in(node), "delete", "table", "ip", "kube-proxy")
        assert await damage.wait() == 0
        await found.said(second, "Somebody else changed our rules")
        await found.until(second, vip, f"{HERE}:8080 saw {CLIENT}")
        assert "200 OK" in await found.fetch(10256, "/healthz")
        assert (await found.fetch(10249, "/proxyMode")).endswith("nftables")
        assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in await found.fetch(10249, "/metrics")

        await found.client.delete(SERVICES, "web", "default")
        await found.until(second, vip, "silence")
        second.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await second.wait() == 0


def test_a_proxy_lives_dies_and_is_replaced(tmp_path: Path) -> None:
    asyncio.run(_life(tmp_path))
