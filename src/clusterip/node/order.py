"""An attempt of a container that is to begin, as values: what was asked for, and with what it is equipped.

Stage: plan.  In: pod, container, image.  Out: an order, equipped with image, environment and mounts; or Refused.
Truth: pkg/kubelet/kuberuntime: waiting reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from clusterip.kernel import process
from clusterip.node.environment import Surroundings
from clusterip.node.images import Image
from clusterip.node.model import Container, Pod
from clusterip.node.ocispec import BindMount
from clusterip.node.record import AttemptRecord, PodFolder, log_path


class Refused(Exception):
    """The attempt could not begin. With created, the runtime made it and it counts as an attempt that failed."""

    def __init__(self, reason: str, message: str, *, created: AttemptRecord | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.created = reason, message, created


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt that is to begin."""

    pod: Pod
    container: Container
    attempt: int
    around: Surroundings
    folder: PodFolder
    beside: int = 0
    """The process whose processes it is to see; 0: none but its own."""

    @property
    def path(self) -> Path:
        return self.folder.attempt(self.container.name, self.attempt)

    @property
    def log(self) -> Path:
        pod = self.pod
        return log_path(self.folder.logs(pod.namespace, pod.name, pod.uid), self.container.name, self.attempt)


@dataclass(frozen=True, slots=True)
class Equipped:
    """An order with all that it takes to begin."""

    order: Order
    image: Image
    variables: Mapping[str, str]
    binds: list[BindMount]


def with_pids(record: AttemptRecord, first: process.Process, monitor: process.Process) -> AttemptRecord:
    """The record of an attempt that runs."""
    return msgspec.structs.replace(
        record, pid=first.pid, pid_start=first.started, monitor_pid=monitor.pid, monitor_start=monitor.started
    )
