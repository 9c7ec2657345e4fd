"""Sessions with real routers, FRR: what they learn, how soon they forget; each node is a namespace."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from clusterip.api.metallb import BgpPeer, Community, Network
from clusterip.clock import SystemClock
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink
from clusterip.speaker import bgp_metrics, metrics
from clusterip.speaker.bgp_link import KernelPlace, Link, Waits
from clusterip.speaker.bgp_routes import Route

SECONDS = 40.0
VIP, VIP6 = ip_network("10.9.0.10/32"), ip_network("fd00:9::10/128")
NODES = ("node-1", "node-2", "node-3")
FRR = Path("/usr/lib/frr")
PASSWORD = "a-shared-secret"

BGPD = """
log stdout
router bgp 64999
 bgp router-id 192.168.5.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 timers bgp 1 3
{peers}
 address-family ipv4 unicast
{active}
 exit-address-family
 address-family ipv6 unicast
{active}
 exit-address-family
"""


@dataclass
class Net:
    """A router and three nodes on one LAN."""

    folder: Path
    router: int = field(default_factory=netns.create)
    nodes: dict[str, int] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)
    calls: list[asyncio.Future[None]] = field(default_factory=list)

    def make(self) -> None:
        with Netlink(self.router) as net:
            net.add_bridge("lan")
            net.set_up("lo")
            net.set_up("lan")
            for address in ("192.168.5.1/24", "fd00:5::1/64"):
                net.add_address("lan", address)
            for number, name in enumerate(NODES, 101):
                self.nodes[name] = node = netns.create()
                net.add_veth(name, "eth0", node)
                net.set_master(name, "lan")
                net.set_up(name)
                with Netlink(node) as there:
                    there.set_up("lo")
                    there.set_up("eth0")
                    for address in (f"192.168.5.{number}/24", f"fd00:5::{number}/64", "10.9.0.10/32", "fd00:9::10/128"):
                        there.add_address("eth0" if "5." in address or "fd00:5" in address else "lo", address)

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{Path(command[0]).name}.log", "ab") as log:
            made = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=lambda: netns.enter(self.router)
            )
        self.running.append(made)
        return made

    async def frr(self, *, password: str = PASSWORD) -> subprocess.Popen[bytes]:
        """zebra and bgpd with files of their own; bgpd's process, which waits 10 s for a zebra that is late."""
        folder = self.folder
        neighbours = {f"192.168.5.{n}": "64512" for n in (101, 102, 103)} | {
            f"fd00:5::{n}": "64512" for n in (101, 102, 103)
        }
        peers = "\n".join(
            f" neighbor {at} remote-as {asn}\n neighbor {at} passive\n neighbor {at} password {password}"
            for at, asn in neighbours.items()
        )
        active = "\n".join(f"  neighbor {at} activate" for at in neighbours)
        (folder / "bgpd.conf").write_text(BGPD.format(peers=peers, active=active))
        (folder / "zebra.conf").write_text("log stdout\n")
        shutil.chown(folder, "frr", "frr")
        api = str(folder / "zserv.api")
        if not any(each.poll() is None for each in self.running):
            self.run(str(FRR / "zebra"), *self._own("zebra"), "-z", api)
            await until(Path(api).exists)
        return self.run(str(FRR / "bgpd"), *self._own("bgpd"), "-z", api, "-n")

    def _own(self, name: str) -> tuple[str, ...]:
        at = self.folder
        return ("-f", str(at / f"{name}.conf"), "-i", str(at / f"{name}.pid"),
                "-A", "127.0.0.1", "-P", "0", "--vty_socket", str(at), "--log", "stdout")  # fmt: skip

    def show(self, what: str) -> Any:
        """What vtysh says, {} while it says nothing."""
        made = subprocess.run(
            ["vtysh", "--vty_socket", str(self.folder), "-d", "bgpd", "-c", f"show bgp {what} json"],
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        try:
            return json.loads(made.stdout)
        except ValueError:
            return {}

    def hops(self, prefix: Network) -> set[str]:
        """Next hops that the router uses at once."""
        paths = self.show(f"ipv{prefix.version} unicast {prefix}").get("paths", [])
        used = [path for path in paths if path.get("multipath") or path.get("bestpath", {}).get("overall")]
        return {hop["ip"] for path in used for hop in path["nexthops"] if hop.get("scope") != "link-local"}

    def said(self, prefix: Network) -> tuple[str, str, str]:
        path = self.show(f"ipv{prefix.version} unicast {prefix}")["paths"][0]
        return path["community"]["string"], path["largeCommunity"]["string"], path["aspath"]["string"]

    def call(self, node: str, at: str = "192.168.5.1", **more: Any) -> Link:
        fields: dict[str, Any] = {"password": PASSWORD, "hold_seconds": 9.0, "connect_seconds": 0.2}
        peer = BgpPeer(f"{node}-{at}", 64512, 64999, address=ip_address(at), **(fields | more))
        place = KernelPlace(self.nodes[node])
        link = Link(peer, node, place, metrics.registry(*bgp_metrics.METRICS), SystemClock())
        self.links[peer.name] = link
        self.calls.append(asyncio.ensure_future(link.run()))
        return link

    async def close(self) -> None:
        for each in self.calls:
            each.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)
        for link in self.links.values():
            link.stop()
            await link.leave()
        for process in reversed(self.running):
            process.kill()
            process.wait()
        for fd in (self.router, *self.nodes.values()):
            os.close(fd)


@asynccontextmanager
async def lan() -> AsyncIterator[Net]:
    with tempfile.TemporaryDirectory() as folder:  # the daemons give up root, and must still reach it
        net = Net(Path(folder))
        try:
            net.make()
            yield net
        except BaseException:
            for log in net.folder.glob("*.log"):
                print(log.name, log.read_text()[-3000:])
            raise
        finally:
            await net.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)


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
    net.call("node-1", "fd00:5::1").tell({VIP6: Route()})
    await until(lambda: net.hops(VIP) == {"192.168.5.102", "192.168.5.103"})
    await until(lambda: net.hops(VIP6) == {"fd00:5::101"})


def test_calls_become_rarer() -> None:
    waits = Waits(None)
    assert [waits.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    waits.reset()
    assert waits.next() == 0.5
    assert [Waits(5.0).next() for _ in range(2)] == [5.0, 5.0]
