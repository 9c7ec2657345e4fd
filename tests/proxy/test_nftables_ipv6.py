"""The table of the other family: the same shape, listed by nft, read back as written; both families at once."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Address, IPv6Network

import pytest

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.clock import ManualClock
from clusterip.diff import flat
from clusterip.kernel import netns
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.proxy.backends.nftables import Compiler, Nftables
from clusterip.proxy.backends.nftables_table import KUBE_PROXY, kube_proxy
from clusterip.proxy.model import Family, Node, Plan, PodTraffic
from clusterip.proxy.objects import EndpointSlice, Service, decoder
from clusterip.proxy.plan import Planner, decide
from clusterip.proxy.runner import Runner
from clusterip.proxy.snapshot import Collector
from clusterip.proxy.verdict import Deliver, Packet
from kernel.nft_places import nft_in, own_namespace, run_nft, text_nft_in
from proxy.clusters import Cluster
from proxy.test_nftables_writers import listing
from proxy.walking import MARK, verdict_of

NODE = IPv6Address("fd00:192::101")
PODS, SERVICES = IPv6Network("fd00:10:244::/56"), IPv6Network("fd00:10:96::/112")
OF = Node(
    "node-1",
    addresses=(NODE,),
    pod_traffic=PodTraffic(PODS),
    node_port_addresses=frozenset({NODE}),
    service_networks=(SERVICES,),
    family=Family.IPV6,
)
SENDERS = ("fd00:10:244::9", "fd00:192::101", "2001:db8::1", "fd00:10:244::5")
RECEIVERS = ("fd00:10:96::20", "fd00:10:96::21", "fd00:10:96::99", "fd00:192::101", "2001:db8::aa", "2001:db8::bb")


def plan() -> Plan:
    collector = Collector(OF)
    for number, spec in enumerate(({"sessionAffinity": "ClientIP"}, {"externalTrafficPolicy": "Local"})):
        name = f"s{number}"
        tree = {
            "metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": f"fd00:10:96::2{number}",
                "clusterIPs": [f"fd00:10:96::2{number}"],
                "externalIPs": ["2001:db8::bb"] if number else [],
                "loadBalancerSourceRanges": ["2001:db8::/33", "fd00::/8", "10.0.0.0/8"],
                "ports": [{"name": "http", "port": 80 + number, "protocol": "TCP", "nodePort": 30080 + number}],
                **spec,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "2001:db8::aa"}]}},
        }
        collector.on_service(("default", name), None, decoder(Service)(tree))
        slice_tree = {
            "metadata": {"name": name, "namespace": "default", "labels": {SERVICE_NAME_LABEL: name}},
            "addressType": "IPv6",
            "endpoints": [
                {"addresses": [f"fd00:10:244:{here}::5"], "nodeName": f"node-{here + 1}", "conditions": {"ready": True}}
                for here in (0, 1)
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        collector.on_slice(("default", name), None, decoder(EndpointSlice)(slice_tree))
    return Planner().plan(collector.snapshot())


def test_packets_meet_what_the_plan_decides() -> None:
    made = plan()
    state = flat(Compiler(MARK).compile(made).parts)
    delivered = 0
    for source in SENDERS:
        for destination in RECEIVERS:
            for port in (80, 81, 30080, 30081):
                interface = "" if source == str(NODE) else "eth0"
                packet = Packet(IPv6Address(source), IPv6Address(destination), "tcp", port, interface)
                verdict = decide(made, packet)
                delivered += isinstance(verdict, Deliver)
                assert verdict_of(state, made, packet) == verdict, packet
    assert delivered > 20


async def sync(nft: KernelNft, of: Plan, family: Family) -> int:
    return (await Runner(Nftables(nft, family=family), lambda: of, ManualClock()).sync()).changes


@pytest.mark.root
def test_both_families_at_once_by_both_writers() -> None:
    cluster, six = Cluster(), plan()
    cluster.service("web", "10.96.0.20", "http 80/tcp 30080")
    cluster.endpoints("web", "http 8080/tcp", "10.244.1.5")
    seen = []
    for place in (nft_in, text_nft_in):
        with own_namespace() as fd:
            nft = place(fd)
            for of, family in ((cluster.plan(), Family.IPV4), (six, Family.IPV6)):
                assert asyncio.run(sync(nft, of, family)) > 0
                assert asyncio.run(sync(nft, of, family)) == 0, "what is read back is what was written"
            assert asyncio.run(nft.read(kube_proxy(Family.IPV6))) == flat(Compiler(MARK).compile(six).parts)
            assert asyncio.run(nft.read(KUBE_PROXY)) == flat(Compiler(MARK).compile(cluster.plan()).parts)
            seen.append(listing(fd))
            nft.close()
    assert seen[0] == seen[1]
    text = "\n".join(seen[0])
    assert "fd00:10:96::21 . tcp . 81 counter packets 0 bytes 0" in text
    assert "table ip6 kube-proxy" in text


@pytest.mark.root
def test_another_familys_monitor_is_not_disturbed() -> None:
    """Each table's events are its own."""
    with own_namespace() as fd:
        nft = nft_in(fd)
        asyncio.run(sync(nft, plan(), Family.IPV6))

        async def watch() -> None:
            noticed = asyncio.Event()
            backend = Nftables(nft, family=Family.IPV6)
            async with backend.watch(noticed.set):
                run_nft(fd, "add", "table", "ip", "kube-proxy")
                await asyncio.sleep(0.05)
                assert not noticed.is_set()
                run_nft(fd, "flush", "chain", "ip6", "kube-proxy", "services")
                async with asyncio.timeout(30):
                    await noticed.wait()

        netns.inside(fd, lambda: asyncio.run(watch()))
        nft.close()
