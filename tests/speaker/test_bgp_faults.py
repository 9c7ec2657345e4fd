"""Routers that misbehave, and what becomes of a session: over real connections, with a fake one and with FRR."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvloop

from clusterip.speaker import bgp_metrics, bgp_session
from clusterip.speaker.bgp_link import Link
from clusterip.speaker.bgp_messages import (
    KEEPALIVE,
    Fault,
    Kind,
    Notification,
    cut,
    message,
    read_notification,
    read_update,
    write_notification,
    write_update,
)
from clusterip.speaker.bgp_routes import Route
from speaker.fake_router import Call, Plays, router, speaker
from speaker.routers import ADDRESSES, FRR, NODES, VIP, lan, until

ALL_TOLD = read_update(write_update()[19:])  # the end of what there is to tell


async def fine(call: Call) -> None:
    """The session stands and the route is told."""
    await call.establish()
    assert read_update(await call.until(Kind.UPDATE)).prefixes == (VIP,)


async def code(call: Call) -> tuple[int, int]:
    said = read_notification(await call.until(Kind.NOTIFICATION))
    return said.code, said.subcode


def play(*parts: Plays, **more: Any) -> None:
    """Each call in turn; at the end the session stands again."""

    async def run() -> None:
        async with router(*parts, fine) as made, speaker(made.port, **more):
            await made.finished()

    uvloop.run(run())


@pytest.mark.parametrize(
    ("octets", "code_"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", (Fault.HEADER, 1)),
        (b"\xff" * 16 + b"\x00\x13\x09", (Fault.HEADER, 3)),
        (b"\xff" * 16 + b"\xff\xff\x01", (Fault.HEADER, 2)),
        (b"\xff" * 16 + b"\x00\x12\x04", (Fault.HEADER, 2)),
        (message(Kind.OPEN, bytes(10)), (Fault.OPEN, 1)),
        (message(Kind.UPDATE, bytes(4)), (Fault.MACHINE, 1)),
    ],
)
def test_garbage_is_answered_with_its_fault(octets: bytes, code_: tuple[int, int]) -> None:
    async def garbage(call: Call) -> None:
        call.writer.write(octets)
        assert await code(call) == code_

    play(garbage)


def test_garbage_in_a_session_ends_it() -> None:
    async def later(call: Call) -> None:
        await fine(call)
        call.writer.write(message(Kind.UPDATE, b"\x00\x09\x00\x00"))
        assert await code(call) == (Fault.UPDATE, 1)

    play(later)


def test_who_opens_and_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bgp_session, "OPEN_SECONDS", 0.1)

    async def silent(call: Call) -> None:
        assert await code(call) == (Fault.HOLD, 0)

    async def patient(call: Call) -> None:
        monkeypatch.setattr(bgp_session, "OPEN_SECONDS", 30.0)
        assert await code(call) == (Fault.HOLD, 0)

    play(silent, patient)


def test_a_silence_as_long_as_the_hold_time_ends_the_session() -> None:
    async def stops(call: Call) -> None:
        await call.establish(hold=3)
        assert await code(call) == (Fault.HOLD, 0)

    play(stops)


def test_who_is_reset_or_hung_up_on_calls_again() -> None:
    async def hangs_up(call: Call) -> None:
        await call.until(Kind.OPEN)

    async def resets(call: Call) -> None:
        await fine(call)
        sock = call.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        call.writer.transport.abort()

    play(hangs_up, resets)


def test_a_notification_ends_a_session_and_everything_is_told_anew() -> None:
    async def ends(call: Call) -> None:
        await fine(call)
        call.writer.write(write_notification(Notification(Fault.CEASE, 4)))
        rest = bytearray(await asyncio.wait_for(call.reader.read(), 30))
        assert Kind.NOTIFICATION not in {kind for kind, _ in cut(rest)}  # no answer to it

    async def refuses(call: Call) -> None:
        call.writer.write(write_notification(Notification(Fault.CEASE, 5)))

    play(ends, refuses)


def test_a_refresh_is_answered_with_all_routes() -> None:
    async def asks(call: Call) -> None:
        await fine(call)
        assert read_update(await call.until(Kind.UPDATE)) == ALL_TOLD
        call.writer.write(message(Kind.REFRESH, b"\x00\x01\x00\x01"))
        assert read_update(await call.until(Kind.UPDATE)).prefixes == (VIP,)

    play(asks)


def test_a_router_that_is_not_there_yet_is_called_again() -> None:
    async def run() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))  # and nobody listens
            async with speaker(sock.getsockname()[1]) as link:
                await until(lambda: link._waits is not None and _failures(link) > 2)
                sock.listen()
                sock.setblocking(False)
                call, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(sock), 30)
                reader, writer = await asyncio.open_connection(sock=call)
                await fine(Call(0, reader, writer))
                writer.close()

    failures: list[float] = []

    def _failures(link: Link) -> int:
        failures.append(1)
        return len(failures)

    uvloop.run(run())


def test_a_router_that_floods_us_with_routes_keeps_its_session() -> None:
    async def floods(call: Call) -> None:
        await fine(call)
        for third in range(200):
            prefixes = b"".join(bytes((24, 10, third, last)) for last in range(256))
            call.writer.write(write_update(prefixes=prefixes))
        call.writer.write(KEEPALIVE + message(Kind.REFRESH, b"\x00\x01\x00\x01"))
        while read_update(await call.until(Kind.UPDATE)).prefixes != (VIP,):
            pass

    play(floods)


@pytest.mark.root
@pytest.mark.skipif(not FRR.exists(), reason="no FRR here")
def test_frr_with_another_password_hears_nothing_and_both_may_call() -> None:
    uvloop.run(_passwords())


async def _passwords() -> None:
    async with lan() as net:
        bgpd = await net.frr(passive=False)  # it calls as well, and nobody listens here
        links = [net.call(node) for node in NODES[:2]]
        wrong = net.call("node-3", password="another")
        for link in (*links, wrong):
            link.tell({VIP: Route()})
        await until(lambda: net.ways(VIP) == {ADDRESSES["node-1"], ADDRESSES["node-2"]})
        assert not wrong.is_up
        assert [_count(link, "opens_sent") for link in links] == [1, 1]
        assert _count(wrong, "opens_sent") == 0
        seen = _count(links[0], "updates_total")
        await asyncio.to_thread(net.vtysh_do, "clear bgp ipv4 unicast * soft in")
        await until(lambda: _count(links[0], "updates_total") > seen)
        assert _count(links[0], "opens_sent") == 1
        bgpd.kill()
        bgpd.wait()
        await net.frr(password="another")
        await until(lambda: net.ways(VIP) == {ADDRESSES["node-3"]} and wrong.is_up)


def _count(link: Link, name: str) -> float:
    return link._registry.value(bgp_metrics.BGP + name, peer=link.label)
