"""Real containers: a busybox under runc and conmon, in namespaces of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clusterip.kernel import namespaces, netns
from clusterip.kernel.cgroup import Cgroups
from clusterip.kernel.process import Process
from clusterip.node import runtime
from clusterip.node.accounts import Account
from clusterip.node.endings import exit_reason
from clusterip.node.handle import Monitored
from clusterip.node.model import Container
from clusterip.node.ocispec import Parts, oci_config
from clusterip.node.runtime import Runtime, RuntimeRefused, Streams

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (shutil.which("runc") and shutil.which("conmon")), reason="needs runc and conmon"),
]
BUSYBOX = shutil.which("busybox") or "/bin/busybox"


@dataclass
class Bench:
    """A runtime with one root file system."""

    path: Path
    runtime: Runtime
    rootfs: Path
    group: str
    ids: list[str] = field(default_factory=list)

    async def start(self, args: Sequence[str], *, memory: int = 0, tty: bool = False) -> tuple[Monitored, Path]:
        id = os.urandom(32).hex()
        self.ids.append(id)
        bundle = self.path / id[:8]
        bundle.mkdir()
        parts = Parts(
            rootfs=str(self.rootfs),
            args=args,
            env={},
            cwd="/",
            account=Account(0, 0),
            container=Container({"name": "c", "tty": tty}),
            hostname="c",
            namespaces={"network": str(self.path / "net")},
            cgroup=f"{self.group}/{id}",
            resources={"memory": {"limit": memory}} if memory else {},
        )
        (bundle / "config.json").write_text(json.dumps(oci_config(parts)))
        created = await self.runtime.create(id, bundle, Streams(log_path=bundle / "log", tty=tty))
        await self.runtime.start(id)
        return Monitored(self.runtime, id, bundle, created.first, created.monitor), bundle


@asynccontextmanager
async def benched(path: Path) -> AsyncIterator[Bench]:
    rootfs, group = path / "rootfs", f"/clusterip-test-{os.urandom(4).hex()}"
    (rootfs / "bin").mkdir(parents=True)
    for name in ("busybox", "sh", "sleep", "echo", "dd", "false"):
        shutil.copy(BUSYBOX, rootfs / "bin" / name)
    for name in ("proc", "dev", "sys"):
        (rootfs / name).mkdir()
    fd = namespaces.create(["net"])["net"]
    netns.pin(fd, path / "net")
    os.close(fd)
    tool = Runtime(runtime.find() or "", shutil.which("conmon") or "", path / "state", path / "attach")
    bench = Bench(path, tool, rootfs, group)
    try:
        yield bench
    finally:
        for id in bench.ids:
            await tool.delete(id)
        netns.unpin(path / "net")
        await asyncio.to_thread(Cgroups().remove, group, kill=True)


def words(bundle: Path) -> list[str]:
    """The log without its times."""
    return [line.split(" ", 1)[1] for line in (bundle / "log").read_text().splitlines()]


def test_output_and_exit_code(tmp_path: Path) -> None:
    async def body() -> None:
        async with benched(tmp_path) as bench:
            handle, bundle = await bench.start(["sh", "-c", "echo out; echo err >&2; exit 7"])
            async with asyncio.timeout(90):
                assert await handle.wait() == 7
            assert sorted(words(bundle)) == ["stderr F err", "stdout F out"]

    asyncio.run(body())


def test_a_signal_ends_it_and_an_adopted_handle_sees_the_end(tmp_path: Path) -> None:
    async def body() -> None:
        async with benched(tmp_path) as bench:
            handle, bundle = await bench.start(["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"])
            code, output = await handle.execute(["echo", "inside"], 10)
            assert (code, output) == (0, b"inside\n")
            code, _ = await handle.execute(["sleep", "777"], 0.5)
            assert code is None
            assert b"777" not in (await handle.execute(["busybox", "ps"], 10))[1]
            assert handle.signal(signal.SIGTERM)
            async with asyncio.timeout(90):
                assert await handle.wait() == 3
            adopted = Monitored(bench.runtime, bench.ids[0], bundle, Process(1 << 22, 1), Process(1 << 22, 1))
            assert await adopted.wait() == 3
            assert not handle.signal(signal.SIGTERM)

    asyncio.run(body())


def test_memory_has_an_end(tmp_path: Path) -> None:
    async def body() -> None:
        async with benched(tmp_path) as bench:
            line = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
            handle, _ = await bench.start(line, memory=16 << 20)
            async with asyncio.timeout(90):
                code = await handle.wait()
            assert code == 137
            assert exit_reason(code, Cgroups(), f"{bench.group}/{bench.ids[0]}") == "OOMKilled"

    asyncio.run(body())


def test_a_command_that_does_not_exist_is_refused_in_the_runtimes_words(tmp_path: Path) -> None:
    async def body() -> None:
        async with benched(tmp_path) as bench:
            with pytest.raises(RuntimeRefused, match='exec: "nope": executable file not found in \\$PATH'):
                await bench.start(["nope"])

    asyncio.run(body())


def test_a_command_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    """A hook of a pod that is gone, an agent that ends: nothing is left in the container."""

    async def listed(handle: Monitored, wanted: bool) -> None:
        async with asyncio.timeout(60):
            while (b"888" in (await handle.execute(["busybox", "ps"], 30))[1]) is not wanted:  # noqa: ASYNC110 - it begins, it ends
                await asyncio.sleep(0.02)

    async def body() -> None:
        async with benched(tmp_path) as bench:
            handle, _ = await bench.start(["sleep", "1000"])
            waiting = asyncio.ensure_future(handle.execute(["sleep", "888"], 1000))
            await listed(handle, True)
            waiting.cancel()
            await listed(handle, False)

    asyncio.run(body())


def test_a_late_command_is_given_up() -> None:
    code, _ = asyncio.run(runtime.run(["sleep", "10"], 0.05))
    assert code is None
    assert asyncio.run(runtime.run(["/no/such/program"], 1))[0] == 127
