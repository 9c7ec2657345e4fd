"""Ports of the node that lead to pods: what pods ask for, the table, and the kernel that takes it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from clusterip.kernel import netns, nft_script, sysctl
from clusterip.kernel.link import Netlink
from clusterip.kernel.nft import NftError
from clusterip.node import sandbox
from clusterip.node.hostports import HostPort, HostPorts, host_ports, script
from clusterip.node.model import Pod, parse_pod
from clusterip.node.record import PodFolder

PODS, CLUSTER = IPv4Network("10.244.1.0/24"), (IPv4Network("10.244.0.0/16"), IPv4Network("192.168.4.101/32"))


def pod(*ports: dict[str, Any], host_network: bool = False) -> Pod:
    return parse_pod(
        {
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "spec": {"hostNetwork": host_network, "containers": [{"name": "c", "image": "i", "ports": list(ports)}]},
        }
    )


def test_what_a_pod_asks_for() -> None:
    asked = pod(
        {"containerPort": 80, "hostPort": 8080},
        {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "192.168.4.101"},
        {"containerPort": 81, "hostPort": 8081, "hostIP": "0.0.0.0"},
        {"containerPort": 82, "hostPort": 8082, "hostIP": "::1"},
        {"containerPort": 9},
    )
    assert host_ports(asked, "10.244.1.2") == (
        HostPort("tcp", 8080, "", "10.244.1.2", 80),
        HostPort("udp", 5353, "192.168.4.101", "10.244.1.2", 53),
        HostPort("tcp", 8081, "", "10.244.1.2", 81),
    )
    assert host_ports(asked, "") == ()
    assert host_ports(pod({"containerPort": 80, "hostPort": 80}, host_network=True), "192.168.4.101") == ()


def test_pods_come_and_go() -> None:
    kept = HostPorts(PODS, CLUSTER)
    kept.put(pod({"containerPort": 80, "hostPort": 8080}), "10.244.1.2")
    assert kept.wanted == {"u": (HostPort("tcp", 8080, "", "10.244.1.2", 80),)}
    kept.put(pod({"containerPort": 80, "hostPort": 8080}), "")
    assert not kept.wanted


def test_one_port_leads_to_one_pod_and_the_cluster_sees_pods_addresses() -> None:
    first, second = HostPort("tcp", 8080, "", "10.244.1.2", 80), HostPort("tcp", 8080, "", "10.244.1.3", 80)
    text = script([second, first], PODS, CLUSTER)
    assert "elements = { tcp . 8080 : 10.244.1.2 . 80 }" in text
    assert "ip saddr 10.244.1.0/24 ip daddr != { 10.244.0.0/16, 192.168.4.101/32, 224.0.0.0/4 } masquerade" in text
    assert "224.0.0.0" not in script([], PODS, ())


@pytest.mark.root
def test_the_kernel_takes_the_table_again_and_again() -> None:
    ports = [
        HostPort("tcp", 8080, "", "10.244.1.2", 80),
        HostPort("udp", 5353, "192.168.4.101", "10.244.1.2", 53),
    ]

    def there() -> str:
        for found in (ports, ports, [], ports):
            asyncio.run(nft_script.apply(script(found, PODS, CLUSTER)))
        with pytest.raises(NftError):
            asyncio.run(nft_script.apply("no such thing"))
        listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True, timeout=60)
        return listed.stdout

    listed = netns.inside(netns.create(), there)
    assert "tcp . 8080 : 10.244.1.2 . 80" in listed
    assert "192.168.4.101 . udp . 5353 : 10.244.1.2 . 53" in listed
    assert listed.count("table ip") == 1


def test_a_former_agents_table_serves_until_its_pods_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    async def apply(text: str) -> None:
        written.append(text)

    monkeypatch.setattr(nft_script, "apply", apply)

    async def play() -> None:
        kept = HostPorts(PODS, CLUSTER)
        running = asyncio.create_task(kept.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not written
        kept.put(pod({"containerPort": 80, "hostPort": 8080}), "10.244.1.2")
        kept.begin()
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(play())
    assert len(written) == 1
    assert "tcp . 8080 : 10.244.1.2 . 80" in written[0]


NODE_IP, POD_IP, LINK = "192.168.4.101", "10.244.1.2", sandbox.link_name("u")


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A node that keeps the table, and its pod with a host port: the two namespaces."""
    node, folder = netns.create(), PodFolder(tmp_path, "u", tmp_path / "logs")
    wanted = sandbox.Sandbox(folder=folder, hostname="p", ip=POD_IP, node_ip=NODE_IP, link=LINK)

    def made() -> None:
        with Netlink() as links:
            links.set_up("lo")
            links.add_address("lo", f"{NODE_IP}/32")
        sysctl.apply({"net.ipv4.ip_forward": 1})
        sandbox.make(wanted)
        asyncio.run(_kept_until_written())

    try:
        netns.inside(node, made)
        pod_net = netns.open_pinned(folder.namespace("net"))
        yield node, pod_net
        os.close(pod_net)
    finally:
        netns.inside(node, lambda: sandbox.remove(folder, LINK))
        os.close(node)


async def _kept_until_written() -> None:
    kept = HostPorts(PODS, CLUSTER)
    kept.put(pod({"containerPort": 80, "hostPort": 8080}), POD_IP)
    kept.begin()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(kept.run())
        while sysctl.read(f"net/ipv4/conf/{LINK}/route_localnet") == "0":  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)
        running.cancel()


@pytest.mark.root
def test_a_host_port_by_the_nodes_own_loopback(connected: tuple[int, int]) -> None:
    node, pod_net = connected
    with netns.inside(pod_net, lambda: socket.create_server((POD_IP, 80))) as server:
        server.settimeout(30)
        for address in ("127.0.0.1", NODE_IP):
            here = (address, 8080)
            with netns.inside(node, lambda here=here: socket.create_connection(here, timeout=30)):  # type: ignore[misc]
                accepted, peer = server.accept()
                accepted.close()
                assert peer[0] == NODE_IP


@pytest.mark.root
def test_a_pods_packets_to_the_nodes_loopback_are_not_heard(connected: tuple[int, int]) -> None:
    """A pod with rights over its network sends to 127.0.0.1 by its gateway, then to the node's true address."""
    node, pod_net = connected

    def send() -> None:
        sysctl.write("net.ipv4.conf.all.route_localnet", 1)
        subprocess.run(["ip", "address", "delete", "127.0.0.1/8", "dev", "lo"], check=True, timeout=60)
        route = ["ip", "route", "add", "127.0.0.1", "via", str(sandbox.GATEWAY), "dev", "eth0", "src", POD_IP]
        subprocess.run(route, check=True, timeout=60)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"to loopback", ("127.0.0.1", 9))
            sending.sendto(b"to the node", (NODE_IP, 9))

    with netns.inside(node, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as heard:
        heard.bind(("0.0.0.0", 9))
        heard.settimeout(30)
        netns.inside(pod_net, send)
        assert heard.recv(100) == b"to the node"
