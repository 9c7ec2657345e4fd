"""Any packet through the compiled servers, sets and chains of any cluster meets the fate that the plan decides."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.clock import ManualClock
from clusterip.kernel.dummy import FakeDummy
from clusterip.kernel.ipset_fake import FakeIpset
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.kernel.ipvs_fake import FakeIpvs
from clusterip.proxy.backends.ipvs import IpvsMode
from clusterip.proxy.backends.ipvs_prepare import Settings
from clusterip.proxy.backends.ipvs_service import targets_of
from clusterip.proxy.model import Node, Plan, PodTraffic, Reject
from clusterip.proxy.plan import decide, find_rule
from clusterip.proxy.runner import Runner
from clusterip.proxy.verdict import Deliver, Packet, Verdict
from proxy.clusters import NODE_1, PODS, STATES, Cluster, node
from proxy.ipvs_walking import MARK, Walk, state_of

VIPS = ("10.96.0.20", "10.96.0.21", "10.96.0.22")
EXTERNAL, BALANCED = "172.16.0.1", "172.16.0.2"
ENDPOINTS = ("10.244.1.5", "10.244.1.6", "10.244.2.5", "10.244.2.6", "192.168.4.101")
SENDERS = ("10.244.1.5", "10.244.1.200", "10.244.2.5", "192.168.4.101", "192.168.4.1", "8.8.8.8")
PORTS = ("a 80/tcp 30080", "b 53/udp 30053", "c 81/tcp", "d 80/sctp 30090")
POLICIES = st.sampled_from(["Cluster", "Local"])
RANGES = st.sampled_from([[], ["192.168.4.0/24"], ["10.0.0.0/8", "8.8.8.8/32"], ["0.0.0.0/0"], [f"{BALANCED}/32"]])


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    states = st.tuples(st.sampled_from(ENDPOINTS), st.sampled_from(sorted(STATES)))
    return {
        "ports": draw(st.lists(st.sampled_from(PORTS), min_size=1, unique=True)),
        "spec": {
            "internalTrafficPolicy": draw(POLICIES),
            "externalTrafficPolicy": draw(POLICIES),
            "sessionAffinity": draw(st.sampled_from(["None", "None", "ClientIP"])),
            "externalIPs": draw(st.sampled_from([[], [EXTERNAL], [str(NODE_1)]])),
            "loadBalancerSourceRanges": draw(RANGES),
        },
        "status": draw(st.sampled_from([None, [{"ip": BALANCED}], [{"ip": BALANCED, "ipMode": "Proxy"}]])),
        "endpoints": draw(st.lists(states, max_size=4, unique_by=lambda endpoint: endpoint[0])),
    }


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    return node(
        mode="ipvs",
        pod_traffic=draw(st.sampled_from([PodTraffic(PODS), PodTraffic(interface="veth*"), None])),
        masquerade_all=draw(st.booleans()),
        node_port_addresses=draw(st.sampled_from([None, frozenset({NODE_1}), frozenset()])),
    )


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    source = draw(st.sampled_from(SENDERS))
    interface = "" if source == str(NODE_1) else "veth1" if source.startswith("10.244.1.") else "eth0"
    destination = draw(st.sampled_from([*VIPS, EXTERNAL, BALANCED, str(NODE_1), "10.96.9.9", "127.0.0.1"]))
    places = [("tcp", 80), ("udp", 53), ("tcp", 81), ("tcp", 30080), ("udp", 30053), ("udp", 80), ("sctp", 30090)]
    protocol, port = draw(st.sampled_from(places))
    return Packet(ip_address(source), ip_address(destination), protocol, port, interface)


def fill(cluster: Cluster, found: dict[str, dict[str, Any]]) -> None:
    for number, (vip, service) in enumerate(found.items()):
        cluster.service(f"s{number}", vip, *service["ports"], status=service["status"], **service["spec"])
        for port in service["ports"]:
            name, rest = port.split(" ")[:2]
            endpoints = (" ".join(endpoint) for endpoint in service["endpoints"])
            cluster.endpoints(f"s{number}", f"{name} 8080/{rest.split('/')[1]}", *endpoints)


CLUSTERS = st.dictionaries(st.sampled_from(VIPS), services(), max_size=3)


def seen_by_endpoints(verdict: Verdict, packet: Packet) -> Verdict:
    """The node's own packets come from the node, whether they are said to be masqueraded or not."""
    if packet.interface or not isinstance(verdict, Deliver):
        return verdict
    return Deliver(frozenset(way._replace(masqueraded=False) for way in verdict.ways))


def is_refused_early(plan: Plan, packet: Packet, found: Verdict) -> bool:
    """IPVS comes before the filter for the node's own packets: without endpoints they are refused, not dropped."""
    rule = find_rule(plan, packet)
    return not packet.interface and found == Reject() and rule is not None and not targets_of(rule)


@settings(max_examples=300)
@given(of=nodes(), found=CLUSTERS, sent=st.lists(packets(), min_size=1, max_size=6))
def test_the_state_does_what_the_plan_decides(of: Node, found: dict[str, Any], sent: list[Packet]) -> None:
    cluster = Cluster(of)
    fill(cluster, found)
    plan = cluster.plan()
    walk = Walk(state_of(plan), plan)
    for packet in sent:
        expected = seen_by_endpoints(decide(plan, packet), packet)
        found = seen_by_endpoints(walk.verdict(packet), packet)
        assert found == expected or is_refused_early(plan, packet, found), packet


@settings(max_examples=60)
@given(steps=st.lists(CLUSTERS, min_size=2, max_size=5))
def test_changes_lead_where_a_new_start_leads(steps: list[dict[str, Any]]) -> None:
    async def play() -> None:
        servers, sets, chains, dummy = FakeIpvs(), FakeIpset(), FakeIptables(), FakeDummy()
        cluster = Cluster(node(mode="ipvs"))
        backend = IpvsMode(Settings(), MARK, servers=servers, sets=sets, chains=chains, dummy=dummy)
        runner = Runner(backend, cluster.plan, ManualClock())
        for step in steps:
            for number in range(len(VIPS)):
                cluster.delete(f"s{number}")
            fill(cluster, step)
            await runner.sync()
            assert await backend.is_intact()
        assert await backend.read() == state_of(cluster.plan()).flat()
        fresh = IpvsMode(Settings(), MARK, servers=servers, sets=sets, chains=chains, dummy=dummy)
        assert (await Runner(fresh, cluster.plan, ManualClock()).sync()).changes == 0

    asyncio.run(play())
