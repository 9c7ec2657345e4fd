"""Exec through a guest's gate: streams, exit codes, what cannot start, a gate that goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clusterip.kernel import gate
from clusterip.kernel.gate import Gate, GateError
from clusterip.node import beside
from clusterip.node import channels as remote

Answer = Callable[[dict[str, Any], asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def opened(answer: Answer, act: Callable[[Gate], Awaitable[None]]) -> None:
    """A gate that does what the test says."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await gate.read_frame(reader)
        assert request is not None
        await answer(json.loads(request.content), reader, writer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        await act(Gate("127.0.0.1", "secret", server.sockets[0].getsockname()[1]))


def test_output_comes_by_its_channel_and_then_the_code() -> None:
    asked: list[dict[str, Any]] = []

    async def answer(request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        ended = await gate.read_frame(reader)
        assert ended == (gate.END_OF_INPUT, b"")
        writer.write(gate.frame(gate.STDERR, b"oh") + gate.frame(gate.STDOUT, b"ah") + gate.frame(gate.EXIT, b"3"))

    async def act(door: Gate) -> None:
        async with beside.started(door, 42, ["uname"], {"A": "b"}, tty=False, stdin=False) as running:
            outputs = dict(running.outputs)
            assert [await outputs[remote.STDOUT](), await outputs[remote.STDERR]()] == [b"ah", b"oh"]
            assert await outputs[remote.STDOUT]() == b""
            assert await running.wait() == 3

    asyncio.run(opened(answer, act))
    assert (asked[0]["argv"], asked[0]["beside"], asked[0]["token"]) == (["uname"], 42, "secret")


def test_input_and_sizes_go_there() -> None:
    seen: list[gate.Frame] = []

    async def answer(request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert request["tty"]
        while len(seen) < 3 and (found := await gate.read_frame(reader)) is not None:
            seen.append(found)
        writer.write(gate.frame(gate.EXIT, b"0"))

    async def act(door: Gate) -> None:
        async with beside.started(door, 1, ["sh"], {}, tty=True, stdin=True) as running:
            assert [channel for channel, _ in running.outputs] == [remote.STDOUT]
            await running.write(b"typed")
            running.resize(24, 80)
            await running.end_input()
            assert await running.wait() == 0

    asyncio.run(opened(answer, act))
    assert seen == [(gate.STDIN, b"typed"), (gate.SIZE, gate.size(24, 80)), (gate.END_OF_INPUT, b"")]


def test_what_cannot_start_is_an_error() -> None:
    async def answer(_: dict[str, Any], __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(gate.json_frame(gate.ANSWER, {"error": "FileNotFoundError: no such program"}))

    async def act(door: Gate) -> None:
        async with beside.started(door, 1, ["nothing"], {}, tty=False, stdin=False) as running:
            with pytest.raises(GateError, match="no such program"):
                await running.wait()

    asyncio.run(opened(answer, act))


def test_a_guest_that_ends_ends_the_command() -> None:
    async def answer(_: dict[str, Any], __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(gate.frame(gate.STDOUT, b"so far"))

    async def act(door: Gate) -> None:
        async with beside.started(door, 1, ["sleep"], {}, tty=False, stdin=False) as running:
            read = dict(running.outputs)[remote.STDOUT]
            assert [await read(), await read()] == [b"so far", b""]
            with pytest.raises(GateError, match="the node's guest ended"):
                await running.wait()

    asyncio.run(opened(answer, act))
