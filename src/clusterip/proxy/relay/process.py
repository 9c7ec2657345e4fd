"""The relay as the proxy sees it: a process that is started with its first listener and told what has changed.

Stage: commit.  In: listeners to put and to remove.  Out: their ports.
Rules: one request at a time, each with a clock; a relay that does not answer is ended; when whoever started it ends,
its control socket does, and the relay lingers for as long as it is needed (server.py).
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from clusterip.kernel import process as kernel_process
from clusterip.proxy.relay.table import Answer, Listener, Request, parse_answer, render_request

PACKAGES = Path(__file__).parents[3]
COMMAND = (sys.executable, "-S", "-P", "-m", "clusterip.proxy.relay")  # no packages but the standard library
ANSWER_SECONDS = 30.0
PIECE = 1 << 20


class RelayError(Exception):
    """The relay did not do what it was asked: it could not be started, has ended, or is silent."""


class Relay(Protocol):
    """Something that relays."""

    @property
    def ports(self) -> Mapping[str, int]:
        """Where each listener is, or was in the relay before: a new one takes the same ports if it can."""
        ...

    async def read(self) -> Mapping[str, Listener]:
        """The listeners that are open: none, where no relay runs."""
        ...

    async def put(self, listeners: Mapping[str, Listener]) -> Mapping[str, str]:
        """Open or change listeners; why some could not be opened. The first ones, or those after the end of a relay
        that `read` has seen, start a relay."""
        ...

    async def remove(self, names: Sequence[str]) -> None: ...

    async def ended(self) -> None:
        """Return when the relay that runs now has ended; at once when none does."""
        ...

    def is_lost(self) -> bool:
        """Whether a relay that had listeners has ended, and nobody has read since."""
        ...

    async def close(self) -> None:
        """Let go of it: it goes on as it was last told until nobody needs it."""
        ...


class _Child:
    """One running relay."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
            self.process = subprocess.Popen(COMMAND, stdin=theirs.fileno(), env=environment)
        self.control.settimeout(ANSWER_SECONDS)
        self.listeners: dict[str, Listener] = {}

    def end(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()

    def ask(self, request: Request) -> Answer:
        """Send and wait for the answer, on any thread."""
        self.control.sendall(render_request(request))
        line = bytearray()
        while not line.endswith(b"\n"):
            piece = self.control.recv(PIECE)
            if not piece:
                raise RelayError("the relay has ended")
            line += piece
        return parse_answer(bytes(line))


class ProcessRelay:
    """The relay as a process of its own, in the network namespace of the thread that starts it."""

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._ports: dict[str, int] = {}

    async def read(self) -> Mapping[str, Listener]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Mapping[str, Listener]:
        with self._lock:
            if self.is_lost():
                self._drop()
                self._child = None
            if self._child is None:
                return {}
            self._ask(Request())  # it is there when it answers
            return dict(self._child.listeners)

    def _start(self) -> None:
        try:
            self._child = _Child()
        except OSError as error:
            raise RelayError(f"cannot start the relay: {error}") from error

    async def put(self, listeners: Mapping[str, Listener]) -> Mapping[str, str]:
        return await asyncio.to_thread(self._put, listeners)

    def _put(self, listeners: Mapping[str, Listener]) -> Mapping[str, str]:
        with self._lock:
            if self._child is None:
                self._start()
            wanted = {name: self._ports[name] for name in listeners if name in self._ports}
            answer = self._ask(Request(put=listeners, ports=wanted))
            self._ports |= answer.ports
            self._listeners.update((name, listeners[name]) for name in answer.ports)
            return answer.failed

    async def remove(self, names: Sequence[str]) -> None:
        await asyncio.to_thread(self._remove, names)

    def _remove(self, names: Sequence[str]) -> None:
        with self._lock:
            self._ask(Request(remove=names))
            for name in names:
                self._listeners.pop(name, None)
                self._ports.pop(name, None)

    @property
    def ports(self) -> Mapping[str, int]:
        return self._ports

    @property
    def _listeners(self) -> dict[str, Listener]:
        assert self._child is not None
        return self._child.listeners

    def _ask(self, request: Request) -> Answer:
        if self._child is None:
            raise RelayError("no relay runs")
        try:
            return self._child.ask(request)
        except (OSError, RelayError) as error:
            self._drop()
            raise RelayError(f"the relay does not answer: {error}") from error

    def _drop(self) -> None:
        """End it; it stays known as one that was lost."""
        if self._child is not None:
            self._child.end()

    def is_lost(self) -> bool:
        return self._child is not None and self._child.process.poll() is not None

    @property
    def pid(self) -> int | None:
        """Of the relay that runs."""
        return self._child.process.pid if self._child is not None else None

    async def ended(self) -> None:
        pid = self.pid
        if pid is None or self.is_lost():
            return
        try:
            pidfd = kernel_process.pidfd_open(pid)
        except ProcessLookupError:
            return
        with kernel_process.closing_fd(pidfd):
            await kernel_process.wait_pidfd(pidfd)

    async def close(self) -> None:
        def let_go() -> None:
            with self._lock:
                if self._child is not None:
                    self._child.control.close()
                    self._child = None

        await asyncio.to_thread(let_go)
