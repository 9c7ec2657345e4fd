"""A LAN of namespaces: a router that runs FRR or BIRD with files of its own, and nodes that call it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Thread
from typing import Any

from clusterip.api.metallb import BfdProfile, BgpPeer, Network
from clusterip.clock import SystemClock
from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import Netlink
from clusterip.speaker import bfd_metrics, bgp_metrics, metrics
from clusterip.speaker.bfd import Bfd
from clusterip.speaker.bgp_link import KernelPlace, Link
from clusterip.transport.exposition import Registry

SECONDS = 90.0
VIP, VIP6 = ip_network("10.9.0.10/32"), ip_network("fd00:9::10/128")
NODES = ("node-1", "node-2", "node-3")
ADDRESSES = {name: f"192.168.5.{number}" for number, name in enumerate(NODES, 101)}
ADDRESSES_6 = {name: f"fd00:5::{number}" for number, name in enumerate(NODES, 101)}
ALL = (*ADDRESSES.values(), *ADDRESSES_6.values())
FRR = Path("/usr/lib/frr")
PASSWORD = "a-shared-secret"
ROUTER, ROUTER_6 = "192.168.5.1", "fd00:5::1"

BGPD = """
log stdout
router bgp 64999
 bgp router-id 192.168.5.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 timers bgp {timers}
{peers}
 address-family ipv4 unicast
{active}
 exit-address-family
 address-family ipv6 unicast
{active}
 exit-address-family
"""
BIRD = """
log stderr all;
router id 192.168.5.1;
protocol device { }
protocol direct { ipv4; ipv6; }
protocol kernel kernel4 { merge paths on; ipv4 { export where source = RTS_BGP; }; }
protocol kernel kernel6 { merge paths on; ipv6 { export where source = RTS_BGP; }; }
protocol bfd { accept direct; interface "lan" {
  min rx interval 200 ms; min tx interval 200 ms; multiplier 3; }; }
