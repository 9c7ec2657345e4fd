"""Real packets through both variants of iptables: what only this mode has, and what it must not break."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from packets.lab import LAN_MACHINE, SILENCE_SECONDS, Lab
from packets.machines import ANSWER_SECONDS, Where, ask
from packets.nodeproxy import NodeProxy

pytestmark = pytest.mark.root

NODE_1 = "192.168.4.101"
HERE, ALSO_HERE, THERE, CLIENT = "10.244.1.5", "10.244.1.6", "10.244.2.5", "10.244.1.9"
NO_EVENT_SECONDS = 0.3
VIP, NODE_PORT = "10.96.0.20:80/tcp", "30080/tcp"


@pytest.fixture(params=["nft", "legacy"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab("iptables") as lab:
        for machine in lab.nodes.values():
            machine.inside(lambda: run(f"iptables-{request.param} -t mangle -N KUBE-IPTABLES-HINT"))
        yield lab


def run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def programmed(lab: Lab, *endpoints: str, **spec: object) -> NodeProxy:
    cluster = lab.cluster("node-1", node_port_addresses=None, localhost_node_ports=True)
    cluster.service("web", "10.96.0.20", "http 80/tcp 30080", **spec)
    cluster.endpoints("web", "http 8080/tcp", *endpoints)
    for endpoint in endpoints:
        lab.serve(endpoint, 8080)
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    lab.nodes["node-1"].inside(lambda: run("sysctl -q -w net.ipv4.conf.all.route_localnet=1"))
    return proxy


def saved(lab: Lab, variant: str) -> str:
    return lab.nodes["node-1"].inside(lambda: run(f"iptables-{variant}-save"))


def test_the_variant_that_the_host_uses_has_the_rules(lab: Lab, request: pytest.FixtureRequest) -> None:
    programmed(lab, HERE)
    used = "nft" if "KUBE-SERVICES" in saved(lab, "nft") else "legacy"
    other = "legacy" if used == "nft" else "nft"
    assert f"[{used}]" in request.node.name
    assert "KUBE-" not in saved(lab, other)


def test_node_ports_on_loopback(lab: Lab) -> None:
    """The pod sees the node; with policy Local too."""
    where = Where.of("127.0.0.1:30080/tcp")
    for policy in ("Cluster", "Local"):
        programmed(lab, HERE, externalTrafficPolicy=policy)
        answer = lab.nodes["node-1"].inside(lambda: ask("127.0.0.1", where, seconds=ANSWER_SECONDS, from_port=0))
        assert answer == f"{HERE}:8080 saw {NODE_1}"


def test_nobody_else_reaches_loopback(lab: Lab, request: pytest.FixtureRequest) -> None:
    """route_localnet would let neighbours send to 127.0.0.1; the guard drops it."""
    programmed(lab, HERE)
    lan = lab.machine(LAN_MACHINE)
    lan.inside(lambda: run("sysctl -q -w net.ipv4.conf.all.route_localnet=1"))
    lan.inside(lambda: run(f"ip route add 127.0.0.2/32 via {NODE_1} dev lan0"))
    assert lab.ask(LAN_MACHINE, "127.0.0.2:10256/tcp", seconds=SILENCE_SECONDS) == "silence"
    variant = "nft" if "nft" in request.node.name else "legacy"
    lab.nodes["node-1"].inside(lambda: run(f"iptables-{variant} -F KUBE-FIREWALL"))
    assert lab.ask(LAN_MACHINE, "127.0.0.2:10256/tcp") == "refused"


def test_a_client_stays_with_its_endpoint_until_it_goes(lab: Lab) -> None:
    programmed(lab, HERE, ALSO_HERE, THERE, sessionAffinity="ClientIP")
    first = lab.ask(CLIENT, VIP)
    assert lab.asks(CLIENT, VIP, 16) == {first}
    others = {lab.ask(f"10.244.1.{number}", VIP).partition(":")[0] for number in range(20, 60)}
    assert others == {HERE, ALSO_HERE, THERE}
    gone = first.partition(":")[0]
    left = [address for address in (HERE, ALSO_HERE, THERE) if address != gone]
    programmed(lab, *left, sessionAffinity="ClientIP")
    second = lab.ask(CLIENT, VIP)
    assert second != first
    assert lab.asks(CLIENT, VIP, 8) == {second}


def test_a_pod_that_reaches_itself_by_a_node_port(lab: Lab) -> None:
    programmed(lab, HERE, externalTrafficPolicy="Local")
    assert lab.ask(HERE, f"{NODE_1}:{NODE_PORT}") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(CLIENT, f"{NODE_1}:{NODE_PORT}") == f"{HERE}:8080 saw {CLIENT}"


def test_a_sender_outside_of_the_ranges_is_not_answered(lab: Lab) -> None:
    spec = {"type": "LoadBalancer", "status": [{"ip": "1.2.3.4"}], "loadBalancerSourceRanges": ["10.244.1.0/24"]}
    programmed(lab, HERE, **spec)
    assert lab.ask(CLIENT, "1.2.3.4:80/tcp") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(LAN_MACHINE, "1.2.3.4:80/tcp", seconds=SILENCE_SECONDS) == "silence"
    assert lab.ask(LAN_MACHINE, f"{NODE_1}:{NODE_PORT}") == f"{HERE}:8080 saw {NODE_1}"


def test_flushed_rules_are_noticed_and_come_back(lab: Lab, request: pytest.FixtureRequest) -> None:
    """By events with the nft variant, by a look at canaries and jumps with both."""
    proxy = programmed(lab, HERE)
    variant = "nft" if "nft" in request.node.name else "legacy"
    assert proxy.call(proxy.backend.is_intact())
    with proxy.watch() as noticed:
        lab.nodes["node-1"].inside(lambda: run(f"iptables-{variant} -t nat -F"))
        tells = variant == "nft"
        assert noticed.wait(ANSWER_SECONDS if tells else NO_EVENT_SECONDS) is tells
    assert not proxy.call(proxy.backend.is_intact())
    proxy.repair()
    assert lab.ask(CLIENT, VIP) == f"{HERE}:8080 saw {CLIENT}"
    assert proxy.call(proxy.backend.is_intact())
