"""Rules and tables, by what the kernel then chooses."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from clusterip.kernel import netns
from clusterip.kernel import rtnetlink as rt
from clusterip.kernel.rules import LOCAL, PolicyNetlink, Rule

pytestmark = pytest.mark.root
EVERYWHERE = IPv4Network("0.0.0.0/0")


@pytest.fixture
def space() -> Iterator[int]:
    fd = netns.create()
    yield fd
    os.close(fd)


def chosen_source(fd: int, address: str, port: int = 9) -> str:
    """From which address a datagram would go."""

    def ask() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((address, port))
            return str(asking.getsockname()[0])

    return netns.inside(fd, ask)


def test_a_rule_leads_to_its_table_and_goes_again(space: int) -> None:
    rule = Rule(50, 100, to=IPv4Address("10.9.9.9"))
    with PolicyNetlink(space) as own:
        own.set_up("lo")
        own.add_veth("a", "b")
        own.add_address("a", "10.0.0.1/24")
        own.set_up("a")
        own.set_up("b")
        own.route_in(100, EVERYWHERE, dev="a", via=IPv4Address("10.0.0.2"))
        with pytest.raises(OSError, match="unreachable"):
            chosen_source(space, "10.9.9.9")
        own.add_rule(rule)
        own.add_rule(rule)
        assert chosen_source(space, "10.9.9.9") == "10.0.0.1"
        with pytest.raises(OSError, match="unreachable"):
            chosen_source(space, "10.9.9.8")
        assert [own.delete_rule(rule), own.delete_rule(rule)] == [True, False]
        with pytest.raises(OSError, match="unreachable"):
            chosen_source(space, "10.9.9.9")


def test_a_rule_for_one_port(space: int) -> None:

    with PolicyNetlink(space) as own:
        own.set_up("lo")
        own.add_address("lo", "10.0.0.1/32")
        own.route_in(100, EVERYWHERE, kind=rt.RTN_UNREACHABLE)
        own.add_rule(Rule(10, LOCAL))
        own.add_rule(Rule(5, 100, to=IPv4Address("10.0.0.1"), tcp_port=10250))
        assert own.delete_rule(Rule(0, LOCAL))

    def connect(port: int) -> None:
        with socket.socket() as asking:
            asking.connect(("10.0.0.1", port))

    with pytest.raises(OSError, match="No route to host"):
        netns.inside(space, lambda: connect(10250))
    with pytest.raises(ConnectionRefusedError):
        netns.inside(space, lambda: connect(10251))


def test_an_address_to_speak_from_that_is_routed_like_others(space: int) -> None:
    with PolicyNetlink(space) as own:
        own.set_up("lo")
        own.own_without_route("lo", IPv4Address("10.0.0.1"))
        own.own_without_route("lo", IPv4Address("10.0.0.1"))
        assert [str(found.address) for found in own.addresses() if found.address.version == 4][-1] == "10.0.0.1/32"
        with pytest.raises(OSError, match="unreachable"):
            chosen_source(space, "10.0.0.1")
        own.route_in(100, IPv4Network("10.0.0.1"), dev="lo", kind=rt.RTN_LOCAL)
        own.add_rule(Rule(5, 100))
        assert chosen_source(space, "10.0.0.1") == "10.0.0.1"


def test_a_link_without_arp(space: int) -> None:
    with PolicyNetlink(space) as own:
        own.add_veth("a", "b")
        own.without_arp("a")
    flags = netns.inside(space, lambda: _flags_of("a"))
    assert flags & 0x80


def _flags_of(name: str) -> int:

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        raw = fcntl.ioctl(asking, 0x8913, struct.pack("16sH14x", name.encode(), 0))  # SIOCGIFFLAGS
    return int(struct.unpack_from("H", raw, 16)[0])
