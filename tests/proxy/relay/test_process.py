"""The relay by its Protocol: the process and the fake keep the same promises; and what only a process can do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from clusterip.kernel import process as kernel_process
from clusterip.proxy.relay.fake import FakeRelay
from clusterip.proxy.relay.process import ProcessRelay, Relay, RelayError
from clusterip.proxy.relay.table import Listener, Place
from proxy.relay.inside import HERE, endpoint

ALONE = "127.16.0.1"  # where no other test's connection has the port that a relay takes again
WEB = Listener("web", "tcp", ALONE, (Place(HERE, 9),))
DNS = Listener("dns", "udp", ALONE, (Place(HERE, 9),), 10)


@asynccontextmanager
async def running(make: Callable[[], Any]) -> AsyncIterator[Any]:
    relay = make()
    try:
        yield relay
    finally:
        await relay.close()


@pytest.fixture(params=[ProcessRelay, FakeRelay])
def make(request: pytest.FixtureRequest) -> Callable[[], Relay]:
    return request.param  # type: ignore[no-any-return]


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 120))


def test_listeners_come_and_go(make: Callable[[], Relay]) -> None:
    async def body() -> None:
        async with running(make) as relay:
            assert await relay.read() == {}
            assert not relay.is_lost()
            assert await relay.put({"web": WEB, "dns": DNS}) == {}
            assert await relay.read() == {"web": WEB, "dns": DNS}
            assert relay.ports.keys() == {"web", "dns"}
            port = relay.ports["web"]
            other = Listener("web", "tcp", ALONE)
            await relay.put({"web": other})
            assert relay.ports["web"] == port
            await relay.remove(["dns"])
            assert await relay.read() == {"web": other}
            assert relay.ports == {"web": port}

    run(body())


def test_a_relay_that_has_ended_says_so_and_is_started_again_with_its_ports(make: Callable[[], Relay]) -> None:
    async def body() -> None:
        async with running(make) as relay:
            await relay.read()
            await relay.put({"web": WEB})
            port = relay.ports["web"]
            ended = asyncio.ensure_future(relay.ended())
            await asyncio.sleep(0)
            if isinstance(relay, ProcessRelay):
                assert relay.pid
                os.kill(relay.pid, signal.SIGKILL)
            else:
                relay.die()
            await ended
            assert relay.is_lost()
            with pytest.raises(RelayError):
                await relay.put({"web": WEB})
            await relay.ended()
            assert await relay.read() == {}
            await relay.put({"web": WEB})
            assert relay.ports["web"] == port

    run(body())


def test_without_a_relay_nothing_can_be_removed(make: Callable[[], Relay]) -> None:
    async def body() -> None:
        async with running(make) as relay:
            await relay.ended()
            with pytest.raises(RelayError):
                await relay.remove(["web"])

    run(body())


def test_it_relays_over_several_loops_and_for_a_while_alone() -> None:
    relay = ProcessRelay()
    with endpoint() as (server, place):
        server.setblocking(True)
        asyncio.run(relay.put({"web": Listener("web", "tcp", HERE, (place,))}))  # type: ignore[arg-type]
        with socket.create_connection((HERE, relay.ports["web"]), 30) as client:
            answering = server.accept()[0]
            with answering:
                answering.sendall(b"hello")
                assert client.recv(10) == b"hello"
                assert relay.pid
                found = kernel_process.of_pid(relay.pid)
                assert found
                asyncio.run(relay.close())
                answering.sendall(b"still there")
                assert client.recv(20) == b"still there"
                os.kill(found.pid, signal.SIGKILL)


def test_a_large_table_is_taken_at_once() -> None:
    async def body() -> None:
        async with running(ProcessRelay) as relay:
            await relay.read()
            targets = tuple(Place(f"10.244.1.{number}", 8080) for number in range(3))
            listeners = {f"web {number}": Listener(f"web {number}", "tcp", HERE, targets) for number in range(1000)}
            assert await relay.put(listeners) == {}
            assert len(set(relay.ports.values())) == 1000

    run(body())
