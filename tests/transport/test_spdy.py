"""SPDY frames: any cut, the shared compression, and noise."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.transport.spdy import DICTIONARY, Content, Decoder, Encoder, Opened, Pinged, Reset, SpdyError

HEADERS = {"streamtype": "data", "port": "80", "requestid": "0"}


def test_the_dictionary_is_the_drafts() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.integers(1, 60), st.binary(max_size=100))
def test_any_cut_gives_the_same(step: int, content: bytes) -> None:
    encoder, decoder = Encoder(), Decoder()
    frames = (
        encoder.opened(1, HEADERS), encoder.opened(3, HEADERS), encoder.content(1, content), encoder.ping(7),
        encoder.reply(2), encoder.reset(3), encoder.content(1, b"", ended=True), encoder.opened(5, {}),
    )  # fmt: skip
    stream = b"".join(frames)
    events = [event for at in range(0, len(stream), step) for event in decoder.feed(stream[at : at + step])]
    assert events == [
        Opened(1, HEADERS), Opened(3, HEADERS), Content(1, content), Pinged(7), Reset(3),
        Content(1, b"", True), Opened(5, {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "frame",
    [
        b"\x80\x02\0\1\0\0\0\0",  # another version
        b"\x80\x03\0\1\0\0\0\x0c" + b"\0" * 12,  # headers that were never compressed
        b"\x80\x03\0\3\0\0\0\0",  # a reset of nothing
    ],
)
def test_a_broken_frame_is_said(frame: bytes) -> None:
    with pytest.raises(SpdyError):
        Decoder().feed(frame)


@given(st.binary(max_size=100))
def test_noise_is_refused_or_waits(noise: bytes) -> None:
    with contextlib.suppress(SpdyError):
        Decoder().feed(noise)
