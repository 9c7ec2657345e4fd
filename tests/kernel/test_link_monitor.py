"""A link's return is told once, however many events were lost on the way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from clusterip.kernel import netns
from clusterip.kernel.link import Netlink
from clusterip.kernel.link_monitor import LinkMonitor

pytestmark = pytest.mark.root
MANY = 400  # events, far more than the smallest buffer holds


class Told:
    """A link of a namespace of its own, and what its monitor tells."""

    def __init__(self, fd: int) -> None:
        self.links, self.returns = Netlink(fd), 0
        self.links.add_bridge("br0")
        self.links.set_up("br0")
        self.index = self.links.index("br0")
        self.monitor = netns.inside(fd, lambda: LinkMonitor(self.index, self.count, self.is_up))

    def count(self) -> None:
        self.returns += 1

    def is_up(self) -> bool:
        found = self.links.link("br0")
        return found is not None and found.up

    def lose(self, *, ending_up: bool) -> None:
        """More ups and downs than the socket takes, unread."""
        for _ in range(MANY):
            self.links.set_down("br0")
            self.links.set_up("br0")
        if not ending_up:
            self.links.set_down("br0")


@pytest.fixture
def told() -> Iterator[Told]:
    fd = netns.create()
    made = Told(fd)
    with socket.socket(fileno=os.dup(made.monitor.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    yield made
    made.monitor.close()
    made.links.close()
    os.close(fd)


def test_down_is_not_told_and_up_is(told: Told) -> None:
    told.links.set_down("br0")
    told.monitor.drain()
    assert told.returns == 0
    told.links.set_up("br0")
    told.monitor.drain()
    assert told.returns == 1


def test_a_return_among_lost_events_is_told(told: Told) -> None:
    told.links.set_down("br0")
    told.monitor.drain()
    told.lose(ending_up=True)
    told.monitor.drain()
    assert told.returns == 1


def test_a_link_that_is_down_after_a_loss_is_told_when_it_is_back(told: Told) -> None:
    told.lose(ending_up=False)
    told.monitor.drain()
    assert told.returns == 0
    told.links.set_up("br0")
    told.monitor.drain()
    assert told.returns == 1
