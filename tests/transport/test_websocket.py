"""WebSocket frames: any cut, any size, and what a broken client is told."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.transport.websocket import (
    Decoder,
    Message,
    Opcode,
    WebSocketError,
    answer,
    choose,
    close_frame,
    frame,
    masked,
    wants,
)

MASK = b"\x01\x02\x03\x04"


def from_client(payload: bytes, opcode: int = Opcode.BINARY, *, final: bool = True) -> bytes:
    plain = frame(payload, Opcode(opcode))
    head = plain[: len(plain) - len(payload)]
    return bytes((head[0] if final else head[0] & 0x7F, head[1] | 0x80)) + head[2:] + MASK + masked(payload, MASK)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_messages_survive_any_cut(payloads: list[bytes], step: int) -> None:
    stream = b"".join(from_client(payload) for payload in payloads)
    decoder = Decoder()
    got = [message for at in range(0, len(stream), step) for message in decoder.feed(stream[at : at + step])]
    assert got == [Message(Opcode.BINARY, payload) for payload in payloads]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 200_000])
def test_every_length_form(size: int) -> None:
    assert Decoder().feed(from_client(b"x" * size)) == [Message(Opcode.BINARY, b"x" * size)]


def test_fragments_are_joined_and_control_frames_come_between() -> None:
    stream = from_client(b"a", final=False) + from_client(b"!", Opcode.PING) + from_client(b"b", Opcode.CONTINUATION)
    assert Decoder().feed(stream) == [Message(Opcode.PING, b"!"), Message(Opcode.BINARY, b"ab")]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame(b"unmasked"), 1002),
        (bytes((0x80 | 3, 0x80)) + MASK, 1002),
        (bytes((0xC2, 0x80)) + MASK, 1002),
        (from_client(b"x", Opcode.CONTINUATION), 1002),
        (from_client(b"x" * 126, Opcode.PING), 1002),
        (from_client(b"x" * 1001), 1009),
    ],
)
def test_a_broken_client_is_refused(stream: bytes, code: int) -> None:
    with pytest.raises(WebSocketError) as caught:
        Decoder(limit=1000).feed(stream)
    assert caught.value.code == code


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waits(noise: bytes) -> None:
    with contextlib.suppress(WebSocketError):
        Decoder().feed(noise)


def test_the_handshake() -> None:
    headers = {
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "v4.channel.k8s.io, v5.channel.k8s.io",
    }
    assert wants(headers)
    assert choose(headers, ("v5.channel.k8s.io", "v4.channel.k8s.io")) == "v5.channel.k8s.io"
    assert choose(headers, ("other",)) is None
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer(headers, None)  # RFC 6455 1.3
    assert close_frame(1000)[:4] == b"\x88\x02\x03\xe8"
