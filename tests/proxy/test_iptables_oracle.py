"""Any packet through the rules of any cluster meets the fate that the plan decides, in both families."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterip.clock import ManualClock
from clusterip.diff import flat
from clusterip.kernel.iptables import Iptables as Tables
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.proxy.backends.iptables import TRAITS, Compiler, Iptables
from clusterip.proxy.backends.iptables_chains import Options, is_ours
from clusterip.proxy.model import Family, IPAddress, Node, PodTraffic
from clusterip.proxy.plan import decide
from clusterip.proxy.runner import Runner
from clusterip.proxy.verdict import Packet
from kernel.iptables_places import place
from proxy.clusters import NODE_1, PODS_OF, SERVICES_OF, STATES, Cluster, node, v6
from proxy.iptables_walking import programmed, verdict_of

VIPS = ("10.96.0.20", "10.96.0.21", "10.96.0.22")
OUTSIDE = ("172.16.0.1", "172.16.0.2")
ENDPOINTS = ("10.244.1.5", "10.244.1.6", "10.244.2.5", "10.244.2.6", "192.168.4.101")
SENDERS = ("10.244.1.5", "10.244.1.200", "10.244.2.5", "192.168.4.101", "192.168.4.1", "8.8.8.8", "172.16.0.2")
OTHER = "192.168.5.1"  # another address of the node
POLICIES = st.sampled_from(["Cluster", "Local"])
RANGES = st.sampled_from([[], ["192.168.4.0/24"], ["10.0.0.0/8", "8.8.8.8/32"], ["0.0.0.0/0"]])
SLOW = [HealthCheck.too_slow]


def of_family(family: Family, address: str) -> str:
    return address if family is Family.IPV4 else v6(address)


def network_of(family: Family, network: str) -> str:
    if family is Family.IPV4:
        return network
    address, _, bits = network.partition("/")
    return str(ip_network(f"{v6(address)}/{16 + 2 * int(bits) if int(bits) else 0}", strict=False))


@st.composite
def services(draw: st.DrawFn, family: Family) -> dict[str, Any]:
    ports = ["a 80/tcp 30080", "b 53/udp 30053", "c 81/tcp", "d 82/sctp 30082"]
    address = of_family(family, OUTSIDE[1])
    return {
        "ports": draw(st.lists(st.sampled_from(ports), min_size=1, unique=True)),
        "spec": {
            "internalTrafficPolicy": draw(POLICIES),
            "externalTrafficPolicy": draw(POLICIES),
            "sessionAffinity": draw(st.sampled_from(["None", "None", "ClientIP"])),
            "externalIPs": draw(st.sampled_from([[], [of_family(family, OUTSIDE[0])]])),
            "loadBalancerSourceRanges": [network_of(family, text) for text in draw(RANGES)],
        },
        "status": draw(st.sampled_from([None, [{"ip": address}], [{"ip": address, "ipMode": "Proxy"}]])),
        "endpoints": draw(
            st.lists(
                st.tuples(st.sampled_from(ENDPOINTS), st.sampled_from(sorted(STATES))),
                max_size=4,
                unique_by=lambda e: e[0],
            )
        ),
    }


@st.composite
def nodes(draw: st.DrawFn, family: Family) -> Node:
    own, other = (ip_address(of_family(family, text)) for text in (str(NODE_1), OTHER))
    home = ip_address("127.0.0.1" if family is Family.IPV4 else "::1")
    return node(
        family=family,
        mode="iptables",
        addresses=(own, other),
        pod_traffic=draw(st.sampled_from([PodTraffic(PODS_OF[family]), PodTraffic(interface="veth*"), None])),
        masquerade_all=draw(st.booleans()),
        node_port_addresses=draw(st.sampled_from([None, frozenset({own}), frozenset({own, home}), frozenset()])),
        localhost_node_ports=family is Family.IPV4 and draw(st.booleans()),
        service_networks=draw(st.sampled_from([(), (SERVICES_OF[family],)])),
    )


@st.composite
def packets(draw: st.DrawFn, family: Family) -> Packet:
    source = draw(st.sampled_from(SENDERS))
    interface = "" if source == str(NODE_1) else "veth1" if source.startswith("10.244.1.") else "eth0"
    there = [*VIPS, *OUTSIDE, str(NODE_1), OTHER, "10.96.9.9", "9.9.9.9"]
    destination = ip_address(of_family(family, draw(st.sampled_from(there))))
    if not interface and draw(st.booleans()):
        destination = ip_address("127.0.0.1" if family is Family.IPV4 else "::1")
    ports = [("tcp", 80), ("udp", 53), ("tcp", 81), ("tcp", 30080), ("udp", 30053), ("udp", 80), ("sctp", 30082)]
    protocol, port = draw(st.sampled_from(ports))
    sender: IPAddress = destination if destination.is_loopback else ip_address(of_family(family, source))
    return Packet(sender, destination, protocol, port, interface)


def fill(cluster: Cluster, family: Family, found: dict[str, dict[str, Any]]) -> None:
    for number, (vip, service) in enumerate(found.items()):
        address = of_family(family, vip)
        cluster.service(f"s{number}", address, *service["ports"], status=service["status"], **service["spec"])
        for port in service["ports"]:
            name, rest = port.split(" ")[:2]
            target = f"{name} 80{len(name)}8/{rest.split('/')[1]}"
            endpoints = (f"{of_family(family, host)} {state}" for host, state in service["endpoints"])
            cluster.endpoints(f"s{number}", target, *endpoints)


def clusters(family: Family) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(VIPS), services(family), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name)
@given(data=st.data())
def test_rules_do_what_the_plan_decides(family: Family, data: st.DataObject) -> None:
    cluster = Cluster(data.draw(nodes(family)))
    fill(cluster, family, data.draw(clusters(family)))
    plan = cluster.plan()
    tables = programmed(plan)
    for sent in data.draw(st.lists(packets(family), min_size=1, max_size=6)):
        assert verdict_of(tables, plan, sent) == decide(plan, sent), sent


async def play(tables: Tables, family: Family, steps: list[dict[str, Any]]) -> None:
    """Step by step the tables end as if made at once, line by line."""
    cluster = Cluster(node(mode="iptables", family=family))
    runner = Runner(Iptables(family, Options(), tables), cluster.plan, ManualClock())
    for step in steps:
        for number in range(len(VIPS)):
            cluster.delete(f"s{number}")
        fill(cluster, family, step)
        await runner.sync()
    fresh = FakeIptables()
    await Runner(Iptables(family, Options(), fresh), cluster.plan, ManualClock()).sync()
    assert await tables.read(is_ours) == await fresh.read(is_ours)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name)
@given(data=st.data())
def test_changes_lead_where_a_new_start_leads(family: Family, data: st.DataObject) -> None:
    steps = data.draw(st.lists(clusters(family), min_size=2, max_size=5))
    asyncio.run(play(FakeIptables(), family, steps))


@pytest.mark.root
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_the_kernel_takes_every_change(variant: str, data: st.DataObject) -> None:
    """And prints in the end what was compiled."""
    family = data.draw(st.sampled_from(list(Family)))
    steps = data.draw(st.lists(clusters(family), min_size=2, max_size=4))
    with place(variant, family.value) as found:
        found.run(play(found.iptables, family, steps))


def test_the_plan_decides_in_this_modes_way() -> None:
    assert node(mode="iptables").traits == TRAITS


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_compiler_that_went_on_says_what_a_new_one_says(data: st.DataObject) -> None:
    family = Family.IPV4
    cluster, compiler = Cluster(node(mode="iptables")), Compiler()
    for step in data.draw(st.lists(clusters(family), min_size=2, max_size=4)):
        fill(cluster, family, step)
        plan = cluster.plan()
        before = {}
        compiled = compiler.compile(plan, Options())
        assert flat(compiled.parts) == flat(Compiler().compile(plan, Options()).parts)
        if compiled.changed is not None:
            assert {name for name, part in compiled.parts.items() if before.get(name) is not part} >= compiled.changed
