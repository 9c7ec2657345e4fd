"""Sockets: UDP, TCP, health and readiness; and the zone as it follows a true API server."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import dns.asyncquery
import dns.message
import dns.rcode
import pytest
import uvloop

from apiserver.serving import serving as serving_api
from clusterip.client.names import SERVICES
from clusterip.clock import SystemClock
from clusterip.dns import corefile
from clusterip.dns.reloading import Addresses, Serving
from clusterip.dns.resolver import Resolver
from clusterip.dns.server import bind_pair, listeners, metrics, own_addresses
from clusterip.dns.server import run as run_server
from clusterip.dns.zone import Settings, Zone
from clusterip.failure import Failure
from transport.ports import free_port

WEB = "ns.dns.cluster.local"
KUBEADM = corefile.parse(".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n  ttl 30\n  pods insecure\n }\n}")
LOOPBACK = "127.0.0.1"


def resolver(*, ready: bool = True) -> Resolver:
    return Resolver(Zone(Settings(), own_addresses("https://127.0.0.1:6443")), ready=ready)


@asynccontextmanager
async def serving(served: Resolver) -> AsyncIterator[list[int]]:
    """Ports: DNS, health, ready, metrics."""
    ports = [free_port() for _ in range(4)]
    tasks = [
        asyncio.ensure_future(work) for work in listeners(served, Addresses(*(f"{LOOPBACK}:{port}" for port in ports)))
    ]
    try:
        await asyncio.sleep(0)
        yield ports
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await work

    uvloop.run(bounded())


async def page(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{LOOPBACK}:{port}{path}") as answer:
        return answer.status, await answer.text()


def test_udp_and_tcp() -> None:
    async def work() -> None:
        served = resolver()
        async with serving(served) as ports:
            query = dns.message.make_query(WEB, "A")
            for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
                reply = await ask(query, LOOPBACK, port=ports[0], timeout=30)
                assert reply.answer[0][0].to_text() == LOOPBACK
            assert served.counts == {("udp", 0): 1, ("tcp", 0): 1}
            assert b'coredns_dns_responses_total{proto="udp",rcode="NOERROR"} 1' in metrics(served)

    run(work())


def test_many_questions_on_one_connection() -> None:
    async def work() -> None:
        async with serving(resolver()) as ports:
            reader, writer = await asyncio.open_connection(LOOPBACK, ports[0])
            for number in range(20):
                packet = dns.message.make_query(WEB, "A", id=number).to_wire()
                writer.write(len(packet).to_bytes(2, "big") + packet)
            for number in range(20):
                size = int.from_bytes(await reader.readexactly(2), "big")
                assert dns.message.from_wire(await reader.readexactly(size)).id == number
            writer.write(b"\0\3abc")  # deserves no reply
            assert await reader.read() == b""
            writer.close()

    run(work())


def test_nothing_that_comes_ends_it() -> None:
    async def work() -> None:
        async with serving(resolver()) as ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for noise in (b"", b"x", b"\xff" * 512, b"\0\1\1\0\0\1" + b"\0" * 6 + b"\xff" * 40):
                    sender.sendto(noise, (LOOPBACK, ports[0]))
            query = dns.message.make_query(WEB, "A")
            assert (await dns.asyncquery.udp(query, LOOPBACK, port=ports[0], timeout=30)).rcode() == dns.rcode.NOERROR

    run(work())


def test_readiness_is_the_first_sync() -> None:
    async def work() -> None:
        served = resolver(ready=False)
        async with serving(served) as ports:
            query = dns.message.make_query(WEB, "A")
            assert (await dns.asyncquery.udp(query, LOOPBACK, port=ports[0], timeout=30)).rcode() == dns.rcode.SERVFAIL
            assert await page(ports[1], "/health") == (200, "OK")
            assert await page(ports[2], "/ready") == (503, "kubernetes")
            served.ready = True
            assert await page(ports[2], "/ready") == (200, "OK")
            assert (await page(ports[3], "/metrics"))[0] == 200
            assert (await page(ports[3], "/other"))[0] == 404

    run(work())


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.raises(Failure, match="cannot listen on"):
        bind_pair(f"{LOOPBACK}:{taken.getsockname()[1]}")


def test_own_address() -> None:
    assert [str(ip) for ip in own_addresses("https://127.0.0.1:6443/")] == [LOOPBACK]
    assert own_addresses("https://no-such-host.invalid") == ()


def test_it_follows_the_api_and_outlives_it() -> None:
    async def work() -> None:
        ports = [free_port() for _ in range(4)]
        addresses = Addresses(*(f"{LOOPBACK}:{port}" for port in ports))

        async def ask(name: str) -> tuple[str, list[str]]:
            query = dns.message.make_query(f"{name}.default.svc.cluster.local", "A")
            reply = await dns.asyncquery.udp(query, LOOPBACK, port=ports[0], timeout=30)
            return dns.rcode.to_text(reply.rcode()), [item.to_text() for rrset in reply.answer for item in rrset]

        async def until(name: str, expected: tuple[str, list[str]]) -> None:
            while await ask(name) != expected:  # noqa: ASYNC110 - the question itself is what is awaited
                await asyncio.sleep(0.01)

        async with serving_api() as api:
            config = api.config()
            serving = Serving(config=KUBEADM, addresses=addresses, clock=SystemClock(), dice=random.Random(1))
            dns_server = asyncio.ensure_future(run_server(config, serving))
            await asyncio.sleep(0)
            async with api.client() as client:
                await until("kubernetes", ("NOERROR", ["10.96.0.1"]))
                spec = {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}
                service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
                await client.create(SERVICES, service, "default")
                await until("web", ("NOERROR", ["10.96.7.7"]))
                await client.delete(SERVICES, "web", "default")
                await until("web", ("NXDOMAIN", []))
        assert await ask("kubernetes") == ("NOERROR", ["10.96.0.1"])  # the API server has gone
        dns_server.cancel()
        await asyncio.gather(dns_server, return_exceptions=True)

    run(work())
