"""Which UDP flows are forgotten after a change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import pytest

from clusterip.clock import SystemClock
from clusterip.kernel.conntrack import FakeConntrack, Flow, Tuple
from clusterip.proxy import conntrack as settling
from clusterip.proxy.conntrack import Settler, Settling, changed_flows, stale
from proxy.clusters import Cluster, node

VIP, NODE, CLIENT = "10.96.0.20", "192.168.4.101", "10.244.1.9"
ONE, TWO = "10.244.1.5", "10.244.2.5"


def flow(to: str, port: int, answers_from: str, answer_port: int, client_port: int = 4444) -> Flow:
    client = IPv4Address(CLIENT)
    return Flow(
        Tuple(client, client_port, IPv4Address(to), port),
        Tuple(IPv4Address(answers_from), answer_port, client, client_port),
    )


def cluster(*endpoints: str) -> Cluster:
    found = Cluster()
    found.service("dns", VIP, "dns 53/udp 30053", "dns-tcp 53/tcp")
    found.endpoints("dns", "dns 5353/udp", *endpoints)
    return found


def settled(settler: Settler, cluster: Cluster) -> int | None:
    work = settler.prepare(cluster.plan())
    return work() if work else None


def test_flows_to_what_serves_stay_and_others_go() -> None:
    good = [flow(VIP, 53, ONE, 5353), flow(NODE, 30053, TWO, 5353), flow(VIP, 53, TWO, 5353, 5555)]
    bad = [
        flow(VIP, 53, "10.244.3.3", 5353),
        flow(VIP, 53, ONE, 9999),
        flow(VIP, 53, VIP, 53),
        flow(NODE, 30053, NODE, 30053),
    ]
    others = [flow("8.8.8.8", 53, "8.8.8.8", 53), flow(VIP, 54, VIP, 54), flow("192.168.4.102", 30053, ONE, 1)]
    plan = cluster(ONE, f"{TWO} terminating").plan()
    assert stale(changed_flows({}, plan.services), plan.node, [*good, *bad, *others]) == bad


def test_nothing_is_looked_at_until_udp_changes() -> None:
    found, settler = cluster(ONE), Settler(FakeConntrack())
    assert settled(settler, found) == 0
    assert settled(settler, found) is None
    found.service("web", "10.96.0.30", "http 80/tcp")
    assert settled(settler, found) is None
    found.endpoints("dns", "dns 5353/udp", TWO)
    assert settled(settler, found) == 0


def test_no_endpoints_and_no_service_forget_every_flow() -> None:
    conntrack = FakeConntrack([flow(VIP, 53, ONE, 5353)])
    found, settler = cluster(ONE), Settler(conntrack)
    assert settled(settler, found) == 0
    found.endpoints("dns", "dns 5353/udp")
    assert settled(settler, found) == 1
    found.endpoints("dns", "dns 5353/udp", ONE)
    settled(settler, found)
    conntrack.flows = [flow(VIP, 53, ONE, 5353), flow("8.8.8.8", 53, "8.8.8.8", 53)]
    found.delete("dns")
    assert settled(settler, found) == 1
    assert conntrack.flows == [flow("8.8.8.8", 53, "8.8.8.8", 53)]


def test_a_failure_is_made_good_next_time() -> None:
    class Broken(FakeConntrack):
        def udp_flows(self, version: int = 4, port: int = 0) -> list[Flow]:
            raise OSError("no")

    found, settler = cluster(ONE), Settler(Broken())
    work = settler.prepare(found.plan())
    assert work is not None
    with pytest.raises(OSError, match="no"):
        work()
    assert settler.prepare(found.plan()) is not None


def test_flows_of_services_that_went_while_nobody_looked() -> None:
    gone, never = flow("10.96.0.77", 53, ONE, 5353), flow("10.96.0.78", 53, "10.96.0.78", 53)
    conntrack = FakeConntrack([gone, never, flow(VIP, 53, ONE, 5353)])
    assert settled(Settler(conntrack), cluster(ONE)) == 1
    assert gone not in conntrack.flows
    assert never in conntrack.flows, "not translated: it is nobody's"


def test_a_relay_on_the_node_keeps_its_flows_while_there_are_endpoints() -> None:
    relayed = flow(VIP, 53, "192.168.4.101", 40000)
    found = Cluster(node(mode="userspace"))
    found.service("dns", VIP, "dns 53/udp 30053")
    found.endpoints("dns", "dns 5353/udp", ONE)
    plan = found.plan()
    assert stale(changed_flows({}, plan.services), plan.node, [relayed, flow(VIP, 53, VIP, 53)]) == [
        flow(VIP, 53, VIP, 53)
    ]


def running(conntrack: FakeConntrack, act: Callable[[Settling, list[int]], Awaitable[None]]) -> None:
    async def go() -> None:
        told: list[int] = []
        found = Settling(conntrack, SystemClock(), lambda deleted, _: told.append(deleted))
        task = asyncio.create_task(found.run())
        async with asyncio.timeout(30):
            await act(found, told)
        task.cancel()

    asyncio.run(go())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def test_what_fails_is_tried_again_without_another_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "RETRY_SECONDS", (0.01,))

    class Shaky(FakeConntrack):
        left = 3

        def udp_flows(self, version: int = 4, port: int = 0) -> list[Flow]:
            self.left -= 1
            if self.left > 0:
                raise OSError("busy")
            return super().udp_flows(version, port)

    conntrack = Shaky([flow(VIP, 53, TWO, 5353)])

    async def act(found: Settling, told: list[int]) -> None:
        found.programmed(cluster(ONE).plan())
        await until(lambda: bool(told))
        assert (told, conntrack.flows) == ([1], [])

    running(conntrack, act)


def test_a_packet_that_was_on_its_way_is_found_by_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "AGAIN_SECONDS", 0.02)
    conntrack = FakeConntrack()

    async def act(found: Settling, told: list[int]) -> None:
        found.programmed(cluster(ONE).plan())
        await until(lambda: len(told) == 1)
        conntrack.flows = [flow(VIP, 53, TWO, 5353)]
        await until(lambda: len(told) == 2)
        assert (told, conntrack.flows) == ([0, 1], [])
        await asyncio.sleep(0.06)
        assert len(told) == 2, "and then it is quiet"

    running(conntrack, act)
