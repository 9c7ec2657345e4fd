"""Health-check node ports: what is asked where, and what is answered, over sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientSession

from clusterip.api.meta import ObjectKey
from clusterip.proxy import healthchecks
from clusterip.proxy.healthchecks import HealthChecks, listening_addresses, report, wanted
from clusterip.proxy.model import Family, HealthCheck
from clusterip.transport.listening import bind
from proxy.clusters import Cluster, node
from transport.ports import free_port

WEB = ObjectKey("default", "web")
HERE = "127.0.0.1"


def cluster(port: int, **spec: object) -> Cluster:
    found = Cluster(node(node_port_addresses=frozenset()))
    found.change_node(node_port_addresses=None)
    wanted = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port} | spec
    found.service("web", "10.96.0.20", "http 80/tcp 30080", **wanted)
    return found


class Told:
    def __init__(self) -> None:
        self.words: list[tuple[ObjectKey, int, str]] = []

    def health_port_taken(self, key: ObjectKey, port: int, why: str) -> None:
        self.words.append((key, port, why))


async def ask(port: int) -> tuple[int, dict[str, str], dict[str, object]] | None:
    async with ClientSession() as session:
        try:
            async with session.get(f"http://{HERE}:{port}/anything") as answer:
                return answer.status, dict(answer.headers), json.loads(await answer.text())
        except OSError:
            return None


def playing(
    act: Callable[[HealthChecks, Told], Awaitable[None]], *, healthy: Callable[[], bool] = lambda: True
) -> None:
    async def go() -> None:
        told = Told()
        checks = HealthChecks(healthy, told)
        try:
            await act(checks, told)
        finally:
            await checks._close_all()

    asyncio.run(go())


def test_answers_follow_the_endpoints_here() -> None:
    port = free_port()

    async def act(checks: HealthChecks, told: Told) -> None:
        found = cluster(port)
        found.endpoints("web", "http 8080/tcp", "10.244.1.5", "10.244.1.6", "10.244.1.7 terminating", "10.244.2.5")
        checks.programmed(found.plan())
        await checks.settle()
        answer = await ask(port)
        assert answer is not None
        status, headers, body = answer
        assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "2")
        assert (headers["Content-Type"], headers["X-Content-Type-Options"]) == ("application/json", "nosniff")
        assert body == {
            "service": {"namespace": "default", "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        }
        found.endpoints("web", "http 8080/tcp", "10.244.1.5 terminating", "10.244.2.5")
        checks.programmed(found.plan())
        answer = await ask(port)
        assert answer is not None
        assert (answer[0], answer[1]["X-Load-Balancing-Endpoint-Weight"]) == (503, "0")

    playing(act)


def test_a_proxy_that_is_not_healthy_takes_no_traffic() -> None:
    answer = report(WEB, 3, False)
    assert (answer.status, json.loads(answer.body)["serviceProxyHealthy"]) == (503, False)
    assert ("X-Load-Balancing-Endpoint-Weight", "3") in answer.headers


def test_ports_open_move_and_close() -> None:
    one, two = free_port(), free_port()

    async def act(checks: HealthChecks, told: Told) -> None:
        found = cluster(one)
        checks.programmed(found.plan())
        await checks.settle()
        assert await ask(one) is not None
        found.service("web", "10.96.0.20", "http 80/tcp 30080", **MOVED | {"healthCheckNodePort": two})
        checks.programmed(found.plan())
        await checks.settle()
        assert (await ask(one), await ask(two) is not None) == (None, True)
        found.service("web", "10.96.0.20", "http 80/tcp 30080", type="LoadBalancer", healthCheckNodePort=two)
        checks.programmed(found.plan())
        await checks.settle()
        assert await ask(two) is None, "policy Cluster needs no health check"

    playing(act)


MOVED = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}


def test_a_port_that_is_taken_is_told_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(healthchecks, "RETRY_SECONDS", (0.01,))

    async def act(checks: HealthChecks, told: Told) -> None:
        thief = bind(f"{HERE}:{port}")
        running = asyncio.create_task(checks.run())
        checks.programmed(cluster(port).plan())
        while not told.words:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert [(key, number) for key, number, _ in told.words] == [(WEB, port)]
        assert "in use" in told.words[0][2]
        thief.close()
        async with asyncio.timeout(30):
            while await ask(port) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert await ask(port) is None, "ended with the proxy"

    playing(act)


def test_a_service_of_both_families_is_one() -> None:
    port = free_port()

    async def act(checks: HealthChecks, told: Told) -> None:
        for family, vip, endpoints in (
            (Family.IPV4, "10.96.0.20", ("10.244.1.5",)),
            (Family.IPV6, "fd00:10:96::20", ("fd00:10:244:1::5",)),
        ):
            found = Cluster(node(family=family, node_port_addresses=None))
            found.service("web", vip, "http 80/tcp 30080", **MOVED | {"healthCheckNodePort": port})
            found.endpoints("web", "http 8080/tcp", *endpoints)
            checks.programmed(found.plan())
        await checks.settle()
        assert (checks.local_endpoints(WEB), told.words) == (1, [])

    playing(act)


def test_where_it_listens() -> None:
    four, six = node(), node(family=Family.IPV6)
    assert listening_addresses([four, six]) == {"192.168.4.101", "fd00:192:168:4::101"}
    assert listening_addresses([four, node(family=Family.IPV6, node_port_addresses=None)]) == {""}
    assert listening_addresses([node(node_port_addresses=frozenset())]) == {""}
    check, nodes = HealthCheck(30100, 1), (four, node(family=Family.IPV6, node_port_addresses=None))
    assert wanted({WEB: {Family.IPV4: check}}, nodes)[WEB].addresses == {"192.168.4.101"}, "the Service has no IPv6"
    assert wanted({WEB: dict.fromkeys(Family, check)}, nodes)[WEB].addresses == {""}
