"""Figures of the policy agent: a first load, one pod's change, what a new connection costs.

Rules: everything in network namespaces of the bench's own; the pictures are made, no API server takes part.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figure import Figure
from clusterip.api.meta import Tree
from clusterip.kernel import netns
from clusterip.kernel.nfnetlink import Nfnetlink
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.policy.reading import read_pod
from clusterip.policy.runner import Runner
from clusterip.policy.snapshot import Collector

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

SPACES, PODS, POLICIES, CHANGES = 10, 1000, 1000, 100
CONNECTIONS, ROUNDS = 2000, 5
SERVER, CLIENT = "10.244.1.5", "10.244.1.15"  # of one namespace; the one may speak with the other


async def policy() -> list[Figure]:
    """All figures, with the policies and pods of a large node."""
    load, change = await _programming()
    without, with_policies = await asyncio.to_thread(_latencies)
    ratio = with_policies / without
    return [
        Figure("policy: first load, 1,000 policies over 1,000 pods", load, "s", 2.0),
        Figure("policy: one pod's change", change * 1000, "ms", 5.0),
        Figure("policy: a new connection, against none", ratio, "x", 1.1),
    ]


def _address(number: int) -> str:
    return f"10.244.{1 + number // 250}.{2 + number % 250}"


def _pods() -> Iterator[Tree]:
    from policy.pictures import pod

    for number in range(PODS):
        labels = {"app": f"app-{number // SPACES}", "tier": "web" if number % 2 else "db"}
        yield pod(f"pod-{number}", _address(number), namespace=f"space-{number % SPACES}", labels=labels, node="node-1")


def _policies() -> Iterator[Tree]:
    from policy.pictures import policy as made

    for number in range(POLICIES):
        to, of = f"app-{number // SPACES}", f"app-{(number // SPACES + 1) % (PODS // SPACES)}"
        peers = [{"podSelector": {"matchLabels": {"app": of}}}, {"ipBlock": {"cidr": f"172.16.{number % 250}.0/24"}}]
        rule = {"from": peers, "ports": [{"port": 8080}, {"port": 9000, "endPort": 9999}]}
        spec = {"podSelector": {"matchLabels": {"app": to}}, "ingress": [rule]}
        yield made(f"policy-{number}", spec, f"space-{number % SPACES}")


def _collected() -> Collector:
    from policy.pictures import collected

    return collected(_pods(), _policies(), {f"space-{number}": {} for number in range(SPACES)})


async def _programming() -> tuple[float, float]:
    """Seconds from the objects to the kernel: at first, and for one pod with another label."""
    with _namespace() as fd:
        nft = KernelNft(lambda: netns.inside(fd, Nfnetlink))
        collector = _collected()
        runner = Runner("ip", nft, collector.picture)
        began = time.perf_counter()
        await runner.sync()
        load = time.perf_counter() - began
        spent = []
        for number, tree in zip(range(CHANGES), _pods(), strict=False):
            old, key = read_pod(tree), (tree["metadata"]["namespace"], tree["metadata"]["name"])
            tree["metadata"]["labels"]["app"] = f"app-{50 + number % 50}"
            began = time.perf_counter()
            collector.on_pod(key, old, read_pod(tree))
            await runner.sync()
            spent.append(time.perf_counter() - began)
        nft.close()
    return load, statistics.median(spent)


@contextmanager
def _namespace() -> Iterator[int]:
    fd = netns.create()
    try:
        yield fd
    finally:
        os.close(fd)


def _latencies() -> tuple[float, float]:
    """Seconds for one connection between two pods of a node, without the table and with it."""
    from packets.lab import Lab
    from packets.nodeproxy import Loop

    with Lab(nodes=["node-1"]) as lab:
        for address in (SERVER, CLIENT):
            lab.machine(address)
        loop = Loop(lab.nodes["node-1"])

        async def program() -> Runner:
            runner = Runner("ip", KernelNft(), _collected().picture)
            await runner.sync()
            return runner

        with _server(lab.machine(SERVER).inside):
            found: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(ROUNDS):  # in turn, so that a busy moment meets both
                found[False].append(lab.machine(CLIENT).inside(_connections))
                runner = loop.call(program())
                found[True].append(lab.machine(CLIENT).inside(_connections))
                loop.call(runner.remove())
        loop.close()
    return min(found[False]), min(found[True])


def _connections() -> float:
    began = time.perf_counter()
    for _ in range(CONNECTIONS):
        with socket.create_connection((SERVER, 8080), timeout=10) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return (time.perf_counter() - began) / CONNECTIONS


@contextmanager
def _server(inside: Callable[[Callable[[], socket.socket]], socket.socket]) -> Iterator[None]:
    """Takes connections and closes them."""
    listening = inside(lambda: socket.create_server((SERVER, 8080), backlog=4096))

    def serve() -> None:
        try:
            while True:
                listening.accept()[0].close()
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
