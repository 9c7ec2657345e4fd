"""A peer's departure, over real connections whose bytes nobody reads."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from clusterip.transport import departure
from clusterip.transport.certificates import new_authority, server_context

CLOCK = 30
Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda work: request.param(asyncio.wait_for(work, CLOCK))


async def pair() -> tuple[asyncio.StreamWriter, asyncio.StreamWriter]:
    """Both ends of a connection; what comes to the first is not read."""
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        accepted.set_result(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    _, far = await asyncio.open_connection(*server.sockets[0].getsockname())
    near = await accepted
    server.close()
    return near, far


def test_a_peer_that_closes_behind_unread_bytes(run: Run) -> None:
    async def work() -> None:
        near, far = await pair()
        leaving = asyncio.ensure_future(departure.left(near.transport))
        far.write(b"x" * 1000)
        await far.drain()
        assert not leaving.done()
        far.close()
        await leaving
        near.close()
        await departure.left(near.transport)

    run(work())


def test_a_reset_reaches_a_peer_that_takes_nothing(run: Run) -> None:
    async def work() -> None:
        near, far = await pair()
        leaving = asyncio.ensure_future(departure.left(near.transport))
        far.write(bytes(50_000_000))  # far more than the kernel takes: an orderly end would wait behind it
        departure.reset(far.transport)
        await leaving
        near.close()

    run(work())


def test_work_goes_on_while_the_peer_is_there(run: Run) -> None:
    async def work() -> None:
        done: list[int] = []

        async def pass_on() -> None:
            await asyncio.sleep(0)
            done.append(1)

        await departure.while_there(pass_on(), asyncio.Event().wait())  # type: ignore[arg-type]
        assert done == [1]

    run(work())


def test_work_that_nobody_takes_ends_with_the_peer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "LAST_SECONDS", 0.01)

    async def work() -> None:
        ended = asyncio.Event()

        async def stuck() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await departure.while_there(stuck(), asyncio.sleep(0))
        assert ended.is_set()

    run(work())


def test_a_failure_of_the_work_is_told(run: Run) -> None:
    async def fail() -> None:
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        run(departure.while_there(fail(), asyncio.Event().wait()))  # type: ignore[arg-type]


def test_a_peer_that_pauses_keeps_its_last_bytes(run: Run) -> None:
    async def work() -> None:
        near, far = await pair()
        content = bytes(20_000_000)  # far more than the kernel takes
        near.write(content)
        sending = asyncio.ensure_future(departure.sent(near.transport))
        reader: asyncio.StreamReader = far.transport.get_protocol()._stream_reader  # type: ignore[attr-defined]
        heard = len(await reader.readexactly(1_000_000))
        assert not sending.done()
        closing = asyncio.ensure_future(departure.close(near))
        while piece := await reader.read(1_000_000):
            heard += len(piece)
        assert heard == len(content)
        await sending
        far.close()
        await closing

    run(work())


def test_a_peer_that_leaves_behind_bytes_is_not_waited_for(run: Run) -> None:
    async def work() -> None:
        near, far = await pair()
        near.write(bytes(20_000_000))
        sending = asyncio.ensure_future(departure.sent(near.transport))
        far.transport.abort()
        await sending
        near.transport.abort()

    run(work())


def test_a_peer_that_does_not_say_goodbye_is_let_go(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "LAST_SECONDS", 0.01)
    authority = new_authority()
    trust = ssl.create_default_context(cadata=authority.certificate.decode())

    async def work() -> None:
        closed = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"last")
            await departure.close(writer)
            closed.set()

        context = server_context(authority.server("x", ["127.0.0.1"]), authority.certificate)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        with await asyncio.to_thread(socket.create_connection, server.sockets[0].getsockname()) as plain:
            silent = await asyncio.to_thread(trust.wrap_socket, plain, server_hostname="127.0.0.1")
            await closed.wait()  # the client neither reads nor closes
            assert await asyncio.to_thread(silent.recv, 10) == b"last"
            silent.close()
        server.close()

    run(work())
