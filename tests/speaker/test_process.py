"""Two speakers against the true API server, on one LAN in memory, with beats over real UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from apiserver.serving import Api, serving
from clusterip.client.names import (
    BGP_ADVERTISEMENTS,
    BGP_PEERS,
    ENDPOINT_SLICES,
    EVENTS,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    NODES,
    SERVICE_BGP_STATUSES,
    SERVICE_L2_STATUSES,
    SERVICES,
)
from clusterip.client.rest import Client
from clusterip.failure import Failure
from clusterip.kernel.packet import LanInterface
from clusterip.kernel.packet_fake import FakeLan, FakeWire
from clusterip.speaker import metrics
from clusterip.speaker.bgp_messages import Kind, read_update
from clusterip.speaker.frames import Claim, read
from clusterip.speaker.process import Process, Settings, read_excluded, read_key
from loadbalancer.bundle import NAMESPACE, create, eventually, install
from speaker.fake_router import Call, router
from transport.ports import free_port

VIP = IPv4Address("192.168.4.10")


async def fine(call: Call) -> None:
    await call.establish()
    assert str(read_update(await call.until(Kind.UPDATE)).prefixes[0]) == f"{VIP}/32"


NAMES = ("node-1", "node-2")
MACS = {bytes((2, 0, 0, 0, 0, n)): f"node-{n}" for n in (1, 2)}


@dataclass
class Lan:
    """The wire, and the speakers on it."""

    api: Api
    wire: FakeWire = field(default_factory=FakeWire)
    port: int = field(default_factory=free_port)
    running: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    def start(self, name: str) -> None:
        number = int(name[-1])
        interface = LanInterface("eth0", 2, bytes((2, 0, 0, 0, 0, number)))
        settings = Settings(
            server=self.api.config(),
            namespace=NAMESPACE,
            node=name,
            metrics_port=0,
            health_port=0,
            member_address=f"127.0.0.{number + 1}",
            member_port=self.port,
            member_key=b"key",
        )
        process = self.processes[name] = Process(settings, FakeLan({"eth0": self.wire}, [interface]))
        self.running[name] = asyncio.ensure_future(process.run())

    async def stop(self, name: str) -> None:
        running = self.running.pop(name)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def leader(self) -> str:
        """Who said last that the address is his."""
        for frame in reversed(self.wire.frames):
            said = read(frame, bytes(6))
            if isinstance(said, Claim) and said.address == VIP:
                return MACS[said.mac]
        return ""

    async def led_by(self, name: str) -> None:
        async def is_led() -> bool:
            return self.leader() == name

        await eventually(is_led)


@asynccontextmanager
async def lan() -> AsyncIterator[tuple[Lan, Client]]:
    async with serving() as api, api.client() as client:
        await install(client)
        for name in NAMES:
            await node(client, name)
        await create(client, IP_ADDRESS_POOLS, "first", {"addresses": ["192.168.4.10-192.168.4.20"]})
        await create(client, L2_ADVERTISEMENTS, "first", {"ipAddressPools": ["first"]})
        made = Lan(api)
        try:
            yield made, client
        finally:
            for name in list(made.running):
                await made.stop(name)


async def node(client: Client, name: str) -> None:
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name}}
    made = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": meta})
    address = {"type": "InternalIP", "address": f"127.0.0.{int(name[-1]) + 1}"}
    await client.update(NODES, made | {"status": {"addresses": [address]}}, "status")


async def balanced(client: Client, name: str, nodes: tuple[str, ...]) -> None:
    """A Service with the address, and ready endpoints on those nodes."""
    made = await create(client, SERVICES, name, {"type": "LoadBalancer", "ports": [{"port": 80}]}, "default")
    made["status"] = {"loadBalancer": {"ingress": [{"ip": str(VIP)}]}}
    await client.update(SERVICES, made, "status")
    await client.create(ENDPOINT_SLICES, slice_of(name, nodes))


def slice_of(name: str, nodes: tuple[str, ...]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    endpoints = [
        {"addresses": [f"10.244.0.{i + 2}"], "nodeName": node, "conditions": {"ready": True}}
        for i, node in enumerate(nodes)
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-x", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"port": 80, "protocol": "TCP"}],
    }


async def statuses(client: Client) -> list[str]:
    items = (await client.list(SERVICE_L2_STATUSES, NAMESPACE))["items"]
    return [(item.get("status") or {}).get("node", "") for item in items]


async def shown(client: Client, name: str) -> None:
    async def is_shown() -> bool:
        return await statuses(client) == [name]

    await eventually(is_shown)


def test_the_elected_leads_and_the_next_follows() -> None:
    async def run() -> None:
        async with lan() as (net, client):
            for name in NAMES:
                net.start(name)
            await balanced(client, "web", ("node-1",))
            await net.led_by("node-1")
            await shown(client, "node-1")
            await net.stop("node-1")  # told to stop: says farewell
            await net.led_by("node-2")
            await shown(client, "node-2")
            net.start("node-1")
            await net.led_by("node-1")
            await shown(client, "node-1")
            messages = {event["message"] for event in (await client.list(EVENTS, "default"))["items"]}
            assert messages >= {f'announcing from node "{name}" with protocol "layer2"' for name in NAMES}

    asyncio.run(run())


def test_a_service_without_endpoints_is_withdrawn_and_comes_back() -> None:
    async def run() -> None:
        async with lan() as (net, client):
            net.start("node-2")
            await balanced(client, "web", ("node-1",))
            await net.led_by("node-2")
            await client.patch(ENDPOINT_SLICES, "web-x", "default", {"endpoints": []})

            async def is_gone() -> bool:
                return await statuses(client) == []

            await eventually(is_gone)
            net.wire.frames.clear()
            await client.patch(
                ENDPOINT_SLICES, "web-x", "default", {"endpoints": slice_of("web", ("node-1",))["endpoints"]}
            )
            await net.led_by("node-2")

    asyncio.run(run())


def test_a_pool_that_goes_leaves_what_worked() -> None:
    async def run() -> None:
        async with lan() as (net, client):
            net.start("node-2")
            await balanced(client, "web", ("node-1",))
            await net.led_by("node-2")
            process = net.processes["node-2"]
            seen = process._registry.value(metrics.UPDATES)
            await client.delete(IP_ADDRESS_POOLS, "first", NAMESPACE)
            await client.patch(SERVICES, "web", "default", {"metadata": {"labels": {"seen": "later"}}})

            async def is_looked_at() -> bool:
                return process._registry.value(metrics.UPDATES) >= seen + 2

            await eventually(is_looked_at)
            assert process._announcer is not None
            assert process._announcer.protocols[0].announced() == {("default", "web"): [str(VIP)]}

    asyncio.run(run())


def test_routers_hear_of_a_service_and_the_status_says_which() -> None:
    async def run() -> None:
        async with lan() as (net, client), router(fine) as made:
            place = {"peerAddress": "127.0.0.1", "peerPort": made.port, "ebgpMultiHop": True}
            await create(client, BGP_PEERS, "tor", {"myASN": 64512, "peerASN": 64999, "routerID": "10.0.0.1"} | place)
            await create(client, BGP_ADVERTISEMENTS, "first", {"ipAddressPools": ["first"]})
            await balanced(client, "web", ("node-1",))
            net.start("node-1")

            async def told() -> list[Any]:
                return [each.get("status") for each in (await client.list(SERVICE_BGP_STATUSES, NAMESPACE))["items"]]

            async def is_told() -> bool:
                wanted = {"node": "node-1", "serviceName": "web", "serviceNamespace": "default", "peers": ["tor"]}
                return await told() == [wanted]

            async def is_gone() -> bool:
                return await told() == []

            await eventually(is_told)
            await made.finished()
            await client.delete(BGP_PEERS, "tor", NAMESPACE)
            await eventually(is_gone)

    asyncio.run(run())


def test_files_of_the_pod(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="secret"):
        read_key(str(tmp_path))
    (tmp_path / "secretkey").write_bytes(b"abc")
    assert read_key(str(tmp_path)) == b"abc"
    assert read_excluded(tmp_path / "none").search("veth1234")
    file = tmp_path / "excludel2.yaml"
    file.write_text('announcedInterfacesToExclude: ["^lan.*"]\n')
    assert read_excluded(file).search("lan0")
    assert not read_excluded(file).search("veth1")
    file.write_text("announcedInterfacesToExclude: []\n")
    assert not read_excluded(file).search("")
    file.write_text('announcedInterfacesToExclude: ["("]\n')
    with pytest.raises(Failure, match="cannot use"):
        read_excluded(file)
