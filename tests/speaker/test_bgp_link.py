"""Sessions with FRR: what it learns, how soon it forgets; each node is a namespace."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
import uvloop

from clusterip.api.metallb import Community
from clusterip.speaker.bgp_link import Waits
from clusterip.speaker.bgp_routes import Route
from speaker.routers import ADDRESSES, FRR, NODES, ROUTER_6, VIP, VIP6, Net, lan, until


@pytest.mark.root
@pytest.mark.skipif(not FRR.exists(), reason="no FRR here")
def test_frr_learns_equal_paths_over_signed_sessions_and_forgets_at_farewell() -> None:
    uvloop.run(_learns())


async def _learns() -> None:
    async with lan() as net:
        bgpd = await net.frr()
        links = [net.call(node) for node in NODES]
        communities = frozenset({Community((64512, 7)), Community((64512, 1, 2))})
        for link in links:
            link.tell({VIP: Route(0, communities)})
        await until(lambda: net.hops(VIP) == {"192.168.5.101", "192.168.5.102", "192.168.5.103"})
        await until(lambda: net.said(VIP) == ("64512:7", "64512:1:2", "64512"))
        links[0].stop()
        await until(lambda: net.hops(VIP) == {"192.168.5.102", "192.168.5.103"})
        await _comes_back(net, bgpd)


async def _comes_back(net: Net, bgpd: subprocess.Popen[bytes]) -> None:
    """The router restarts; IPv6 as well."""
    bgpd.kill()
    bgpd.wait()
    await net.frr()
    net.call("node-1", ROUTER_6).tell({VIP6: Route()})
    await until(lambda: net.hops(VIP) == {"192.168.5.102", "192.168.5.103"})
    await until(lambda: net.hops(VIP6) == {"fd00:5::101"})


@pytest.mark.root
@pytest.mark.skipif(not FRR.exists(), reason="no FRR here")
def test_packets_for_one_address_reach_several_nodes_while_they_tell_of_it() -> None:
    uvloop.run(_packets())


async def _packets() -> None:
    """The router's kernel spreads connections; a farewell moves them, and none is refused meanwhile."""
    async with lan() as net:
        await net.frr()
        for node in NODES:
            net.serve(node, VIP)
        # packets need routes that stay although the machine pauses
        links = [net.call(node, hold_seconds=90.0) for node in NODES]
        for link in links:
            link.tell({VIP: Route()})
        await until(lambda: net.ways(VIP) == set(ADDRESSES.values()))
        assert await asyncio.to_thread(net.answers, VIP, 60) == set(NODES)
        links[0].stop()
        await until(lambda: net.ways(VIP) == {ADDRESSES["node-2"], ADDRESSES["node-3"]})
        assert await asyncio.to_thread(net.answers, VIP, 40) == {"node-2", "node-3"}
        links[1].tell({})
        await until(lambda: net.ways(VIP) == {ADDRESSES["node-3"]})
        assert await asyncio.to_thread(net.answers, VIP, 5) == {"node-3"}


def test_calls_become_rarer() -> None:
    waits = Waits(None)
    assert [waits.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    waits.reset()
    assert waits.next() == 0.5
    assert [Waits(5.0).next() for _ in range(2)] == [5.0, 5.0]
