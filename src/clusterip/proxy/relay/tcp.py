"""TCP listeners of the relay: accept, dial an endpoint, then another, and join the two.

Stage: none; the relay's data path.  Rules: a listener takes clients only while there are descriptors for them, and goes
on when one has left; whoever connects to the listener itself, past the rules that lead to it, is reset.
Truth: kpng backends/userspacelin/proxysocket.go (dial timeouts); netfilter's SO_ORIGINAL_DST.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clusterip.proxy.relay.choice import Choice
from clusterip.proxy.relay.loop import INCOMING, Loop
from clusterip.proxy.relay.stream import Pipes, Stream, will_reset
from clusterip.proxy.relay.table import Place

DIAL_SECONDS = (0.25, 0.5, 1.0, 2.0)
BACKLOG = 4096
CLIENTS_A_TURN = 32
PAUSE_SECONDS = 0.05  # of accepting, when there are no descriptors
KEEPALIVE_SECONDS = 60
SO_ORIGINAL_DST = 80
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Room:
    """How many connections there are and may be, and who waits for one to end."""

    largest: int
    taken: int = 0
    entered: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return self.taken >= self.largest

    def enter(self) -> None:
        self.taken += 1
        self.entered += 1

    def leave(self) -> None:
        self.taken -= 1
        waiting, self.waiting = self.waiting, []
        for act in waiting:
            act()


class TcpListener:
    """One listening socket."""

    def __init__(self, loop: Loop, place: Place, choice: Choice, room: Room, pipes: Pipes, *, guards: bool) -> None:
        self._loop, self._choice, self._room, self._pipes = loop, choice, room, pipes
        self._guards = guards
        self._socket = listening(place)
        self.port: int = self._socket.getsockname()[1]
        self._own = self._socket.getsockname()[:2]
        loop.watch(self._socket.fileno(), self._on_ready, INCOMING)

    def close(self) -> None:
        """Those who were let in already are served; the kernel would reset them."""
        while self._accept():
            continue
        self._loop.close(self._socket)
        self._socket = _CLOSED

    def _on_ready(self, events: int) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Take the clients that wait."""
        for _ in range(CLIENTS_A_TURN):
            if self._room.is_full:
                self._room.waiting.append(lambda: self._loop.soon(self.go_on))
                return
            if not self._accept():
                return
        self._loop.soon(self.go_on)

    def _accept(self) -> bool:
        """Take one client; whether there was one."""
        try:
            client, peer = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in EXHAUSTED:
                logger.warning("No descriptor for another client, pausing", extra={"kv": {"err": error}})
                self._loop.at(self._loop.now() + PAUSE_SECONDS, self.go_on)
            return error.errno in (errno.ECONNABORTED, errno.EINTR)
        client.setblocking(False)
        if self._guards and original(client) == self._own:
            reset(client)
            return True
        self._room.enter()
        Dial(self._loop, client, peer[0], self._choice, self._pipes, self._room.leave).start()
        return True


class Dial:
    """The way from a client that was accepted to an endpoint that answers."""

    __slots__ = ("_attempt", "_choice", "_client", "_endpoint", "_from", "_loop", "_on_end", "_pipes")

    def __init__(
        self, loop: Loop, client: socket.socket, source: str, choice: Choice, pipes: Pipes, on_end: Callable[[], None]
    ) -> None:
        self._loop, self._client, self._from = loop, client, source
        self._choice, self._pipes, self._on_end = choice, pipes, on_end
        self._endpoint: socket.socket | None = None
        self._attempt = 0

    def start(self) -> None:
        """Try the next endpoint; the client is reset when none answers."""
        while self._attempt < len(DIAL_SECONDS):
            target = self._choice.pick(self._from, self._loop.now(), again=self._attempt > 0)
            self._attempt += 1
            if target is None:
                break
            if self._dial(target):
                return
        reset(self._client)
        self._on_end()

    def _dial(self, target: Place) -> bool:
        """Begin to connect; False when that failed already."""
        try:
            endpoint = connecting(target)
        except OSError as error:
            logger.warning("Cannot open a socket to an endpoint", extra={"kv": {"endpoint": target, "err": error}})
            return False
        self._endpoint = endpoint
        self._loop.watch(endpoint.fileno(), lambda events: self._on_ready(endpoint, events))
        failed = endpoint.connect_ex(target)
        if failed not in (0, errno.EINPROGRESS):
            self._give_up()
            return False
        moment = self._loop.now() + DIAL_SECONDS[self._attempt - 1]
        self._loop.at(moment, lambda: self._on_late(endpoint))
        return True

    def _on_ready(self, endpoint: socket.socket, events: int) -> None:
        if endpoint is not self._endpoint:
            return
        if endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._give_up()
            self.start()
            return
        self._endpoint = None
        Stream(self._loop, self._client, endpoint, events, self._pipes, self._on_end)

    def _on_late(self, endpoint: socket.socket) -> None:
        if endpoint is self._endpoint:
            self._give_up()
            self.start()

    def _give_up(self) -> None:
        if self._endpoint is not None:
            self._loop.close(self._endpoint)
            self._endpoint = None


class _Closed:
    """Stands for a listener's socket that is gone: nobody waits there."""

    def accept(self) -> Any:
        raise BlockingIOError

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        return


_CLOSED: Any = _Closed()


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listening(place: Place) -> socket.socket:
    """Options that are set here are those of every client's socket too."""
    sock = socket.socket(family_of(place.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _keep_alive(sock)
        sock.bind(place)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def connecting(target: Place) -> socket.socket:
    sock = socket.socket(family_of(target.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    _keep_alive(sock)
    return sock


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)


def reset(sock: socket.socket) -> None:
    """Close by a reset."""
    will_reset(sock)
    sock.close()


def original(sock: socket.socket) -> tuple[str, int] | None:
    """Where the client had sent its first packet; None when the kernel does not know of any translation."""
    is_six = sock.family == socket.AF_INET6
    level, size = (socket.IPPROTO_IPV6, 28) if is_six else (socket.IPPROTO_IP, 16)
    try:
        raw = sock.getsockopt(level, SO_ORIGINAL_DST, size)
    except OSError:
        return None
    address = raw[8:24] if is_six else raw[4:8]
    return socket.inet_ntop(sock.family, address), int.from_bytes(raw[2:4], "big")
