"""Any packet through the compiled tables of any cluster meets the fate that the plan decides."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterip.clock import ManualClock
from clusterip.kernel.nft_fake import FakeNft
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.proxy.backends.nftables import Nftables
from clusterip.proxy.backends.nftables_table import KUBE_PROXY
from clusterip.proxy.model import Node, PodTraffic
from clusterip.proxy.plan import decide
from clusterip.proxy.runner import Runner
from clusterip.proxy.verdict import Packet
from kernel.nft_places import own_nft
from proxy.clusters import NODE_1, PODS, STATES, Cluster, node
from proxy.walking import state_of, verdict_of

VIPS = ("10.96.0.20", "10.96.0.21", "10.96.0.22")
OUTSIDE = ("172.16.0.1", "172.16.0.2")
ENDPOINTS = ("10.244.1.5", "10.244.1.6", "10.244.2.5", "10.244.2.6", "192.168.4.101")
SENDERS = ("10.244.1.5", "10.244.1.200", "10.244.2.5", "192.168.4.101", "192.168.4.1", "8.8.8.8")
POLICIES = st.sampled_from(["Cluster", "Local"])
RANGES = st.sampled_from([[], ["192.168.4.0/24"], ["10.0.0.0/8", "8.8.8.8/32"], ["0.0.0.0/0"]])


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "ports": draw(
            st.lists(st.sampled_from(["a 80/tcp 30080", "b 53/udp 30053", "c 81/tcp"]), min_size=1, unique=True)
        ),
        "spec": {
            "internalTrafficPolicy": draw(POLICIES),
            "externalTrafficPolicy": draw(POLICIES),
            "sessionAffinity": draw(st.sampled_from(["None", "None", "ClientIP"])),
            "externalIPs": draw(st.sampled_from([[], [OUTSIDE[0]]])),
            "loadBalancerSourceRanges": draw(RANGES),
        },
        "status": draw(st.sampled_from([None, [{"ip": OUTSIDE[1]}], [{"ip": OUTSIDE[1], "ipMode": "Proxy"}]])),
        "endpoints": draw(
            st.lists(
                st.tuples(st.sampled_from(ENDPOINTS), st.sampled_from(sorted(STATES))),
                max_size=4,
                unique_by=lambda e: e[0],
            )
        ),
    }


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    return node(
        pod_traffic=draw(st.sampled_from([PodTraffic(PODS), PodTraffic(interface="veth*"), None])),
        masquerade_all=draw(st.booleans()),
        node_port_addresses=draw(st.sampled_from([None, frozenset({NODE_1}), frozenset()])),
        service_networks=draw(st.sampled_from([(), (IPv4Network("10.96.0.0/12"),)])),
    )


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    source = draw(st.sampled_from(SENDERS))
    interface = "" if source == str(NODE_1) else "veth1" if source.startswith("10.244.1.") else "eth0"
    destination = draw(st.sampled_from([*VIPS, *OUTSIDE, str(NODE_1), "10.96.9.9", "9.9.9.9", "127.0.0.1"]))
    protocol, port = draw(
        st.sampled_from([("tcp", 80), ("udp", 53), ("tcp", 81), ("tcp", 30080), ("udp", 30053), ("udp", 80)])
    )
    return Packet(IPv4Address(source), IPv4Address(destination), protocol, port, interface)


def fill(cluster: Cluster, found: dict[str, dict[str, Any]]) -> None:
    for number, (vip, service) in enumerate(found.items()):
        cluster.service(f"s{number}", vip, *service["ports"], status=service["status"], **service["spec"])
        for port in service["ports"]:
            name, rest = port.split(" ")[:2]
            target = f"{name} 80{len(name)}8/{rest.split('/')[1]}"
            cluster.endpoints(f"s{number}", target, *(" ".join(e) for e in service["endpoints"]))


async def settled(runner: Runner[Any, Any]) -> None:
    """What is due is done, and what is kept for a while is gone, as after the next reading."""
    for _ in range(2):
        while (await runner.sync()).changes:
            pass
        runner.doubt()
    while (await runner.sync()).changes:
        pass


CLUSTERS = st.dictionaries(st.sampled_from(VIPS), services(), max_size=3)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of=nodes(), found=CLUSTERS, sent=st.lists(packets(), min_size=1, max_size=6))
def test_tables_do_what_the_plan_decides(of: Node, found: dict[str, Any], sent: list[Packet]) -> None:
    cluster = Cluster(of)
    fill(cluster, found)
    plan = cluster.plan()
    state = state_of(plan)
    for packet in sent:
        assert verdict_of(state, plan, packet) == decide(plan, packet), packet


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(CLUSTERS, min_size=2, max_size=5))
def test_changes_lead_where_a_new_start_leads(steps: list[dict[str, Any]]) -> None:
    """Step by step, due removals included, the table ends as if made at once, and each step is a table that holds."""

    async def play() -> None:
        nft = FakeNft()
        cluster = Cluster()
        runner = Runner(Nftables(nft), cluster.plan, ManualClock())
        for step in steps:
            for number in range(len(VIPS)):
                cluster.delete(f"s{number}")
            fill(cluster, step)
            await runner.sync()
        await settled(runner)
        assert await nft.read(KUBE_PROXY) == state_of(cluster.plan())

    asyncio.run(play())


@pytest.mark.root
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(CLUSTERS, min_size=2, max_size=4))
def test_the_kernel_takes_every_change(steps: list[dict[str, Any]]) -> None:
    """As above, and what the kernel lists in the end is what was compiled."""

    async def play(nft: KernelNft) -> None:
        cluster = Cluster()
        runner = Runner(Nftables(nft), cluster.plan, ManualClock())
        for step in steps:
            for number in range(len(VIPS)):
                cluster.delete(f"s{number}")
            fill(cluster, step)
            await runner.sync()
        await settled(runner)
        assert await nft.read(KUBE_PROXY) == state_of(cluster.plan())

    with own_nft() as nft:
        asyncio.run(play(nft))
