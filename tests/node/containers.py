"""Real containers for what enters them: runc under conmon, busybox inside, an agent that knows this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from clusterip.kernel.inotify import APPEARED, WRITTEN, Inotify
from clusterip.node.lookup import ContainerRef, NoSuchContainer, PodRef
from clusterip.node.runtime import Runtime, Streams, exit_code

RUNC, CONMON, BUSYBOX = shutil.which("runc"), shutil.which("conmon"), shutil.which("busybox")
APPLETS = (
    "sh",
    "cat",
    "echo",
    "sleep",
    "stty",
    "printf",
    "seq",
    "head",
    "wc",
    "true",
    "env",
    "id",
    "kill",
    "dd",
    "tr",
    "tar",
    "ls",
    "mkdir",
    "rm",
)


@dataclass
class FakeAgent:
    """The agent's side of `Lookup`, for one container that this test runs."""

    ref: ContainerRef
    bundle: Path
    over: asyncio.Event = field(default_factory=asyncio.Event)
    trees: list[dict[str, Any]] = field(default_factory=list)

    def pod(self, namespace: str, name: str, uid: str | None = None) -> PodRef:
        if name != self.ref.pod:
            raise NoSuchContainer(f'pod "{name}" not found')
        return PodRef(namespace=namespace, name=name, uid="u", ip="", netns=None, containers=("c",))

    def container(self, namespace: str, pod: str, name: str | None = None) -> ContainerRef:
        if pod != self.ref.pod:
            raise NoSuchContainer(f'pod "{pod}" not found')
        return replace(self.ref, running=exit_code(self.bundle, self.ref.id) is None)

    async def ended(self, ref: ContainerRef) -> int | None:
        assert ref.pid is not None
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(ref.pid)
            loop = asyncio.get_running_loop()
            gone = asyncio.Event()
            loop.add_reader(fd, gone.set)
            await gone.wait()
            loop.remove_reader(fd)
            os.close(fd)
        with Inotify() as inotify:  # conmon writes the file when the output is drained
            inotify.watch(self.bundle / "exits", APPEARED | WRITTEN)
            while exit_code(self.bundle, ref.id) is None:
                await inotify.wait()
        return exit_code(self.bundle, ref.id)

    def pods(self) -> list[dict[str, Any]]:
        return self.trees


def specification(root: Path, command: list[str], *, tty: bool) -> dict[str, Any]:
    """The smallest bundle that runs here: namespaces, /proc, /dev; no cgroup limits."""
    subprocess.run([str(RUNC), "spec", "--bundle", str(root.parent)], check=True, capture_output=True)
    spec = json.loads((root.parent / "config.json").read_bytes())
    spec["process"].update(args=command, terminal=tty)
    spec["process"]["env"] = ["PATH=/bin", "WHO=container"]
    spec["root"] = {"path": str(root), "readonly": False}
    return dict(spec)


@contextlib.asynccontextmanager
async def container(
    folder: Path, *command: str, tty: bool = False, stdin: bool = False, once: bool = False
) -> AsyncIterator[FakeAgent]:
    """A running container and its agent."""
    bundle = folder / "bundle"
    root = bundle / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(str(BUSYBOX), root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (bundle / "config.json").write_text(json.dumps(specification(root, list(command), tty=tty)))
    id = f"n2t{uuid4().hex[:12]}"
    runtime = Runtime(str(RUNC), str(CONMON), folder / "state", folder / "s")
    streams = Streams(log_path=folder / "0.log", tty=tty, stdin=stdin, stdin_once=once)
    created = await runtime.create(id, bundle, streams)
    try:
        await runtime.start(id)
        yield FakeAgent(
            ContainerRef(
                namespace="default", pod="web", pod_uid="u", name="c", id=id, attempt=0, running=True,
                pid=created.first.pid, tty=tty, stdin=stdin, stdin_once=once, log_path=folder / "0.log",
                previous_log_path=None, attach_socket=runtime.attach_socket(id), control_fifo=bundle / "ctl",
                runtime=runtime.command, bundle=bundle,
            ),
            bundle,
        )  # fmt: skip
    finally:
        await runtime.delete(id)
        created.monitor.kill(signal.SIGKILL)
