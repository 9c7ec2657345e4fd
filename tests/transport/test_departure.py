"""A peer's departure, over real connections whose bytes nobody reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from clusterip.transport import departure

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
