"""Netlink's bytes: what is written is read back, and a length that cannot be ends the reading."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from clusterip.kernel.netlink import NESTED, attribute, attributes, error_of, message, messages, nest, waiting
from clusterip.kernel.nft import Table
from clusterip.kernel.nft_monitor import foreign

TABLE = Table("ip", "kube-proxy")


def test_messages_of_one_datagram() -> None:
    datagram = message(16, 4, 7, b"abc") + b"\0" + message(17, 0, 8, b"")
    assert [(found.kind, found.sequence, found.port, found.body) for found in messages(datagram)] == [
        (16, 7, 0, b"abc"),
        (17, 8, 0, b""),
    ]


def test_attributes_are_padded_and_nested() -> None:
    inner = attribute(1, b"abcde") + attribute(2, b"")
    wire = nest(3, inner) + attribute(4, b"x")
    assert len(wire) % 4 == 0
    assert struct.unpack_from("=HH", wire)[1] == 3 | NESTED
    assert attributes(wire) == {3: inner, 4: b"x"}
    assert attributes(attributes(wire)[3]) == {1: b"abcde", 2: b""}


@pytest.mark.parametrize("length", [0, 3, 15])
def test_a_length_that_cannot_be_ends_the_reading(length: int) -> None:
    assert list(messages(struct.pack("=IHHII", length, 1, 0, 0, 0))) == []
    assert attributes(struct.pack("=HH", min(length, 3), 1) + attribute(2, b"x")) == {}


def test_errors_by_number() -> None:
    assert error_of(struct.pack("=i", -17)) == 17
    assert error_of(struct.pack("=i", 0)) == 0
    assert error_of(b"") == 0


@pytest.mark.parametrize(
    ("kind", "table", "port", "expected"),
    [
        ((10 << 8) | 6, "kube-proxy", 99, True),
        ((10 << 8) | 6, "kube-proxy", 5, False),  # our own
        ((10 << 8) | 6, "other", 99, False),
        ((10 << 8) | 15, "kube-proxy", 99, False),  # a generation's end
        ((1 << 8) | 6, "kube-proxy", 99, False),  # another subsystem
    ],
)
def test_whose_change_of_which_table(kind: int, table: str, port: int, expected: bool) -> None:
    body = struct.pack("=BBH", 2, 0, 0) + attribute(1, table.encode() + b"\0")
    event = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, port) + body
    assert foreign(event, TABLE, {5}) is expected


class Told(socket.socket):
    """A socket that is told what each reading brings."""

    def __init__(self, *readings: bytes | int) -> None:
        super().__init__(socket.AF_UNIX)
        self.readings = list(readings)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if not self.readings:
            raise BlockingIOError
        reading = self.readings.pop(0)
        if isinstance(reading, int):
            raise OSError(reading, "told so")
        return reading


def test_all_that_waits_is_read_and_losses_are_told() -> None:
    with Told(b"one", errno.ENOBUFS, b"two") as events:
        assert list(waiting(events, 9, "test")) == [b"one", None, b"two"]
    with Told(b"one", errno.EBADF) as broken, pytest.raises(OSError, match="test events: Bad file descriptor"):
        list(waiting(broken, 9, "test"))
