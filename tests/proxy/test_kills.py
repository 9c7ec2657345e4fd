"""A proxy that is killed at any moment: what it leaves is whole, and the next one is right with its first sync.

Services change all the time while proxies live; each is killed without warning, most of them in mid-commit.
CLUSTERIP_SOAK=1 kills for longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from clusterip.client.names import ENDPOINT_SLICES, SERVICES
from clusterip.kernel.claim import hold
from clusterip.proxy.sole import NAME
from packets.lab import Lab
from proxy.processes import ALSO, CLIENT, HERE, WEB, Bench, Process, bench, slice_of

SOAK = bool(os.environ.get("CLUSTERIP_SOAK"))
KILLS = {
    "nftables": 500 if SOAK else 6,
    "nft": 100 if SOAK else 4,
    "legacy": 100 if SOAK else 4,
    "userspace": 30 if SOAK else 3,
}
MODES = {"nft": "iptables", "legacy": "iptables"}  # where the mode has another name
SERVICES_COUNT = 60
STEADY, STEADY_PORT = "10.244.1.7", 7
SETS = ((HERE,), (ALSO,), (HERE, ALSO))
LIFE_SECONDS = 0.6  # after the first sync, at most
HANG_SECONDS = 60.0
LEAVING = "-w 0"  # a real server that has connections yet
SLOW_RESTORE = """\
#!/bin/sh
cat > {folder}/script
echo > {folder}/begun
cat {folder}/go_on
exec /usr/sbin/iptables-nft-restore "$@" < {folder}/script
"""

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600 if SOAK else 300)]


class Churn:
    """Services whose endpoints change all the time; `now` is what each has."""

    def __init__(self, found: Bench, chance: random.Random) -> None:
        self._found, self._chance = found, chance
        self.now: dict[str, tuple[str, ...]] = {}
        self.frontends: dict[str, str] = {}

    async def make(self) -> None:
        for number in range(SERVICES_COUNT):
            name = f"s{number}"
            spec = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
            service = await self._found.client.create(
                SERVICES, {**WEB, "metadata": {"name": name, "namespace": "default"}, "spec": spec}, "default"
            )
            tree = slice_of(HERE)
            tree["metadata"] = {
                "name": name,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            }
            await self._found.client.create(ENDPOINT_SLICES, tree, "default")
            self.now[name] = (HERE,)
            self.frontends[name] = f"{service['spec']['clusterIP']}:80/tcp"

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        ended = asyncio.Event()

        async def run() -> None:
            while not ended.is_set():
                await self._change(self._chance.choice(list(self.now)))
                await asyncio.sleep(self._chance.choice((0, 0, 0.01)))

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            ended.set()
            await task

    async def _change(self, name: str) -> None:
        places = self._chance.choice(SETS)
        endpoints = slice_of(*places)["endpoints"]
        await self._found.client.patch(ENDPOINT_SLICES, name, "default", {"endpoints": endpoints}, type="merge")
        self.now[name] = places

    async def wrong(self, *sets: tuple[str, ...]) -> dict[str, str]:
        """The Services that do not answer from one of their own endpoints, or of these."""

        def ask() -> dict[str, str]:
            answers = {name: self._found.lab.ask(CLIENT, frontend) for name, frontend in self.frontends.items()}
            allowed = {name: {f"{place}:8080" for place in (*self.now[name], *sum(sets, ()))} for name in answers}
            return {name: answer for name, answer in answers.items() if answer.split()[0] not in allowed[name]}

        return await asyncio.to_thread(ask)


@contextmanager
def echo(lab: Lab, frontend: str) -> Iterator[socket.socket]:
    """A connection to the steady pod that was made now."""
    address, port = frontend.removesuffix("/tcp").split(":")
    listener = lab.machine(STEADY).inside(lambda: socket.create_server((STEADY, STEADY_PORT)))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while piece := connection.recv(100):
                connection.sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener, lab.machine(CLIENT).inside(lambda: socket.create_connection((address, int(port)))) as sock:
        sock.settimeout(HANG_SECONDS)
        yield sock
    thread.join()


def answers(sock: socket.socket, word: bytes) -> bool:
    sock.sendall(word)
    return sock.recv(100) == word


async def steady(found: Bench) -> str:
    spec = {"ports": [{"name": "echo", "port": 7}]}
    service = await found.client.create(
        SERVICES, {**WEB, "metadata": {"name": "steady", "namespace": "default"}, "spec": spec}, "default"
    )
    tree = slice_of(STEADY)
    tree["metadata"] = {"name": "steady", "namespace": "default", "labels": {"kubernetes.io/service-name": "steady"}}
    tree["ports"] = [{"name": "echo", "port": STEADY_PORT, "protocol": "TCP"}]
    await found.client.create(ENDPOINT_SLICES, tree, "default")
    return f"{service['spec']['clusterIP']}:7/tcp"


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""


async def restoring(process: Process) -> int:
    """Wait for a run of iptables-restore."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            for child in children(process.process.pid):
                if "restore" in name_of(child):
                    return child
            await asyncio.sleep(0)


