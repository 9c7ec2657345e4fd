"""Ports of the node that lead to pods: what pods ask for, the table, and the kernel that takes it."""

from __future__ import annotations

import asyncio
import subprocess
from ipaddress import IPv4Network
from typing import Any

import pytest

from clusterip.kernel import netns, nft_script
from clusterip.kernel.nft import NftError
from clusterip.node.hostports import HostPort, HostPorts, host_ports, script
from clusterip.node.model import Pod, parse_pod

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
