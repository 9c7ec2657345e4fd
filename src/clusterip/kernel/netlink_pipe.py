"""Many netlink requests in few system calls: each is refused or done by itself, and every refusal is told.

Stage: kernel.  In: calls.  Out: an errno for each (0: done); the answers of a dump.
Rules: the socket belongs to the namespace that it was opened in.  Only the last call of a piece is acknowledged, the
others speak when they fail; the kernel works a piece off before the send returns, so nothing is waited for.
Truth: netlink(7): messages of one datagram are handled in order, errors are queued to the sender.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clusterip.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    SO_RCVBUFFORCE,
    Message,
    error_of,
    message,
    messages,
)

PIECE_BYTES = 48 << 10  # below every limit of a socket's buffer
RECEIVE_BUFFER = 8 << 20
READ_BYTES = 1 << 18
ANSWER_SECONDS = 30
SOL_NETLINK, NETLINK_CAP_ACK = 270, 10


class Call(NamedTuple):
    """One request: the kind of message, flags beside "request", and what follows the header."""

    kind: int
    body: bytes
    flags: int = 0


class Pipe:
    """A netlink socket of the calling thread's network namespace."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_SECONDS, 0))
        self._socket.bind((0, 0))
        self._sequence = 0

    @property
    def port(self) -> int:
        """The number by which events tell whose change they are about."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        self._socket.close()

    def run(self, calls: Sequence[Call]) -> list[int]:
        """Make the calls in order; the errno of each, 0 for what was done."""
        found: list[int] = []
        start = size = 0
        for number, call in enumerate(calls):
            size += len(call.body) + 20
            if size >= PIECE_BYTES:
                found += self._run_piece(calls[start : number + 1])
                start, size = number + 1, 0
        return found + self._run_piece(calls[start:]) if start < len(calls) else found

    def _run_piece(self, calls: Sequence[Call]) -> list[int]:
        first = self._sequence + 1
        self._sequence += len(calls)
        numbered = enumerate(calls, first)
        self._socket.send(
            b"".join(
                message(call.kind, call.flags | (NLM_F_ACK if number == self._sequence else 0), number, call.body)
                for number, call in numbered
            )
        )
        found = [0] * len(calls)
        while True:
            for answer in messages(self._socket.recv(READ_BYTES)):
                if answer.kind == NLMSG_ERROR and first <= answer.sequence <= self._sequence:
                    found[answer.sequence - first] = error_of(answer.body)
                    if answer.sequence == self._sequence:
                        return found

    def do(self, call: Call, what: str) -> None:
        """Make one call; OSError when the kernel refuses."""
        if code := self.run((call,))[0]:
            raise OSError(code, f"{what}: {os.strerror(code)}")

    def dump(self, call: Call, what: str) -> list[Message]:
        """The answers to a question about all objects of a kind; OSError when the kernel refuses."""
        return list(self._answers(call._replace(flags=call.flags | NLM_F_DUMP), what))

    def ask(self, call: Call, what: str) -> list[Message]:
        """The answers to a question about one object."""
        return list(self._answers(call._replace(flags=call.flags | NLM_F_ACK), what))

    def _answers(self, call: Call, what: str) -> Iterator[Message]:
        self._sequence += 1
        self._socket.send(message(call.kind, call.flags, self._sequence, call.body))
        while True:
            for answer in messages(self._socket.recv(READ_BYTES)):
                if answer.sequence != self._sequence:
                    continue
                if answer.kind in (NLMSG_DONE, NLMSG_ERROR):
                    if code := error_of(answer.body):
                        raise OSError(code, f"{what}: {os.strerror(code)}")
                    return
                yield answer
