"""Remote commands over SPDY: streams opened, typed into, resized; the last word by protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from clusterip.node import channels
from clusterip.node.channels import exited
from clusterip.node.spdychannels import SpdyChannels
from node.spdywire import Wire

ALL = frozenset({channels.STDIN, channels.STDOUT, channels.STDERR, channels.ERROR})
KINDS = ("error", "stdin", "stdout", "stderr", "resize")  # streams 1, 3, 5, 7, 9


@dataclass
class Told:
    """A command's input."""

    typed: bytes = b""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False

    async def write(self, content: bytes) -> None:
        self.typed += content

    async def end_input(self) -> None:
        self.ended = True

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))


def opened(wire: Wire, *kinds: str) -> None:
    for number, kind in enumerate(kinds):
        wire.typed.put_nowait(wire.encoder.opened(2 * number + 1, {"streamtype": kind}))


def test_input_output_and_the_end() -> None:
    async def work() -> None:
        wire, told = Wire(), Told()
        client = SpdyChannels(wire, "v4.channel.k8s.io")
        opened(wire, *KINDS, "nonsense")
        wire.type(3, b"hello ")
        assert await client.opened(ALL)
        wire.type(3, b"world", ended=True)
        wire.type(9, b'{"Width":80,"Height":24}\n{"Width":90,"Height":30}\n')
        wire.typed.put_nowait(wire.encoder.ping(1))
        wire.typed.put_nowait(b"")  # the client leaves
        await client.run_input(told)
        assert told == Told(b"hello world", [(24, 80), (30, 90)], ended=True)
        await client.send(channels.STDOUT, b"out")
        await client.send(channels.STDERR, b"err")
        await client.finish(exited(0))
        assert wire.got == {5: b"out", 7: b"err", 1: b'{"metadata": {}, "status": "Success"}'}
        assert (wire.ended, wire.reset, wire.pings) == ({1, 5, 7}, {11}, [1])

    asyncio.run(work())


@pytest.mark.parametrize(
    ("protocol", "code", "word"),
    [
        ("v3.channel.k8s.io", 0, b""),
        ("v3.channel.k8s.io", 3, b"command terminated with non-zero exit code: exit status 3"),
        ("", 3, b"command terminated with non-zero exit code: exit status 3"),
    ],
)
def test_older_protocols_have_only_the_text_of_a_failure(protocol: str, code: int, word: bytes) -> None:
    async def work() -> None:
        wire = Wire()
        client = SpdyChannels(wire, protocol)
        opened(wire, "error", "stdout")
        assert await client.opened(frozenset({channels.ERROR, channels.STDOUT}))
        await client.finish(exited(code))
        assert wire.got.get(1, b"") == word
        assert wire.ended == {1, 3}

    asyncio.run(work())


@pytest.mark.parametrize("last", [b"", b"garbage that is no frame at all"])
def test_a_client_that_leaves_or_breaks_the_protocol_before_all_streams_are_there(last: bytes) -> None:
    async def work() -> None:
        wire = Wire()
        opened(wire, "error")
        wire.typed.put_nowait(last)
        wire.typed.put_nowait(b"")
        assert not await SpdyChannels(wire, "v4.channel.k8s.io").opened(ALL)

    asyncio.run(work())