template bgp node { local as 64999; passive; hold time 90; error wait time 1, 1; ipv4 { import all; export none; };
  ipv6 { import all; export none; }; }
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
    bfds: dict[str, Bfd] = field(default_factory=dict)
    registries: dict[str, Registry] = field(default_factory=dict)
    doors: list[socket.socket] = field(default_factory=list)

    def make(self) -> None:
        netns.inside(self.router, lambda: sysctl.apply({"net.ipv4.fib_multipath_hash_policy": "1"}))
        with Netlink(self.router) as net:
            net.add_bridge("lan")
            net.set_up("lo")
            net.set_up("lan")
            for address in (f"{ROUTER}/24", f"{ROUTER_6}/64"):
                net.add_address("lan", address)
            for name in NODES:
                self.nodes[name] = node = netns.create()
                net.add_veth(name, "eth0", node)
                net.set_master(name, "lan")
                net.set_up(name)
                with Netlink(node) as there:
                    for link, address in (
                        ("eth0", f"{ADDRESSES[name]}/24"),
                        ("eth0", f"{ADDRESSES_6[name]}/64"),
                        ("lo", str(VIP)),
                        ("lo", str(VIP6)),
                    ):
                        there.add_address(link, address)
                        there.set_up(link)

    # -- the router ---------------------------------------------------------------------------------------------------

    def run(self, *command: str, where: int | None = None) -> subprocess.Popen[bytes]:
        """Started from a thread that is in there: a fork with Python code in the child would run gRPC's fork handlers,
        when tests of the store in etcd were here before."""
        namespace = self.router if where is None else where
        with open(self.folder / f"{Path(command[0]).name}.log", "ab") as log:
            made = netns.inside(
                namespace, lambda: subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )
        self.running.append(made)
        return made

    async def frr(
        self, *, password: str = PASSWORD, bfd: Iterable[str] = (), timers: str = "1 3", passive: bool = True
    ) -> subprocess.Popen[bytes]:
        """zebra and bgpd with files of their own; bgpd's process, which waits 10 s for a zebra that is late.

        With addresses under BFD, bfdd as well."""
        peers = "\n".join(_frr_peer(at, password, at in set(bfd), passive) for at in ALL)
        active = "\n".join(f"  neighbor {at} activate" for at in ALL)
        (self.folder / "bgpd.conf").write_text(BGPD.format(peers=peers, active=active, timers=timers))
        for name in ("zebra", "bfdd"):
            (self.folder / f"{name}.conf").write_text("log stdout\n")
        for path in (self.folder, *self.folder.glob("*.conf")):  # whatever this process's umask leaves to others
            shutil.chown(path, "frr", "frr")
        api = self.folder / "zserv.api"
        if not any(each.poll() is None for each in self.running):
            self.run(str(FRR / "zebra"), *self._own("zebra"), "-z", str(api))
            await until(api.exists)
            if bfd:
                control = self.folder / "bfdd.sock"
                self.run(str(FRR / "bfdd"), *self._own("bfdd"), "-z", str(api), "--bfdctl", str(control))
                await until(control.exists)
        return self.run(str(FRR / "bgpd"), *self._own("bgpd"), "-z", str(api))

    def _own(self, name: str) -> tuple[str, ...]:
        at = self.folder
        return ("-f", str(at / f"{name}.conf"), "-i", str(at / f"{name}.pid"),
                "-A", "127.0.0.1", "-P", "0", "--vty_socket", str(at), "--log", "stdout")  # fmt: skip

    def vtysh(self, what: str, daemon: str = "bgpd") -> Any:
        """What vtysh shows, {} while it says nothing."""
        made = subprocess.run(
            ["vtysh", "--vty_socket", str(self.folder), "-d", daemon, "-c", f"show {what} json"],
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        try:
            return json.loads(made.stdout)
        except ValueError:
            return {}

    def vtysh_do(self, what: str) -> None:
        command = ["vtysh", "--vty_socket", str(self.folder), "-d", "bgpd", "-c", what]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)

    def hops(self, prefix: Network) -> set[str]:
        """Next hops that FRR uses at once."""
        paths = self.vtysh(f"bgp ipv{prefix.version} unicast {prefix}").get("paths", [])
        used = [path for path in paths if path.get("multipath") or path.get("bestpath", {}).get("overall")]
        return {hop["ip"] for path in used for hop in path["nexthops"] if hop.get("scope") != "link-local"}

    def said(self, prefix: Network) -> tuple[str, str, str]:
        path = self.vtysh(f"bgp ipv{prefix.version} unicast {prefix}")["paths"][0]
        return path["community"]["string"], path["largeCommunity"]["string"], path["aspath"]["string"]

    def watched(self) -> dict[str, str]:
        """What FRR's BFD says of its neighbours."""
        peers = self.vtysh("bfd peers", "bfdd")
        return {each["peer"]: each["status"] for each in peers} if isinstance(peers, list) else {}

    def bird(self, nodes: Iterable[str] = ALL) -> subprocess.Popen[bytes]:
        neighbours = "\n".join(
            f"protocol bgp n{number} from node {{ neighbor {at} as 64512; bfd on; local {_router(at)} as 64999; }}"
            for number, at in enumerate(nodes)
        )
        (self.folder / "bird.conf").write_text(BIRD + neighbours)
        at = self.folder
        return self.run(
            "/usr/sbin/bird", "-f", "-c", str(at / "bird.conf"), "-s", str(at / "bird.ctl"), "-P", str(at / "bird.pid")
        )

    def birdc(self, *words: str) -> str:
        command = ["/usr/sbin/birdc", "-r", "-s", str(self.folder / "bird.ctl"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout

    def ways(self, prefix: Network) -> set[str]:
        """Next hops in the router's kernel."""
        command = ["ip", "-j", f"-{prefix.version}", "route", "show", str(prefix)]
        found = netns.inside(self.router, lambda: subprocess.run(command, capture_output=True, check=True).stdout)
        routes = json.loads(found or b"[]")
        return {hop["gateway"] for route in routes for hop in route.get("nexthops", [route]) if "gateway" in hop}

    # -- the nodes ----------------------------------------------------------------------------------------------------

    def call(self, node: str, at: str = ROUTER, profile: BfdProfile | None = None, **more: Any) -> Link:
        fields: dict[str, Any] = {"password": PASSWORD, "hold_seconds": 9.0, "connect_seconds": 0.2}
        peer = BgpPeer(f"{node}-{at}", 64512, 64999, address=ip_address(at), **(fields | more))
        place = KernelPlace(self.nodes[node])
        registry = self.registries.setdefault(node, metrics.registry(*bgp_metrics.METRICS, *bfd_metrics.METRICS))
        link = Link(peer, node, place, registry, SystemClock())
        self.links[peer.name] = link
        if profile is not None:
            self.bfds.setdefault(node, Bfd(place, registry, SystemClock())).watch(peer, profile, link)
        self.calls.append(asyncio.ensure_future(link.run()))
        return link

    def serve(self, node: str, at: Network) -> None:
        """Whoever connects to the address on this node is told its name."""
        door = netns.inside(self.nodes[node], lambda: socket.create_server((str(at.network_address), 80), backlog=64))
        self.doors.append(door)

        def answer() -> None:
            with suppress(OSError):
                while True:
                    call, _ = door.accept()
                    with call:
                        call.sendall(node.encode())

        Thread(target=answer, daemon=True).start()

    def answers(self, at: Network, times: int) -> set[str]:
        """Who answers the router when it connects that often."""

        def ask() -> str:
            with socket.create_connection((str(at.network_address), 80), timeout=SECONDS) as call:
                return call.recv(64).decode()

        return {netns.inside(self.router, ask) for _ in range(times)}

    def cut(self, node: str, *, up: bool = False) -> None:
        """The node's cable, at the bridge: neither end's link to the other tells."""
        with Netlink(self.router) as net:
            (net.set_up if up else net.set_down)(node)

    async def close(self) -> None:
        for each in self.calls:
            each.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)
        for link in self.links.values():
            link.stop()
            await link.leave()
        for bfd in self.bfds.values():
            bfd.close()
        for door in self.doors:
            door.shutdown(socket.SHUT_RDWR)
            door.close()
        for process in reversed(self.running):
            process.kill()
            process.wait()
        for fd in (self.router, *self.nodes.values()):
            os.close(fd)


def _router(at: str) -> str:
    return ROUTER_6 if ":" in at else ROUTER


def _frr_peer(at: str, password: str, bfd: bool, passive: bool) -> str:
    lines = [f" neighbor {at} remote-as 64512"]
    lines += [f" neighbor {at} passive"] if passive else []
    lines += [f" neighbor {at} password {password}"] if password else []
    return "\n".join(lines + ([f" neighbor {at} bfd 3 200 200"] if bfd else []))


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
