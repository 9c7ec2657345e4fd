"""BFD packets as bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.speaker.bfd_packets import Dropped, Packet, State, read, write

# RFC 5880 4.1: version 1, no diagnostic; state UP, poll; multiplier 3; 24 bytes
GOLDEN = "20e003180000000100000002000493e0000493e000000000"


def test_a_packet_is_what_the_rfc_draws() -> None:
    said = Packet(State.UP, 1, 2, 0, 3, 300_000, 300_000, poll=True)
    assert write(said).hex() == GOLDEN
    assert read(bytes.fromhex(GOLDEN)) == said


NUMBER = st.integers(0, 2**32 - 1)


@given(
    st.builds(
        Packet, st.sampled_from((State.DOWN, State.ADMIN_DOWN)), NUMBER.filter(bool), NUMBER, st.integers(0, 31),
        st.integers(1, 255), NUMBER, NUMBER, NUMBER, st.booleans(), st.booleans(), st.booleans(),
    )
)  # fmt: skip
def test_what_is_written_is_read(said: Packet) -> None:
    assert read(write(said)) == said


@given(st.binary(max_size=60))
def test_whatever_comes_is_a_packet_or_dropped(octets: bytes) -> None:
    with contextlib.suppress(Dropped):
        assert write(read(octets))[:1] == octets[:1]


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, 0x00, "version 0"),
        (3, 23, "a length"),
        (3, 25, "a length"),
        (1, 0xC4, "authenticated"),
        (1, 0xC1, "for many"),
        (2, 0, "no multiplier"),
        (7, 0, "no discriminator"),
        (11, 0, "for nobody, in state UP"),
    ],
)
def test_what_does_not_concern_a_session_is_dropped(at: int, value: int, why: str) -> None:
    octets = bytearray.fromhex(GOLDEN)
    octets[at] = value
    with pytest.raises(Dropped, match=why):
        read(bytes(octets))
