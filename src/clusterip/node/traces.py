"""What attempts of one container leave on this machine: a process, a log, layers, a control group.

Stage: shell.  In: records of attempts.  Out: handles, how an attempt ended; what an ended one holds is let go.
Rules: the log of the newest attempt outlives it, older ones go with the next; what is gone already is no error.
Truth: pkg/kubelet/kuberuntime: one log a container is kept beside the present one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterip.kernel import process, zygote
from clusterip.kernel.gate import Distant
from clusterip.kernel.mount import umount
from clusterip.node import volumes
from clusterip.node.endings import exit_reason, last_words
from clusterip.node.handle import Forked, Handle, InGuest, Monitored
from clusterip.node.model import Container, Pod
from clusterip.node.record import AttemptRecord, PodFolder, log_path
from clusterip.node.settings import Tools


@dataclass(frozen=True, slots=True)
class Traces:
    """The container's."""

    tools: Tools
    folder: PodFolder
    pod: Callable[[], Pod]
    name: str

    def log(self, attempt: int) -> Path:
        pod = self.pod()
        return log_path(self.folder.logs(pod.namespace, pod.name, pod.uid), self.name, attempt)

    def group(self, record: AttemptRecord) -> str:
        """Its control group."""
        return f"{self.tools.pod_cgroup(self.pod().uid)}/{record.id}"

    def handle(self, record: AttemptRecord) -> Handle:
        """The handle of an attempt that a former agent started."""
        first, gate = process.Process(record.pid, record.pid_start), self.tools.settings.gate
        if record.boot and gate is not None:
            return InGuest(gate, Distant(record.pid, record.pid_start, record.boot))
        if record.forked:
            child = None
            with contextlib.suppress(ProcessLookupError, OSError):
                child = zygote.adopt(first)
            return Forked(first, child)
        if self.tools.runtime is None:
            return Forked(first)
        monitor = process.Process(record.monitor_pid, record.monitor_start)
        bundle = self.folder.attempt(self.name, record.attempt)
        return Monitored(self.tools.runtime, record.id, bundle, first, monitor)

    def ending(self, container: Container, record: AttemptRecord, code: int | None) -> tuple[str, str]:
        """Why an attempt ended, and what it said last."""
        group = self.group(record) if self.tools.cgroups else ""
        reason = exit_reason(code, self.tools.cgroups, group)
        bundle = self.folder.attempt(self.name, record.attempt)
        return reason, last_words(container, bundle, self.log(record.attempt), code)

    async def forget(self, attempts: Sequence[AttemptRecord]) -> None:
        """Before a new attempt: the newest one's layers are let go, older ones' logs are deleted."""
        for newest in attempts[-1:]:
            await self.release(newest)
        for old in attempts[:-1]:
            self.log(old.attempt).unlink(missing_ok=True)

    async def release(self, record: AttemptRecord) -> None:
        """Let go what an ended attempt holds: runtime state, mounts, files."""
        if not record.forked and self.tools.runtime is not None:
            await self.tools.runtime.delete(record.id)
        elif record.forked and self.tools.cgroups is not None:
            await asyncio.to_thread(self.tools.cgroups.remove, self.group(record))
        path = self.folder.attempt(self.name, record.attempt)
        with contextlib.suppress(OSError):
            umount(path / "rootfs", lazy=True)
        await asyncio.to_thread(volumes.remove, path)
