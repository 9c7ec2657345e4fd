"""A node's link to the LAN goes down and up: its routes are as before, in both families."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping

import pytest

from clusterip.cluster import cables, network
from clusterip.cluster.config import Config
from clusterip.cluster.topology import topology
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink

pytestmark = pytest.mark.root
PLAN = topology(Config(nodes=("a", "b"), dual_stack=True))
SECONDS = 30.0


@pytest.fixture
def namespaces() -> Iterator[Mapping[str, int]]:
    fds = {machine.name: netns.create() for machine in PLAN.machines}
    network.build(PLAN, fds)
    yield fds
    for fd in fds.values():
        os.close(fd)


def state(fd: int) -> tuple[set[str], set[str]]:
    """Routes and addresses that somebody declared."""
    with Netlink(fd) as links:
        routes = {f"{each.destination} {each.via}" for each in links.routes() if each.via is not None}
        return routes, {str(each.address) for each in links.addresses() if not each.address.ip.is_link_local}


@pytest.mark.parametrize(("machine", "link"), [("a", "eth0"), ("control", "eth0"), ("lan", "lan0")])
def test_what_went_with_the_link_comes_back_with_it(namespaces: Mapping[str, int], machine: str, link: str) -> None:
    async def run() -> None:
        before = state(namespaces[machine])
        keeping = asyncio.create_task(cables.keep(PLAN, namespaces))
        await asyncio.sleep(0)
        with Netlink(namespaces[machine]) as links:
            links.set_down(link)
            assert machine == "lan" or state(namespaces[machine])[0] != before[0]
            links.set_up(link)
        async with asyncio.timeout(SECONDS):
            while state(namespaces[machine]) != before:  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.01)
        with Netlink(namespaces[machine]) as links:
            links.set_down(link)
            await asyncio.sleep(0)
            found = links.link(link)
            assert found is not None
            assert not found.up
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(run())
