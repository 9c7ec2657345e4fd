"""Links in namespaces of the test's own; the host's are looked at, never changed."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_interface, ip_network
from pathlib import Path

import pytest

from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import DEFAULT, LinkAddress, Netlink

pytestmark = pytest.mark.root


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """Two empty namespaces."""
    left, right = netns.create(), netns.create()
    yield left, right
    os.close(left)
    os.close(right)


def test_a_veth_is_born_between_two_namespaces(pair: tuple[int, int]) -> None:
    left, right = pair
    with Netlink() as host, Netlink(left) as near, Netlink(right) as far:
        before = host.links()
        near.add_veth("a0", "b0", right, mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1400)
        a, b = near.link("a0"), far.link("b0")
        assert a is not None
        assert b is not None
        assert (a.mac, a.mtu, a.kind, a.up) == ("02:00:00:00:00:01", 1400, "veth", False)
        assert (b.mac, b.mtu, b.peer) == ("02:00:00:00:00:02", 1400, a.index)
        assert host.links() == before
        assert near.delete_link("a0")
        assert not near.delete_link("a0")
        assert far.link("b0") is None


def test_packets_pass_a_bridge(pair: tuple[int, int]) -> None:
    left, right = pair
    with Netlink(left) as near, Netlink(right) as far:
        near.add_bridge("br0", mac="02:00:00:00:00:10")
        near.add_veth("port0", "eth0", right)
        near.set_master("port0", "br0")
        near.add_address("br0", "10.99.0.1/24")
        far.add_address("eth0", "10.99.0.2/24")
        for links, name in ((near, "lo"), (near, "br0"), (near, "port0"), (far, "lo"), (far, "eth0")):
            links.set_up(name)
        far.add_route(DEFAULT, via="10.99.0.1")
        bridge = near.link("br0")
        assert bridge is not None
        assert bridge.up
        assert near.index("br0") == bridge.index
        assert LinkAddress("eth0", ip_interface("10.99.0.2/24")) in far.addresses()

        server = netns.inside(left, lambda: socket.create_server(("10.99.0.1", 0)))
        with server:
            client = netns.inside(right, lambda: socket.create_connection(server.getsockname(), timeout=30))
            with client:
                assert client.getsockname()[0] == "10.99.0.2"


def test_routes_read_back_as_written(pair: tuple[int, int]) -> None:
    with Netlink(pair[0]) as links:
        links.add_veth("a0", "a1")
        links.add_address("a0", "10.99.1.1/24")
        links.set_up("a0")
        links.set_up("a1")
        links.add_route("10.99.2.0/24", via="10.99.1.9")
        links.add_route("10.99.3.4/32", dev="a0")
        links.add_route("10.99.4.0/24", kind="unreachable")
        links.add_route(DEFAULT, via="169.254.1.1", dev="a0", onlink=True, src="10.99.1.1")
        links.add_route("10.99.2.0/24", via="10.99.1.8")  # replaced, not added
        found = {str(route.destination): route for route in links.routes()}
        assert found["10.99.2.0/24"].via == IPv4Address("10.99.1.8")
        assert found["10.99.3.4/32"].dev == "a0"
        assert found["10.99.3.4/32"].via is None
        assert found["0.0.0.0/0"].source == IPv4Address("10.99.1.1")
        assert links.delete_route("10.99.3.4/32", dev="a0")
        assert not links.delete_route("10.99.3.4/32", dev="a0")
        assert links.delete_route("10.99.4.0/24", kind="unreachable")
        assert ip_network("10.99.3.4/32") not in {route.destination for route in links.routes()}


def test_a_fixed_neighbour_needs_no_arp(pair: tuple[int, int]) -> None:
    left, right = pair
    with Netlink(left) as near, Netlink(right) as far:
        near.add_veth("a0", "b0", right, peer_mac="02:00:00:00:00:02")
        for links, name, address in ((near, "a0", "10.99.0.1/32"), (far, "b0", "10.99.0.2/32")):
            links.add_address(name, address)
            links.set_up(name)
        near.add_route("10.99.0.2/32", dev="a0")
        near.add_neighbour("a0", "10.99.0.2", "02:00:00:00:00:02")
        table = netns.inside(left, lambda: Path("/proc/thread-self/net/arp").read_text())
        assert "02:00:00:00:00:02" in table


def test_a_refusal_says_what_was_tried(pair: tuple[int, int]) -> None:
    with Netlink(pair[0]) as links:
        with pytest.raises(OSError, match="link nope: No such device") as caught:
            links.set_up("nope")
        assert caught.value.errno == errno.ENODEV
        with pytest.raises(FileExistsError, match="add bridge lo"):
            links.add_bridge("lo")


def test_addresses_come_and_go(pair: tuple[int, int]) -> None:
    with Netlink(pair[0]) as links:
        links.add_address("lo", "10.99.7.7/32")
        links.add_address("lo", "10.99.7.7/32")
        assert [str(found.address) for found in links.addresses() if found.dev == "lo"] == ["10.99.7.7/32"]
        assert links.delete_address("lo", "10.99.7.7/32")
        assert not links.delete_address("lo", "10.99.7.7/32")


def test_rename(pair: tuple[int, int]) -> None:
    with Netlink(pair[0]) as near:
        near.add_veth("a0", "a1")
        near.rename("a1", "eth0")
        assert near.link("a1") is None
        assert near.link("eth0") is not None


def test_a_sysctl_belongs_to_the_namespace(pair: tuple[int, int]) -> None:
    here = sysctl.read("net.ipv4.ip_forward")
    refused = netns.inside(pair[0], lambda: sysctl.apply({"net.ipv4.ip_forward": 1, "net.ipv4.no_such": 1}))
    assert list(refused) == ["net.ipv4.no_such"]
    assert netns.inside(pair[0], lambda: sysctl.read("net.ipv4.ip_forward")) == "1"
    assert sysctl.read("net.ipv4.ip_forward") == here
