"""One TCP connection through the relay: two directions, each bytes from one socket through a pipe into the other.

Stage: none; the relay's data path.  Rules: bytes never enter this process (splice moves them in the kernel); a
direction takes no more than its pipe holds, so a slow reader slows its writer; an end of one direction is handed on and
leaves the other open; a reset is handed on as a reset.
Truth: splice(2), pipe(7), tcp(7).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable

from clusterip.proxy.relay.loop import ERROR, HANG_UP, OUT, Loop

PIPE_BYTES = 256 * 1024
TURN_BYTES = 4 * PIPE_BYTES  # of one direction before others have their turn
PIPES_KEPT = 64
FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


class Pipes:
    """Empty pipes, lent to directions while they hold bytes."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int]] = []
        self._waiting: list[Callable[[], None]] = []

    def take(self) -> tuple[int, int] | None:
        """A pipe; None when the machine has no descriptors left for one."""
        if self._kept:
            return self._kept.pop()
        try:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with contextlib.suppress(OSError):  # an ordinary user's pipes may be limited: a small one does
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return pipe

    def wait(self, act: Callable[[], None]) -> None:
        """Call when a pipe has come back."""
        self._waiting.append(act)

    def give_back(self, pipe: tuple[int, int], *, is_empty: bool) -> None:
        if is_empty and len(self._kept) < PIPES_KEPT:
            self._kept.append(pipe)
        else:
            self._close(pipe)
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()

    def close(self) -> None:
        for pipe in self._kept:
            self._close(pipe)
        self._kept.clear()

    @staticmethod
    def _close(pipe: tuple[int, int]) -> None:
        os.close(pipe[0])
        os.close(pipe[1])


class Direction:
    """Bytes from one socket to the other."""

    __slots__ = ("_pipe", "_pipes", "done", "ended", "held", "readable", "sink", "source", "starved", "writable")

    def __init__(self, source: socket.socket, sink: socket.socket, pipes: Pipes) -> None:
        self.source, self.sink = source, sink
        self.readable, self.writable = False, True  # as long as nobody says otherwise
        self.ended = False  # the source said its last
        self.done = False  # and the sink was told
        self.starved = False  # no pipe to be had
        self.held = 0  # bytes in the pipe
        self._pipe: tuple[int, int] | None = None
        self._pipes = pipes

    def pump(self) -> bool:
        """Move what can be moved; whether there may be more at once. OSError when either socket is broken."""
        left = TURN_BYTES
        while left > 0:
            before = left
            if self.readable and not self.ended and self.held < PIPE_BYTES:
                self._fill()
            if self.held and self.writable:
                left -= self._drain()
            if left == before:
                break
        if not self.held:
            self._release()
            if self.ended and not self.done:
                self.done = True
                self.sink.shutdown(socket.SHUT_WR)
        return left <= 0

    def _fill(self) -> None:
        if self._pipe is None:
            self._pipe = self._pipes.take()
            self.starved = self._pipe is None
            if self._pipe is None:
                return
        try:
            moved = os.splice(self.source.fileno(), self._pipe[1], PIPE_BYTES, flags=FLAGS)
        except BlockingIOError:
            # with bytes in the pipe it may be the pipe that is full: the source is asked again when they have left
            self.readable = self.readable and bool(self.held)
            return
        self.ended = not moved
        self.held += moved

    def _drain(self) -> int:
        assert self._pipe is not None
        try:
            moved = os.splice(self._pipe[0], self.sink.fileno(), self.held, flags=FLAGS)
        except BlockingIOError:
            self.writable = False
            return 0
        self.held -= moved
        return moved

    def _release(self) -> None:
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            self._pipes.give_back(pipe, is_empty=not self.held)

    def abandon(self) -> None:
        """The connection is over: bytes on their way are lost."""
        self._release()


class Stream:
    """A client and its endpoint, joined."""

    __slots__ = ("_back", "_client", "_endpoint", "_forth", "_loop", "_on_end", "_over", "_pipes")

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        endpoint: socket.socket,
        events: int,
        pipes: Pipes,
        on_end: Callable[[], None],
    ) -> None:
        """The endpoint's socket is watched already and has had these events, the client's is not."""
        self._loop, self._client, self._endpoint = loop, client, endpoint
        self._pipes, self._on_end, self._over = pipes, on_end, False
        self._forth = Direction(client, endpoint, pipes)
        self._back = Direction(endpoint, client, pipes)
        loop.hand_over(endpoint.fileno(), self._on_endpoint)
        loop.watch(client.fileno(), self._on_client)
        if events & ~OUT:
            self._on_endpoint(events)

    def _on_client(self, events: int) -> None:
        self._told(events, self._forth, self._back)

    def _on_endpoint(self, events: int) -> None:
        self._told(events, self._back, self._forth)

    def _told(self, events: int, outgoing: Direction, incoming: Direction) -> None:
        """News of one socket: it is the source of one direction and the sink of the other."""
        if events & ERROR:
            self._broken(outgoing)
            return
        if events & ~OUT:  # bytes, an end, or both sides gone
            outgoing.readable = True
        if events & (OUT | HANG_UP):
            incoming.writable = True
        self.pump()

    def _broken(self, outgoing: Direction) -> None:
        """A reset overtakes nothing: what its sender said before is handed on first."""
        outgoing.readable = True
        with contextlib.suppress(OSError):
            outgoing.pump()
        self.abort()

    def pump(self) -> None:
        """Both directions, as far as they go now."""
        if self._over:
            return
        try:
            more = self._forth.pump()
            more |= self._back.pump()
        except OSError as error:
            self._fail(error)
            return
        if self._forth.done and self._back.done:
            self._end()
        elif more:
            self._loop.soon(self.pump)
        elif self._forth.starved or self._back.starved:
            self._pipes.wait(lambda: self._loop.soon(self.pump))

    def _fail(self, error: OSError) -> None:
        """A shutdown of a socket that is gone already is no loss when all was said."""
        if error.errno == errno.ENOTCONN and self._forth.ended and self._back.ended:
            self._end()
        else:
            self.abort()

    def abort(self) -> None:
        """Tell both sides by a reset."""
        for side in (self._client, self._endpoint):
            will_reset(side)
        self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._forth.abandon()
        self._back.abandon()
        self._loop.close(self._client)
        self._loop.close(self._endpoint)
        self._on_end()


def will_reset(sock: socket.socket) -> None:
    """Closing it will be a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
