"""The channel protocol of remote commands."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.node.channels import (
    Channels,
    Ended,
    Input,
    Resized,
    Typed,
    decode,
    exited,
    failed,
    last_word,
    packed,
    unpacked,
)
from clusterip.transport.websocket import Opcode


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (b"\0ls\n", Typed(b"ls\n")),
        (b"\0", None),
        (b"", None),
        (b'\4{"Width":80,"Height":24}', Resized(24, 80)),
        (b'\4{"Width":0,"Height":0}', None),
        (b"\4not json", None),
        (b"\4[]", None),
        (b"\xff\0", Ended()),
        (b"\xff\1", None),
        (b"\7x", None),
    ],
)
def test_what_a_client_says(message: bytes, event: Input | None) -> None:
    assert decode(message) == event


def test_the_last_word() -> None:
    assert exited(0) == {"metadata": {}, "status": "Success"}
    assert exited(3)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert failed("no")["reason"] == "InternalError"


class Socket:
    """What was sent by a WebSocket."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bool]] = []

    async def send(self, payload: bytes, opcode: Opcode = Opcode.BINARY) -> None:
        self.sent.append((payload, opcode is Opcode.TEXT))

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("protocol", "sent"),
    [
        ("v5.channel.k8s.io", [(b"\1hi", False), (b'\3{"metadata": {}, "status": "Success"}', False)]),
        ("channel.k8s.io", [(b"\1hi", False)]),
        ("base64.channel.k8s.io", [(b"1aGk=", True)]),
    ],
)
def test_output_by_protocol(protocol: str, sent: list[tuple[bytes, bool]]) -> None:
    async def work() -> None:
        socket = Socket()
        client = Channels(socket, protocol)  # type: ignore[arg-type]
        await client.send(1, b"hi")
        await client.finish(exited(0))
        assert socket.sent == sent

    asyncio.run(work())


def test_messages_as_text_and_as_bytes() -> None:
    assert unpacked(b"\0ls", is_text=False) == b"\0ls"
    assert unpacked(*packed(0, b"ls", is_text=True)[:1], is_text=True) == b"\0ls"
    for nonsense in (b"", b"!"):
        assert unpacked(nonsense, is_text=True) == b""


def test_older_protocols_say_a_failure_as_text() -> None:
    assert last_word(exited(3), "channel.k8s.io") == b"command terminated with non-zero exit code: exit status 3"
