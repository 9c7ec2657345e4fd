"""A node between a client's pod and a server's pod, each a network namespace, and the small C program that asks.

Rules: nothing here touches the host's network; all is gone with the last descriptor and process.  Everything is started
by this process's main thread, because the C program ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.proxyobjects import CLIENT, NODE, SERVER_PORT, SERVICES, SINK_PORT, server_addresses
from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import DEFAULT, Netlink

SOURCE = Path(__file__).parent / "latency.c"
SYSCTLS = {"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0}
ENDPOINTS_HERE = 16  # addresses of the server


class NoCompiler(Exception):
    """Without cc nothing can be asked fast enough."""


def compiled(folder: Path) -> Path:
    """The C program, built now."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("install gcc: latencies are measured by a small C program")
    program = folder / "latency"
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


class ProxyLab:
    """Three namespaces."""

    def __init__(self, folder: Path) -> None:
        self.program = compiled(folder)
        self.client, self.node, self.server = (netns.create() for _ in range(3))
        self._children: list[subprocess.Popen[str]] = []
        for fd in (self.client, self.node, self.server):
            with Netlink(fd) as netlink:
                netlink.set_up("lo")
        self._pod("client", self.client, [CLIENT])
        self._pod("server", self.server, server_addresses(ENDPOINTS_HERE))
        netns.inside(self.node, lambda: sysctl.apply(SYSCTLS))
        with Netlink(self.node) as netlink:
            netlink.add_route(SERVICES, dev="server")  # so that the node's own packets to a Service have a way
        self.start(self.server, str(self.program), "serve", str(SERVER_PORT), "4")
        self.start(self.server, str(self.program), "sink", str(SINK_PORT))

    def _pod(self, name: str, fd: int, addresses: Sequence[str]) -> None:
        """A veth pair; the node routes to each address."""
        with Netlink(self.node) as outer, Netlink(fd) as inner:
            outer.add_veth(name, "eth0", fd)
            outer.add_address(name, f"{NODE}/32")
            outer.set_up(name)
            for address in addresses:
                inner.add_address("eth0", f"{address}/32")
            inner.set_up("eth0")
            for address in addresses:
                outer.add_route(f"{address}/32", dev=name)
            inner.add_route(f"{NODE}/32", dev="eth0")
            inner.add_route(DEFAULT, via=NODE, dev="eth0", onlink=True)

    def inside(self, fd: int, *command: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", *command]

    def start(self, fd: int, *command: str, **more: Any) -> tuple[subprocess.Popen[str], str]:
        """A process in there, and the line by which it says that it is ready."""
        child = subprocess.Popen(self.inside(fd, *command), stdout=subprocess.PIPE, text=True, **more)
        self._children.append(child)
        assert child.stdout
        if not (line := child.stdout.readline()):
            raise RuntimeError(f"{' '.join(command[:4])} did not start")
        return child, line

    def ask(
        self, address: str, port: int = 80, *, count: int = 4000, seconds: float = 10, clients: int = 1
    ) -> dict[str, float]:
        """Connections from the client's pod, one after the other: p50, p99 (us), rate, errors."""
        words = [str(self.program), "ask", address, str(port), str(count), str(seconds), str(clients)]
        return self._told(self.client, *words, seconds=seconds)

    def push(self, address: str, port: int, seconds: float) -> float:
        """Bits a second over one connection."""
        told = self._told(self.client, str(self.program), "push", address, str(port), str(seconds), seconds=seconds)
        return told["rate"] * 8

    def _told(self, fd: int, *command: str, seconds: float) -> dict[str, float]:
        done = subprocess.run(self.inside(fd, *command), capture_output=True, text=True, timeout=seconds + 30)
        if done.returncode:
            raise RuntimeError(f"{command[1]}: {done.stderr.strip()}")
        found: dict[str, float] = json.loads(done.stdout)
        return found

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        for fd in (self.client, self.node, self.server):
            os.close(fd)


@contextlib.contextmanager
def proxy_lab() -> Iterator[ProxyLab]:
    with tempfile.TemporaryDirectory(prefix="clusterip-bench-") as folder:
        lab = ProxyLab(Path(folder))
        try:
            yield lab
        finally:
            lab.close()
