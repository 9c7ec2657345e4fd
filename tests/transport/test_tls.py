"""A connection's TLS state: the same bytes and the same ends as from the library's own, asked for less."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest

from clusterip.transport.certificates import client_context, new_authority, server_context
from clusterip.transport.tls import RECORD, QuickTls


class Ends:
    """A server's and a client's state, joined by memory."""

    def __init__(self) -> None:
        authority = new_authority()
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context(authority.server("server", ["127.0.0.1"]))
        self.to_server = to_server
        self.server = context.wrap_bio(to_server, to_client, server_side=True)
        self.client = client_context(authority.certificate).wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
        for _ in range(4):
            for side in (self.client, self.server):
                with_nothing(side.do_handshake)


def with_nothing(step: Callable[[], object]) -> None:
    with suppress(ssl.SSLWantReadError):
        step()


def read_all(side: ssl.SSLObject) -> bytes:
    """As loops read: until there is nothing."""
    found = b""
    while True:
        try:
            found += side.read(256 * 1024)
        except ssl.SSLWantReadError:
            return found


def test_the_listener_s_connections_are_read_the_short_way() -> None:
    assert isinstance(Ends().server, QuickTls)


def test_nothing_has_come() -> None:
    ends = Ends()
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read(1024)
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read(1024, bytearray(1024))


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 5 * RECORD + 7])
def test_all_that_was_sent_is_read_both_ways(size: int) -> None:
    ends, sent = Ends(), bytes(n % 251 for n in range(size))
    ends.client.write(sent)
    assert read_all(ends.server) == sent
    assert ends.server.write(sent) == size
    assert read_all(ends.client) == sent


def test_small_readings_leave_nothing_behind() -> None:
    ends = Ends()
    ends.client.write(b"abcdefghij")
    assert [ends.server.read(4) for _ in range(3)] == [b"abcd", b"efgh", b"ij"]
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read(4)


def test_reading_into_a_buffer() -> None:
    ends, room = Ends(), bytearray(8)
    ends.client.write(b"abc")
    count: object = ends.server.read(8, room)
    assert count == 3
    assert room[:3] == b"abc"


def test_half_a_record_is_waited_for() -> None:
    ends = Ends()
    ends.client.write(b"whole")
    raw = ends.to_server.read()
    ends.to_server.write(raw[:7])
    with pytest.raises(ssl.SSLWantReadError):
        ends.server.read(100)
    ends.to_server.write(raw[7:])
    assert ends.server.read(100) == b"whole"


def test_the_end_is_the_library_s_own() -> None:
    ends = Ends()
    ends.client.write(b"last")
    with_nothing(ends.client.unwrap)
    assert ends.server.read(100) == b"last"
    assert ends.server.read(100) == b""


def test_a_connection_that_broke_off_is_no_waiting_one() -> None:
    ends = Ends()
    ends.client.write(b"last")
    ends.to_server.write_eof()
    assert ends.server.read(100) == b"last"
    with suppress(ssl.SSLEOFError):
        assert ends.server.read(100) == b""
