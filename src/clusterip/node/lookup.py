"""What the node's HTTP API may ask about containers: where they log, where they are attached to, how to enter them.

Stage: values between the agent and its server.  In: namespace, pod name, container name.  Out: frozen references.
Rules: no I/O here; a reference is a photograph, ask again after an await.  `Lookup` is implemented by the agent.
Truth: the kubelet's server asks its runtime the same questions (k8s.io/cri-api ContainerStatus, ExecRequest).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clusterip.api.meta import Tree
from clusterip.kernel.gate import Gate


class NoSuchContainer(Exception):
    """There is no such pod or container on this node; the text is for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRef:
    """One container as it is now (its newest attempt)."""

    namespace: str
    pod: str
    pod_uid: str
    name: str
    id: str  # the runtime's id; "" when the container was never created
    attempt: int  # 0, 1, 2: also the number in the log file's name
    running: bool
    pid: int | None  # the container's first process, as seen from the node
    tty: bool
    stdin: bool
    stdin_once: bool
    log_path: Path  # CRI format; may not exist yet
    previous_log_path: Path | None
    attach_socket: (
        Path | None
    )  # conmon's SOCK_SEQPACKET attach socket; the path is short enough for connect(); None for a system part
    control_fifo: Path | None  # conmon's "ctl": a line "1 <height> <width>\n" sets the size of the terminal
    runtime: Sequence[str]  # e.g. ("/usr/sbin/runc", "--root", "/run/clusterip/runc"); empty for a system part
    bundle: Path | None  # holds config.json (process: cwd, env, user); None for a system part
    exit_code: int | None = None
    gate: Gate | None = None  # the pid is one of this gate's guest


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRef:
    """One pod as it is now."""

    namespace: str
    name: str
    uid: str
    ip: str  # "" before the sandbox is there
    netns: Path | None  # where the pod's network namespace is pinned; None: the node's own
    containers: Sequence[str]


class Lookup(Protocol):
    """The agent, as its server sees it."""

    def pod(self, namespace: str, name: str, uid: str | None = None) -> PodRef:
        """The pod; raises NoSuchContainer."""
        ...

    def container(self, namespace: str, pod: str, name: str | None = None) -> ContainerRef:
        """The container; without a name the pod's only (or first) one. Raises NoSuchContainer."""
        ...

    async def ended(self, ref: ContainerRef) -> int | None:
        """Wait until this attempt of the container is over; its exit code (None when nobody knows)."""
        ...

    def pods(self) -> list[Tree]:
        """The pods of this node as API objects, for /pods."""
        ...
