"""Which UDP flows are forgotten after a change."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from clusterip.kernel.conntrack import FakeConntrack, Flow, Tuple
from clusterip.proxy.conntrack import Settler, changed_flows, stale
from proxy.clusters import Cluster

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
