"""Whether a peer is still there: noticed even while nothing is read from it.

Stage: edge.  In: a connection.  Out: the moment when its peer has left; an end that the peer hears at once.
Rules: nothing polls: the kernel tells of a closed or lost connection by epoll, and asks silent peers by keepalive.
A peer's last bytes still count: work on them has LAST_SECONDS to finish after the peer has left.
Truth: epoll_ctl(2) EPOLLRDHUP; tcp(7) TCP_KEEPIDLE; socket(7) SO_LINGER: a reset reaches a peer whose window is shut;
Linux sockios.h SIOCOUTQNSD.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import struct
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any

LAST_SECONDS = 5.0
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
TCP_NOTSENT_LOWAT = 25
SIOCOUTQNSD = 0x894B
GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


async def left(transport: asyncio.BaseTransport) -> None:
    """Wait until the peer has closed its connection, or lost it; the socket stays open so long."""
    if transport.is_closing():
        return
    with held(transport) as own:
        if own is not None:
            _ask_when_silent(own)
            await _gone(own)


async def _gone(own: socket.socket) -> None:
    await _event(own, GONE)


async def _event(own: socket.socket, wanted: int) -> int:
    """Wait for one of these events; those that have come."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    with select.epoll() as watch:
        watch.register(own.fileno(), wanted | select.EPOLLONESHOT)
        loop.add_reader(watch.fileno(), told.set)
        try:
            await told.wait()
        finally:
            loop.remove_reader(watch.fileno())
        return sum(events for _, events in watch.poll(0))


async def sent(transport: asyncio.WriteTransport) -> None:
    """Wait until all that was written is on its way, or the peer has left: one that pauses keeps its last bytes."""
    if transport.is_closing():
        return
    with held(transport) as own:
        if own is None or own.family not in (socket.AF_INET, socket.AF_INET6):
            return
        own.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1)  # writable when nothing waits for the peer's window
        _ask_when_silent(own)
        while not transport.is_closing() and (transport.get_write_buffer_size() or _unsent(own)):
            if await _event(own, GONE | select.EPOLLOUT) & GONE:
                return


def _unsent(own: socket.socket) -> int:
    """Bytes that the kernel has not sent yet."""
    return int(struct.unpack("i", fcntl.ioctl(own, SIOCOUTQNSD, bytes(4)))[0])


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection in order: once its last bytes are sent, a peer has LAST_SECONDS to say that it has heard.

    Over TLS both sides say goodbye; one that neither answers nor closes would be waited for much longer.
    """
    try:
        await sent(writer.transport)
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await writer.wait_closed()
    finally:
        writer.transport.abort()


async def while_there(work: Coroutine[Any, Any, None], leaving: Awaitable[None]) -> None:
    """Do what takes a peer's bytes until it is done, or the peer has left and nobody takes the rest."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(leaving)
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((working,), timeout=LAST_SECONDS)
        if working.done():
            working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def let_go(transport: asyncio.WriteTransport, hold: socket.socket | None) -> None:
    """Close a connection whose peer may take nothing any more: it has LAST_SECONDS to, then it is reset."""
    transport.close()
    if hold is None:
        return
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await _gone(hold)
    except TimeoutError:
        end_abruptly(hold)
        transport.abort()


@contextlib.contextmanager
def dropped(transport: asyncio.WriteTransport) -> Iterator[None]:
    """Who is cancelled in this block ends the connection: nobody is left to wait until its last bytes are taken."""
    try:
        yield
    except asyncio.CancelledError:
        transport.abort()
        raise


@contextlib.contextmanager
def held(transport: asyncio.BaseTransport) -> Iterator[socket.socket | None]:
    """A hold on a connection's socket, which outlives its transport; None for one that is over."""
    number = _number(transport)
    if number < 0:
        yield None
        return
    with socket.socket(fileno=os.dup(number)) as own:
        yield own


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection now: what waits is dropped, and the peer is told even where it takes no more bytes."""
    if not transport.is_closing():
        with held(transport) as own:
            if own is not None:
                end_abruptly(own)
    transport.abort()


def end_abruptly(own: socket.socket) -> None:
    """Closing it will be a reset, and the kernel keeps no trace of it."""
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _ask_when_silent(own: socket.socket) -> None:
    if own.family in (socket.AF_INET, socket.AF_INET6):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            own.setsockopt(socket.IPPROTO_TCP, option, value)


def _number(transport: asyncio.BaseTransport) -> int:
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())
