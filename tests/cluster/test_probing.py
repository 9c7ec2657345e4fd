"""Probes and questions from a network namespace, to servers in it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clusterip.client.config import ServerConfig
from clusterip.client.rest import Client
from clusterip.clock import SystemClock
from clusterip.cluster import probing
from clusterip.cluster.monitoring import Sample, Spot
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink

CLOCK = SystemClock()


@pytest.fixture
def place() -> Iterator[int]:
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.set_up("lo")
    yield fd
    os.close(fd)


@contextmanager
def resolver(fd: int, flags: int, records: int) -> Iterator[None]:
    """One answer to one question; before it, one that nobody asked for."""
    server = netns.inside(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 53))
    server.settimeout(30)

    def serve() -> None:
        question, client = server.recvfrom(4096)
        head = struct.pack(">HHHHH", flags, 1, records, 0, 0)
        server.sendto(bytes([question[0] ^ 1]) + question[1:2] + head + question[12:], client)
        server.sendto(question[:2] + head + question[12:], client)

    with server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.root
def test_who_listens_is_available_and_who_does_not_is_named(place: int) -> None:
    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    with netns.inside(place, listen) as server:
        spots = [Spot("127.0.0.1", server.getsockname()[1]), Spot("127.0.0.1", 1), Spot("198.51.100.1", 80)]
        good, refused, nowhere = asyncio.run(probing.connect_all("node-1", place, spots, CLOCK))
    assert (good.trouble, refused.trouble, nowhere.trouble) == ("", "refused", "Network is unreachable")
    assert good.seconds is not None
    assert refused.seconds is None
    assert good.source_port


@pytest.mark.root
@pytest.mark.parametrize(("flags", "records", "trouble"), [(0x8400, 1, ""), (0x8403, 0, "NXDOMAIN")])
def test_a_question(place: int, flags: int, records: int, trouble: str) -> None:
    with resolver(place, flags, records):
        found = asyncio.run(probing.look_up("node-1", place, "127.0.0.1", "kubernetes.default.svc", CLOCK))
    assert found.trouble == trouble
    assert (found.seconds is None) == bool(trouble)


@pytest.mark.root
def test_nobody_answers(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ANSWER_SECONDS", 0.05)
    silent = netns.inside(place, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with silent:
        silent.bind(("127.0.0.1", 53))
        found = asyncio.run(probing.look_up("node-1", place, "127.0.0.1", "kubernetes.default.svc", CLOCK))
    assert (found.seconds, found.trouble) == (None, "timed out")


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (b"", "no DNS answer"),
        (struct.pack(">HHHHHH", 1, 0x8402, 1, 0, 0, 0), "SERVFAIL"),
        (struct.pack(">HHHHHH", 1, 0x8409, 1, 0, 0, 0), "code 9"),
        (struct.pack(">HHHHHH", 1, 0x8400, 1, 0, 0, 0), "no address"),
        (struct.pack(">HHHHHH", 1, 0x8400, 1, 2, 0, 0), ""),
    ],
)
def test_what_an_answer_says(answer: bytes, trouble: str) -> None:
    assert probing.refusal(answer) == trouble


@pytest.mark.root
def test_what_cannot_be_asked_costs_itself_alone(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    async def run() -> Sample:
        settings = probing.Settings({"node-1": place}, (), "127.0.0.1", "kubernetes.default.svc")
        async with Client(ServerConfig(url="http://127.0.0.1:1")) as client:
            return await probing.Prober(settings, client, CLOCK).sample()

    monkeypatch.setattr(probing, "flows_in", refused)
    sample = asyncio.run(run())
    assert [lookup.trouble for lookup in sample.lookups] == ["refused"]
    api, load = sample.troubles
    assert "the API does not answer" in api
    assert load == "node-1: connections cannot be listed, load is not known: Operation not supported"


@pytest.mark.root
def test_networks_are_open_until_the_block_ends() -> None:
    own = Path("/proc/self/ns/net").stat().st_ino
    with probing.networks_of({"own": os.getpid()}) as nets:
        assert os.fstat(nets["own"]).st_ino == own
    with suppress(OSError):  # closed; the number may be another file's by now
        assert os.fstat(nets["own"]).st_ino != own
    with pytest.raises(OSError), probing.networks_of({"own": os.getpid(), "gone": 2**22 + 1}):  # noqa: PT011 - any
        pass
