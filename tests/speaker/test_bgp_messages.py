"""BGP on the wire: what is written can be read, and nothing that comes raises more than its own error."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.speaker.bgp_messages import (
    HEADER,
    MARKER,
    Fault,
    Kind,
    Malformed,
    Open,
    cut,
    message,
    read_open,
    read_prefixes,
    read_update,
    write_open,
    write_prefix,
)

OPEN = Open(4200000001, 90, IPv4Address("192.0.2.1"), frozenset({1, 2}), v6_next_hops=True, restart_seconds=120)


@pytest.mark.parametrize("said", [OPEN, Open(65000, 0, IPv4Address("192.0.2.1"), frozenset({1}))])
def test_who_speaks_is_read_as_it_was_written(said: Open) -> None:
    assert [(kind, read_open(body)) for kind, body in cut(bytearray(write_open(said)))] == [(Kind.OPEN, said)]


def test_a_message_that_is_not_whole_waits() -> None:
    octets = bytearray(write_open(OPEN))
    last = octets.pop()
    assert list(cut(octets)) == []
    octets.append(last)
    assert len(list(cut(octets))) == 1
    assert not octets


@given(st.binary(max_size=200), st.sampled_from(Kind))
def test_garbage_is_malformed_and_nothing_else(octets: bytes, kind: Kind) -> None:
    readers = {Kind.OPEN: read_open, Kind.UPDATE: read_update}
    for buffer in (bytearray(octets), bytearray(message(kind, octets)), bytearray(MARKER + octets)):
        try:
            for found, body in cut(buffer):
                readers.get(found, bytes)(body)
        except Malformed as error:
            Fault(error.code)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "10.9.0.10/32", "0.0.0.0/0", "fd00::/64", "fd00::1/128", "10.128.0.0/9"]
)
def test_a_prefix_takes_no_more_bytes_than_it_needs(text: str) -> None:
    network = ip_network(text)
    written = write_prefix(network)
    assert list(read_prefixes(written, 1 if network.version == 4 else 2)) == [network]
    assert len(written) == 1 + (network.prefixlen + 7) // 8


def test_a_message_of_other_length_says_which() -> None:
    with pytest.raises(Malformed) as raised:
        list(cut(bytearray(MARKER + (HEADER + 5).to_bytes(2, "big") + bytes((Kind.KEEPALIVE,)))))
    assert (raised.value.code, raised.value.subcode, raised.value.rest) == (Fault.HEADER, 2, b"\x00\x18")
