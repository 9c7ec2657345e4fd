"""Addresses that come and go are told; those of one device are not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from clusterip.kernel import netns
from clusterip.kernel.address_monitor import AddressMonitor
from clusterip.kernel.link import Netlink

pytestmark = pytest.mark.root


@pytest.fixture
def place() -> Iterator[int]:
    fd = netns.create()
    with Netlink(fd) as netlink:
        netlink.add_bridge("br0")
        netlink.add_bridge("quiet0")
    yield fd
    os.close(fd)


def test_an_address_that_comes_is_told_once(place: int) -> None:
    told: list[str] = []
    monitor = netns.inside(place, lambda: AddressMonitor(lambda: told.append("change"), "quiet0"))
    monitor.drain()
    assert told == []
    with Netlink(place) as netlink:
        netlink.add_address("br0", "10.1.0.1/24")
        netlink.add_address("br0", "10.1.0.2/24")
    netns.inside(place, monitor.drain)
    assert told == ["change"]
    with Netlink(place) as netlink:
        netlink.add_address("quiet0", "10.2.0.1/24")
    netns.inside(place, monitor.drain)
    assert told == ["change"]
    monitor.close()
