"""Transactions and dumps of netfilter's subsystems: one send makes all of it or nothing.

Stage: kernel.  In: requests.  Out: nothing, or which request was refused and why; the messages of a dump.
Rules: blocking; the socket belongs to the network namespace of the thread that makes it.  The kernel has answered
before a send returns, so nothing is waited for; a transaction must fit the socket's buffer: only root may have a larger
one than wmem_max.
Truth: linux/netfilter/nfnetlink.h, net/netfilter/nfnetlink.c (nfnetlink_rcv_batch), netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clusterip.kernel.netlink import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    attributes,
    error_of,
    message,
    messages,
    netfilter_socket,
)

SO_SNDBUFFORCE = 32
SEND_BUFFER = 1 << 29
RECEIVE_BUFFER = 1 << 26
READ_BYTES = 1 << 17
ANSWER_SECONDS = 60
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
BATCH_BEGIN, BATCH_END = 0x10, 0x11
ATTRIBUTE_TEXT, ATTRIBUTE_OFFSET = 1, 2
PREAMBLE = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource


class Request(NamedTuple):
    """One request: its kind with the subsystem, flags beside "request", the family, its attributes."""

    kind: int
    flags: int
    family: int
    body: bytes


class Refusal(OSError):
    """The kernel refused; nothing was done. `number` is which request, none when it is the transaction as a whole."""

    def __init__(self, code: int, number: int | None = None, offset: int = 0, text: str = "") -> None:
        super().__init__(code, text or os.strerror(code))
        self.number, self.offset, self.text = number, offset, text


class Nfnetlink:
    """A socket to netfilter."""

    def __init__(self) -> None:
        self._socket = netfilter_socket(RECEIVE_BUFFER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_SECONDS, 0))

    @property
    def port(self) -> int:
        """The number by which events tell whose change they are about."""
        return int(self._socket.getsockname()[0])

    def limit_transactions(self, size: int) -> None:
        """As for an ordinary user, who may have no larger buffer."""
        self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size)

    def close(self) -> None:
        self._socket.close()

    def transact(self, subsystem: int, requests: Sequence[Request]) -> None:
        """Make all of the requests, or raise Refusal with the first that was refused."""
        self._drain()
        self._socket.send(transaction(subsystem, requests))
        for answer in self._drain():
            if answer.kind == NLMSG_ERROR and (code := error_of(answer.body)):
                told = attributes(answer.body[4 + HEADER.size :])
                text = told.get(ATTRIBUTE_TEXT, b"").rstrip(b"\0").decode(errors="replace")
                offset = int.from_bytes(told.get(ATTRIBUTE_OFFSET, b""), "little")
                number = answer.sequence - 1 if 0 < answer.sequence <= len(requests) else None
                raise Refusal(code, number, offset, text)

    def _drain(self) -> list[Message]:
        """The answers that are there."""
        found: list[Message] = []
        while True:
            try:
                found += messages(self._socket.recv(READ_BYTES, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return found

    def ask(self, request: Request) -> Iterator[bytes]:
        """The bodies of what the kernel answers, without their preamble."""
        self._drain()
        self._socket.send(_message(request._replace(flags=request.flags | NLM_F_ACK), 1))
        return self._answers()

    def dump(self, request: Request) -> Iterator[bytes]:
        """The same for a question about all objects of a kind."""
        self._drain()
        self._socket.send(_message(request._replace(flags=request.flags | NLM_F_DUMP), 1))
        return self._answers()

    def _answers(self) -> Iterator[bytes]:
        while True:
            try:
                datagram = self._socket.recv(READ_BYTES)
            except BlockingIOError as error:
                raise Refusal(errno.ETIMEDOUT) from error
            for answer in messages(datagram):
                if answer.kind in (NLMSG_DONE, NLMSG_ERROR):
                    if code := error_of(answer.body):
                        raise Refusal(code)
                    return
                yield answer.body[PREAMBLE.size :]


def _message(request: Request, sequence: int) -> bytes:
    return message(request.kind, request.flags, sequence, PREAMBLE.pack(request.family, 0, 0) + request.body)


def transaction(subsystem: int, requests: Sequence[Request]) -> bytes:
    """The requests between a beginning and an end, numbered from 1."""
    resource = PREAMBLE.pack(0, 0, socket.htons(subsystem))
    parts = [message(BATCH_BEGIN, 0, 0, resource)]
    pack, preamble, size = HEADER.pack, PREAMBLE.pack, HEADER.size + PREAMBLE.size
    for number, (kind, flags, family, body) in enumerate(requests, 1):
        parts += (pack(size + len(body), kind, flags | NLM_F_REQUEST, number, 0), preamble(family, 0, 0), body)
    parts.append(message(BATCH_END, 0, len(requests) + 1, resource))
    return b"".join(parts)
