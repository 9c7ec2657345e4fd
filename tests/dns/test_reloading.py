"""Configurations that are written anew while a server runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import uvloop

from clusterip.clock import SystemClock
from clusterip.dns import corefile
from clusterip.dns.reloading import Addresses, Serving, reread, servers, ways
from clusterip.dns.resolver import Resolver

TEXT = ". {\n kubernetes\n forward . %s\n reload\n}\n"


def test_servers_of_a_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# ours\nsearch a.org\nnameserver 192.0.2.1\nnameserver fd00::1\nnameserver nonsense\n")
    assert servers((str(path), "192.0.2.1", "192.0.2.2:5353")) == [
        ("192.0.2.1", 53),
        ("fd00::1", 53),
        ("192.0.2.2", 5353),
    ]
    assert servers(("/no/such/file",)) == []


def test_written_anew(tmp_path: Path) -> None:
    """Another server, a text that cannot be read, a resolv.conf that changes: what can be read counts."""
    path, resolv = tmp_path / "Corefile", tmp_path / "resolv.conf"
    path.write_text(TEXT % "192.0.2.1")
    resolv.write_text("nameserver 192.0.2.3\n")

    async def work() -> None:
        serving = Serving(
            config=corefile.parse(path.read_text()),
            addresses=Addresses(),
            clock=SystemClock(),
            dice=random.Random(1),
            path=path,
        )
        resolver = Resolver(None, ways(serving.config, serving), ready=True)
        following = asyncio.ensure_future(reread(resolver, serving))

        def asked() -> list[str]:
            return [server[0] for way in resolver.ways for each in way.forwarders for server in each.servers]

        async def until(found: Callable[[], bool]) -> None:
            async with asyncio.timeout(90):
                while not found():  # noqa: ASYNC110 - the file's event has no other sign
                    await asyncio.sleep(0.02)

        assert asked() == ["192.0.2.1"]
        await asyncio.sleep(0)
        path.write_text("nonsense {")
        path.write_text(TEXT % f"192.0.2.2 {resolv}")
        await until(lambda: asked() == ["192.0.2.2", "192.0.2.3"])
        following.cancel()

    uvloop.run(work())