async def rules(found: Bench, kind: str) -> list[str]:
    """All rules as they are printed, without counters and without an order that means nothing."""
    if kind == "nftables":
        text = await found.run("nft", "list", "ruleset")
        return sorted(re.sub(r"counter packets \d+ bytes \d+", "counter", text).split("\n"))
    if kind == "ipvs":
        commands = ["iptables-legacy-save", "ipvsadm -S -n", "ipset save -sorted", "ip -o address show dev kube-ipvs0"]
        text = "".join([await found.run(*command.split()) for command in commands])
    else:
        text = await found.run(f"iptables-{'nft' if kind == 'userspace' else kind}-save")
    text = re.sub(r"\[\d+:\d+\]|(?<=--to-destination )\S+|initval \S+|(?m:^\d+: )", "", text)
    return sorted(line for line in text.split("\n") if not line.startswith("#") and not line.endswith(LEAVING))


async def rounds(found: Bench, kind: str, chance: random.Random, kills: int) -> None:
    mode = MODES.get(kind, kind)
    lives_on = mode != "userspace"  # an established connection, for as long as it likes
    churn = Churn(found, chance)
    await churn.make()
    frontend = await steady(found)
    proxy = await found.start(mode=mode)
    with echo(found.lab, frontend) as connection:
        for number in range(kills):
            async with churn.going_on():
                if mode == "iptables" and number % 4:
                    await restoring(proxy)
                    await asyncio.sleep(chance.choice((0, 0, 0.002, 0.005, 0.01)))
                else:
                    await asyncio.sleep(chance.random() * LIFE_SECONDS)
                await proxy.end(signal.SIGKILL)
            assert not await churn.wrong(*SETS), "half a Service was left"
            assert not lives_on or answers(connection, b"after a kill")
            if number % 3 == 2:  # one that dies while it starts
                proxy = await found.launch(f"--proxy-mode={mode}")
                await proxy.said(f"Using {mode} Proxier")
                await asyncio.sleep(chance.random() * 0.1)
                await proxy.end(signal.SIGKILL)
                assert not await churn.wrong(*SETS), "half a Service was left"
            proxy = await found.start(mode=mode)
            await proxy.said("Other modes left nothing")  # after the first sync of both families
            assert not await churn.wrong(), "the first sync makes all right"
            assert not lives_on or answers(connection, b"after a sync")
    await proxy.end()
    left = await rules(found, kind)
    await (await found.launch("--cleanup")).process.wait()
    proxy = await found.start(mode=mode)
    await proxy.said("Other modes left nothing")
    assert await rules(found, kind) == left, "nothing is left of those that were killed"
    await proxy.end()


@pytest.mark.parametrize("kind", KILLS)
def test_a_proxy_is_killed_at_any_moment(tmp_path: Path, kind: str) -> None:
    async def play() -> None:
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        async with bench(tmp_path) as found:
            if kind == "legacy":  # a kubelet tells which variant this node uses
                await found.run("iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
            await rounds(found, kind, random.Random(seed), KILLS[kind])

    asyncio.run(play())


def test_a_restore_that_outlives_its_proxy_is_waited_for(tmp_path: Path) -> None:
    """Otherwise the next proxy would read the rules before it is done, and never know."""

    async def play() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            (tmp_path / "iptables-nft-restore").write_text(SLOW_RESTORE.format(folder=tmp_path))
            (tmp_path / "iptables-nft-restore").chmod(0o755)
            for name in ("begun", "go_on"):
                os.mkfifo(tmp_path / name)
            await (await found.start(mode="iptables")).end()
            await found.place(ALSO)
            slow = await found.launch("--proxy-mode=iptables", programs=tmp_path)
            await asyncio.to_thread((tmp_path / "begun").read_text)  # the kernel is tried first
            await asyncio.to_thread((tmp_path / "go_on").write_text, "")
            await asyncio.to_thread((tmp_path / "begun").read_text)
            await slow.end(signal.SIGKILL)
            await found.place(HERE)
            assert found.lab.nodes["node-1"].inside(lambda: hold(NAME)) is None
            following = asyncio.create_task(found.start(mode="iptables"))
            await asyncio.to_thread((tmp_path / "go_on").write_text, "")
            proxy = await following
            await proxy.said("Other modes left nothing")
            assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
            await proxy.end()

    asyncio.run(play())
