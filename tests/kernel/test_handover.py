"""Sockets that are handed to the loop while the caller is cancelled, under the loop that the product runs on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket

import uvloop

from clusterip.kernel.handover import handed_over

TURNS = 6
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def closed(fd: int) -> bool:
    try:
        os.close(fd)
    except OSError:
        return False
    return True


def aborted(streams: Streams) -> None:
    streams[1].transport.abort()


async def given_up(turns: int) -> tuple[bytes, int]:
    """Cancelled after some turns: what the other side reads then, and how many files of others went."""
    ours, theirs = socket.socketpair()
    task = asyncio.ensure_future(handed_over(asyncio.open_connection(sock=ours), aborted))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        aborted(await task)
    del task
    for _ in range(3):
        await asyncio.sleep(0)
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    del ours  # the last that knows the socket
    gc.collect()
    theirs.settimeout(30)
    try:
        return theirs.recv(1), sum(not closed(fd) for fd in others)
    finally:
        theirs.close()


def test_who_is_cancelled_ends_the_connection_and_closes_nobody_elses_file() -> None:
    async def play() -> list[tuple[bytes, int]]:
        return [await given_up(1 + turn % TURNS) for turn in range(8 * TURNS)]

    assert uvloop.run(play()) == [(b"", 0)] * (8 * TURNS)


def test_the_streams_are_those_of_the_socket() -> None:
    async def play() -> bytes:
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await handed_over(asyncio.open_connection(sock=ours), aborted)
            writer.write(b"hello")
            await writer.drain()
            writer.close()
            return await asyncio.to_thread(theirs.recv, 5)

    assert uvloop.run(play()) == b"hello"
