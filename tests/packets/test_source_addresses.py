"""Who answers, and which sender it sees: on every path to a Service, with real packets, in modes that keep senders.

What the modes do differently, and userspace mode, is in test_modes.py and in the transcripts.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from packets.lab import LAN_MACHINE, SILENCE_SECONDS, Lab
from packets.nodeproxy import modes_here
from proxy.clusters import traits_of

pytestmark = pytest.mark.root

NODE_1, NODE_2 = "192.168.4.101", "192.168.4.102"
HERE, THERE, CLIENT = "10.244.1.5", "10.244.2.5", "10.244.1.9"
VIP = "10.96.0.20:80/tcp"


@pytest.fixture(params=[mode for mode in modes_here() if not traits_of(mode).hides_sender])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(request.param) as lab:
        yield lab


def programmed(lab: Lab, *endpoints: str, **spec: object) -> None:
    """One Service on both nodes, with these endpoints."""
    for name in lab.nodes:
        cluster = lab.cluster(name)
        cluster.service("web", "10.96.0.20", "http 80/tcp 30080", "dns 53/udp 30053", **spec)
        cluster.endpoints("web", "http 8080/tcp", *endpoints)
        cluster.endpoints("web", "dns 5353/udp", *endpoints)
        lab.proxy(name, cluster.plan).sync()
    for endpoint in endpoints:
        lab.serve(endpoint, 8080)
        lab.serve(endpoint, 5353, "udp")


def test_pod_to_cluster_ip_keeps_its_address(lab: Lab) -> None:
    programmed(lab, HERE, THERE)
    expected = {f"{HERE}:8080 saw {CLIENT}", f"{THERE}:8080 saw {CLIENT}"}
    assert lab.asks(CLIENT, VIP, 24) == expected
    assert lab.asks(CLIENT, "10.96.0.20:53/udp", 24) == {text.replace("8080", "5353") for text in expected}


def test_pod_to_its_own_cluster_ip_sees_the_node(lab: Lab) -> None:
    programmed(lab, HERE)
    assert lab.ask(HERE, VIP) == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(HERE, "10.96.0.20:53/udp") == f"{HERE}:5353 saw {NODE_1}"


def test_node_to_cluster_ip(lab: Lab) -> None:
    programmed(lab, HERE, THERE)
    assert lab.asks(NODE_1, VIP, 24) == {f"{HERE}:8080 saw {NODE_1}", f"{THERE}:8080 saw {NODE_1}"}


def test_pod_and_node_to_an_endpoint_in_the_hosts_network(lab: Lab) -> None:
    """A pod of the host's network is the node itself, as sender and as endpoint."""
    programmed(lab, NODE_1)
    assert lab.ask(CLIENT, VIP) == f"{NODE_1}:8080 saw {CLIENT}"
    assert lab.ask(NODE_1, VIP) == f"{NODE_1}:8080 saw {NODE_1}"
    assert lab.ask(NODE_2, VIP) == f"{NODE_1}:8080 saw {NODE_2}"
    assert lab.ask("10.244.2.9", VIP) == f"{NODE_1}:8080 saw 10.244.2.9"


def test_lan_machine_to_a_node_port_is_masqueraded(lab: Lab) -> None:
    programmed(lab, HERE)
    assert lab.ask(LAN_MACHINE, f"{NODE_1}:30080/tcp") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(LAN_MACHINE, f"{NODE_2}:30080/tcp") == f"{HERE}:8080 saw {NODE_2}"
    assert lab.ask(LAN_MACHINE, f"{NODE_2}:30053/udp") == f"{HERE}:5353 saw {NODE_2}"


def test_pods_and_nodes_to_node_ports(lab: Lab) -> None:
    programmed(lab, HERE)
    assert lab.ask(CLIENT, f"{NODE_1}:30080/tcp") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(NODE_1, f"{NODE_1}:30080/tcp") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(CLIENT, f"{NODE_2}:30080/tcp") == f"{HERE}:8080 saw {NODE_2}"


def test_policy_local_keeps_the_lan_machines_address_where_an_endpoint_is(lab: Lab) -> None:
    programmed(lab, HERE, externalTrafficPolicy="Local")
    assert lab.ask(LAN_MACHINE, f"{NODE_1}:30080/tcp") == f"{HERE}:8080 saw {LAN_MACHINE}"
    assert lab.ask(LAN_MACHINE, f"{NODE_1}:30053/udp") == f"{HERE}:5353 saw {LAN_MACHINE}"
    assert lab.ask(LAN_MACHINE, f"{NODE_2}:30080/tcp", seconds=SILENCE_SECONDS) == "silence"


def test_policy_local_does_not_bind_pods_and_nodes(lab: Lab) -> None:
    """Their packets take every endpoint, as if they had gone out to a load balancer and come back."""
    programmed(lab, THERE, externalTrafficPolicy="Local")
    assert lab.ask(CLIENT, f"{NODE_1}:30080/tcp") == f"{THERE}:8080 saw {CLIENT}"
    assert lab.ask(NODE_1, f"{NODE_1}:30080/tcp") == f"{THERE}:8080 saw {NODE_1}"
    assert lab.ask(LAN_MACHINE, f"{NODE_1}:30080/tcp", seconds=SILENCE_SECONDS) == "silence"


def test_internal_policy_local(lab: Lab) -> None:
    programmed(lab, HERE, internalTrafficPolicy="Local")
    assert lab.ask(CLIENT, VIP) == f"{HERE}:8080 saw {CLIENT}"
    expected = "silence" if traits_of(lab.mode).drops_without_local else "refused"
    assert lab.ask("10.244.2.9", VIP, seconds=SILENCE_SECONDS) == expected


def test_no_endpoints_is_refused_at_once_everywhere(lab: Lab) -> None:
    programmed(lab)
    for sender in (CLIENT, NODE_1):
        for frontend in (VIP, "10.96.0.20:53/udp", f"{NODE_1}:30080/tcp", f"{NODE_1}:30053/udp"):
            assert lab.ask(sender, frontend) == "refused", (sender, frontend)
    assert lab.ask(LAN_MACHINE, f"{NODE_1}:30080/tcp") == "refused"


def test_a_wrong_port_is_refused_and_an_unknown_address_is_silent(lab: Lab) -> None:
    if not traits_of(lab.mode).guards_cluster_ips:
        pytest.skip(f"{lab.mode} has no rule for them")
    programmed(lab, HERE)
    assert lab.ask(CLIENT, "10.96.0.20:81/tcp") == "refused"
    assert lab.ask(CLIENT, "10.96.0.20:80/udp") == "refused"
    assert lab.ask(CLIENT, "10.96.7.7:80/tcp", seconds=SILENCE_SECONDS) == "silence"


def test_external_and_load_balancer_ips_with_source_ranges(lab: Lab) -> None:
    programmed(
        lab,
        HERE,
        externalIPs=["192.168.4.50"],
        loadBalancerSourceRanges=["10.244.1.9/32"],
        status=[{"ip": "192.168.4.60"}],
    )
    assert lab.ask(CLIENT, "192.168.4.50:80/tcp") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask(CLIENT, "192.168.4.60:80/tcp") == f"{HERE}:8080 saw {NODE_1}"
    assert lab.ask("10.244.1.10", "192.168.4.60:80/tcp", seconds=SILENCE_SECONDS) == "silence"
    assert lab.ask("10.244.1.10", "192.168.4.50:80/tcp") == f"{HERE}:8080 saw {NODE_1}"
