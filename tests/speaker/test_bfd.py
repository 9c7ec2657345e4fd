"""BFD with FRR's bfdd and BIRD: a node or a router that is silent is noticed long before the hold time (90 s)."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address

import pytest
import uvloop

from clusterip.api.metallb import BfdProfile, BgpPeer
from clusterip.kernel import netns
from clusterip.speaker import bfd_metrics
from clusterip.speaker.bfd import ONE_HOP
from clusterip.speaker.bfd_packets import Packet, State, write
from clusterip.speaker.bgp_link import KernelPlace, Link
from clusterip.speaker.bgp_routes import Route
from speaker.routers import ADDRESSES, ADDRESSES_6, FRR, ROUTER, ROUTER_6, VIP, VIP6, Net, lan, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(not FRR.exists(), reason="no FRR here")]
PROFILE = BfdProfile("fast", 200, 200, 3)
HOLD = {"hold_seconds": 90.0}


def is_up(link: Link, at: str = ROUTER) -> bool:
    return link._registry.value(bfd_metrics.UP, peer=at, vrf="default") == 1


def test_frr_and_a_node_notice_each_others_silence() -> None:
    uvloop.run(_frr())


async def _frr() -> None:
    async with lan() as net:
        await net.frr(bfd=[ADDRESSES["node-1"], ADDRESSES["node-2"], ADDRESSES_6["node-1"]], timers="30 90")
        links = [net.call(node, profile=PROFILE, **HOLD) for node in ("node-1", "node-2")]
        six = net.call("node-1", ROUTER_6, PROFILE, **HOLD)
        for link in links:
            link.tell({VIP: Route()})
        six.tell({VIP6: Route()})
        await until(lambda: net.ways(VIP) == {"192.168.5.101", "192.168.5.102"} and net.ways(VIP6) == {"fd00:5::101"})
        await until(lambda: all(map(is_up, links)) and is_up(six, ROUTER_6))
        await until(lambda: list(net.watched().values()).count("up") == 3)
        await _is_cut(net, links[0], six)


async def _is_cut(net: Net, link: Link, six: Link) -> None:
    """Neither end's own link tells of it; both notice, and find each other again at once when it is mended."""
    began = time.monotonic()
    net.cut("node-1")
    await until(lambda: net.ways(VIP) == {"192.168.5.102"} and not net.ways(VIP6))
    print(f"the router's kernel forgets a silent node after {time.monotonic() - began:.2f} s")
    await until(lambda: not link.is_up and not six.is_up)
    assert link._registry.value(bfd_metrics.BFD + "session_down_events", peer=ROUTER, vrf="default") >= 1
    net.cut("node-1", up=True)
    await until(lambda: net.ways(VIP) == {"192.168.5.101", "192.168.5.102"} and net.ways(VIP6) == {"fd00:5::101"})


def test_bird_and_a_node_notice_each_others_silence() -> None:
    uvloop.run(_bird())


async def _bird() -> None:
    async with lan() as net:
        bird = net.bird()
        link = net.call("node-1", profile=PROFILE, password="", **HOLD)
        six = net.call("node-1", ROUTER_6, PROFILE, password="", **HOLD)
        link.tell({VIP: Route()})
        six.tell({VIP6: Route()})
        await until(lambda: net.ways(VIP) == {"192.168.5.101"} and net.ways(VIP6) == {"fd00:5::101"})
        await until(lambda: is_up(link) and is_up(six, ROUTER_6))
        net.cut("node-1")
        await until(lambda: not net.ways(VIP) and not net.ways(VIP6) and not link.is_up and not six.is_up)
        net.cut("node-1", up=True)
        await until(lambda: net.ways(VIP) == {"192.168.5.101"} and is_up(link))
        bird.kill()
        bird.wait()
        await until(lambda: not is_up(link) and not link.is_up)
        net.bird()
        await until(lambda: is_up(link) and link.is_up and net.ways(VIP6) == {"fd00:5::101"})


def test_what_comes_from_far_or_from_others_is_no_router() -> None:
    uvloop.run(_strangers())


async def _strangers() -> None:
    """A packet with less than TTL 255 was forwarded; one from another address is another's; garbage is nothing."""
    async with lan() as net:
        link = net.call("node-1", profile=PROFILE)
        watch = net.bfds["node-1"].watches[link.peer.name]
        hello = write(Packet(State.DOWN, 7, watch.session.mine))
        from_router = netns.inside(net.router, lambda: KernelPlace().mouth(_peer(net), ONE_HOP))
        from_other = netns.inside(net.nodes["node-2"], lambda: KernelPlace().mouth(_peer(net), ONE_HOP))
        with from_router, from_other:
            from_other.send(hello)
            from_router.send(b"\x20 garbage")
            from_router.setsockopt(0, 2, 254)  # IP_TTL
            from_router.send(hello)
            from_router.setsockopt(0, 2, 255)
            from_router.send(write(Packet(State.DOWN, 8)))
            await until(lambda: watch.session.state is State.INIT)
            assert link._registry.value(bfd_metrics.BFD + "control_packet_input", peer=ROUTER, vrf="default") == 1


def _peer(net: Net) -> BgpPeer:

    return replace(next(iter(net.links.values())).peer, address=ip_address(ADDRESSES["node-1"]))
