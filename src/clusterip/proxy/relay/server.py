"""The relay: listeners as they are asked for on the control socket, and for a while after it is closed.

Stage: commit, in a process of its own.  In: requests, a line each.  Out: answers, a line each; packets.
Rules: what cannot be opened is said and leaves the rest; connections outlive the change of their listener.  When the
proxy is gone the relay goes on as it was last told, since rules lead here until another proxy has its own; it ends once
nobody comes any more and the last has left, or when a minute is over.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import socket
from collections import Counter
from collections.abc import Callable, Mapping

from clusterip.proxy.relay.choice import Choice, Sessions
from clusterip.proxy.relay.loop import INCOMING, Loop
from clusterip.proxy.relay.stream import Pipes
from clusterip.proxy.relay.table import Answer, Listener, Place, Request, parse_request, render_answer
from clusterip.proxy.relay.tcp import Room, TcpListener
from clusterip.proxy.relay.udp import Flows, UdpListener

PIECE = 1 << 20
DESCRIPTORS_APART = 64  # for the loop, the control socket, logs
QUIET_SECONDS = 5.0  # without a client, when the proxy is gone: no rule leads here any more
LONGEST_SECONDS = 60.0
logger = logging.getLogger(__name__)


class Open:
    """A listener that is open."""

    __slots__ = ("choice", "listener", "socket")

    def __init__(self, listener: Listener, choice: Choice, sock: TcpListener | UdpListener) -> None:
        self.listener, self.choice, self.socket = listener, choice, sock


class Server:
    """All listeners by name."""

    def __init__(
        self, loop: Loop, *, descriptors: int, guards: bool = True, chance: random.Random | None = None
    ) -> None:
        self._loop, self._guards, self._chance = loop, guards, chance or random.Random()
        self._pipes = Pipes()
        room = max(16, descriptors - DESCRIPTORS_APART)
        self.room = Room(room // 6)  # two sockets, and a pipe of two ends, or two
        self.flows = Flows(loop, room // 3)
        self._open: dict[str, Open] = {}
        self._sessions: dict[str, Sessions] = {}
        self._members: Counter[str] = Counter()  # of a group
        self._descriptors = room

    def apply(self, request: Request) -> Answer:
        """Make the changes; what became of them."""
        ports: dict[str, int] = {}
        failed: dict[str, str] = {}
        for name, listener in request.put.items():
            try:
                ports[name] = self._put(name, listener, request.ports)
            except OSError as error:
                failed[name] = f"{error.strerror or error}"
        for name in request.remove:
            self._remove(name)
        self._settle_room()
        return Answer(ports, failed, self.room.taken, len(self.flows))

    def _put(self, name: str, listener: Listener, ports: Mapping[str, int]) -> int:
        known = self._open.get(name)
        if known is not None and (known.listener.address, known.listener.protocol, known.listener.group) != (
            listener.address,
            listener.protocol,
            listener.group,
        ):
            self._remove(name)
            known = None
        if known is None:
            known = self._open[name] = self._opened(listener, ports.get(name, 0))
        known.listener = listener
        known.choice.update(listener.targets, listener.affinity_seconds)
        if not listener.affinity_seconds:
            self._sessions[listener.group].forget()
        if isinstance(known.socket, UdpListener):
            known.socket.settle()
        return known.socket.port

    def _opened(self, listener: Listener, port: int) -> Open:
        sessions = self._sessions.setdefault(listener.group, Sessions())
        choice = Choice(listener.targets, sessions, first=self._chance.randrange(1 << 16))
        try:
            sock = self._socket(listener, Place(listener.address, port), choice)
        except OSError:
            if not port:
                raise
            sock = self._socket(listener, Place(listener.address, 0), choice)
        self._members[listener.group] += 1
        return Open(listener, choice, sock)

    def _socket(self, listener: Listener, place: Place, choice: Choice) -> TcpListener | UdpListener:
        if listener.protocol == "udp":
            return UdpListener(self._loop, place, choice, self.flows)
        return TcpListener(self._loop, place, choice, self.room, self._pipes, guards=self._guards)

    def _remove(self, name: str) -> None:
        known = self._open.pop(name, None)
        if known is None:
            return
        known.socket.close()
        group = known.listener.group
        self._members[group] -= 1
        if not self._members[group]:
            del self._members[group]
            self._sessions.pop(group, None)

    @property
    def activity(self) -> int:
        """A number that grows while clients come, or send."""
        return self.room.entered + self.flows.used

    def _settle_room(self) -> None:
        """What listeners do not take is left for clients."""
        self.room.largest = max(16, (self._descriptors - len(self._open)) // 6)


class Control:
    """The proxy's end of the relay."""

    def __init__(
        self, loop: Loop, server: Server, sock: socket.socket, on_alone: Callable[[], None] = lambda: None
    ) -> None:
        self._loop, self._server, self._socket, self._on_alone = loop, server, sock, on_alone
        self._pending = bytearray()
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._on_ready, INCOMING)

    def _on_ready(self, events: int) -> None:
        while True:
            try:
                piece = self._socket.recv(PIECE)
            except BlockingIOError:
                return
            except OSError:
                piece = b""
            if not piece:
                self._loop.close(self._socket)
                self._on_alone()
                self._linger(self._loop.now() + LONGEST_SECONDS)
                return
            self._take(piece)

    def _linger(self, until: float, before: int = -1) -> None:
        """Go on without a proxy until nobody needs that."""
        now, activity = self._loop.now(), self._server.activity
        if now >= until or (activity == before and not self._server.room.taken):
            self._loop.stop()
        else:
            self._loop.at(min(now + QUIET_SECONDS, until), lambda: self._linger(until, activity))

    def _take(self, piece: bytes) -> None:
        self._pending += piece
        if b"\n" not in piece:
            return
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        for line in lines:
            self._answer(render_answer(self._server.apply(parse_request(line))))

    def _answer(self, line: bytes) -> None:
        """The proxy reads while it waits."""
        self._socket.setblocking(True)
        try:
            self._socket.sendall(line)
        except OSError:
            return  # the proxy is gone, which the next turn will see
        finally:
            self._socket.setblocking(False)


def raise_limit() -> int:
    """As many descriptors as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def fall_silent() -> None:
    """Let go of the proxy's log: whoever reads it waits for its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)


def serve(control: socket.socket) -> None:
    """Relay until the proxy is gone, and nobody needs the relay any more."""
    loop = Loop()
    Control(loop, Server(loop, descriptors=raise_limit()), control, fall_silent)
    loop.run()
