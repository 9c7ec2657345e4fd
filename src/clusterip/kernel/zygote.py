"""Ask the zygote for a process that runs a part of clusterip at once, its imports long done.

Stage: kernel (client side; the server is cluster/zygote.py).  In: a `Spawn` and descriptors.  Out: a `Child`.
Rules: one SOCK_SEQPACKET connection per child: one request with its descriptors, one answer with the pid and a pidfd,
one with the exit code when the child ends.  The child outlives both the requester and the zygote.
Truth: this file is the protocol; unix(7) on SCM_RIGHTS.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from clusterip.kernel import process
from clusterip.kernel.unixsocket import socket_address

T = TypeVar("T")

MESSAGE_SIZE = 1 << 18
MOST_FDS = 64
ANSWER_SECONDS = 15.0
BUSY_SECONDS = 0.005
LISTENERS_VARIABLE = "CLUSTERIP_LISTEN_FDS"
LISTENER_PREFIX = "listen:"


class ZygoteError(OSError):
    """The zygote is not there, or refused."""


@dataclass(frozen=True, kw_only=True)
class Spawn:
    """What the child is to be.

    argv is what `clusterip.main.main` gets; with execute it is a program to become instead.  env is the whole
    environment.  cgroup_procs are files to which the child writes itself before it enters its namespaces.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cgroup_procs: tuple[str, ...] = ()
    execute: bool = False

    def to_wire(self, fds: list[str]) -> bytes:
        return json.dumps({**asdict(self), "fds": fds}).encode()

    @classmethod
    def from_wire(cls, raw: bytes) -> tuple[Spawn, list[str]]:
        """The request and what each descriptor is for."""
        tree: dict[str, Any] = json.loads(raw)
        fds = tree.pop("fds")
        tree["argv"], tree["cgroup_procs"] = tuple(tree["argv"]), tuple(tree["cgroup_procs"])
        return cls(**tree), fds


class Child:
    """A spawned process: its pid, its pidfd, and its end."""

    def __init__(self, pid: int, pidfd: int, started: int, connection: socket.socket | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.started = started
        self._connection = connection
        self._code: int | None = None
        self._ended = False

    @property
    def process(self) -> process.Process:
        return process.Process(self.pid, self.started)

    async def wait(self) -> int | None:
        """The exit code (128 + n after signal n); None when the zygote died and nobody knows.  One waiter."""
        if self._ended:
            return self._code
        if self._connection is not None:
            answer = await _receive(self._connection, lambda sock: sock.recv(MESSAGE_SIZE))
            self._code = json.loads(answer)["exit"] if answer else None
        await process.wait_pidfd(self.pidfd)
        self._ended = True
        return self._code

    def kill(self, sig: int) -> bool:
        """Send a signal; whether the process was there."""
        return self.process.kill(sig)

    def close(self) -> None:
        """Let go of the process; it lives on if it still runs."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def adopt(found: process.Process) -> Child:
    """A process that somebody else asked for: its end can be awaited, its exit code stays unknown."""
    return Child(found.pid, process.pidfd_open(found.pid, found.started), found.started, None)


async def _receive(connection: socket.socket, read: Callable[[socket.socket], T]) -> T:
    """What read returns once the connection has something to say."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection.fileno())
    return read(connection)


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    connection.setblocking(False)
    try:
        with socket_address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connected(path: str) -> socket.socket:
    """A connection; waits while the zygote's queue is full."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            try:
                return _connect(path)
            except BlockingIOError:
                await asyncio.sleep(BUSY_SECONDS)
            except OSError as error:
                raise ZygoteError(error.errno, f"zygote at {path}: {error.strerror}") from error


async def spawn(
    socket_path: str,
    request: Spawn,
    *,
    net: int | None = None,
    mnt: int | None = None,
    uts: int | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    listeners: Mapping[str, int] | None = None,
) -> Child:
    """Have the zygote fork the child; it enters the namespaces given, and gets the listeners as open files
    named in CLUSTERIP_LISTEN_FDS ("name=fd,...").  Without stderr it shares stdout; without both, the zygote's log."""
    streams = {"mnt": mnt, "uts": uts, "net": net, "stdin": stdin, "stdout": stdout, "stderr": stderr}
    wanted = {name: fd for name, fd in streams.items() if fd is not None}
    wanted |= {LISTENER_PREFIX + name: fd for name, fd in (listeners or {}).items()}
    connection = await _connected(socket_path)
    try:
        socket.send_fds(connection, [request.to_wire(list(wanted))], list(wanted.values()))
        async with asyncio.timeout(ANSWER_SECONDS):
            raw, fds, _, _ = await _receive(connection, lambda sock: socket.recv_fds(sock, MESSAGE_SIZE, MOST_FDS))
        answer: dict[str, Any] = json.loads(raw) if raw else {"error": "it ended"}
        if "error" in answer:
            raise ZygoteError(0, f"zygote cannot start {request.name}: {answer['error']}")
    except BaseException:
        connection.close()
        raise
    return Child(answer["pid"], fds[0], answer["started"], connection)


def inherited_listeners() -> dict[str, socket.socket]:
    """The listening sockets that this process was given, by name."""
    text = os.environ.get(LISTENERS_VARIABLE, "")
    pairs = (item.partition("=") for item in text.split(",") if item)
    return {name: socket.socket(fileno=int(fd)) for name, _, fd in pairs}
