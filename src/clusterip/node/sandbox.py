"""A pod's sandbox: namespaces that outlive every container of it, a link to the node, an address, a route.

Stage: commit.  In: a Sandbox (all choices made).  Out: namespaces pinned below the pod's folder; links and routes.
Rules: no process is started; what is half made is removed by `remove`, which may run twice.
The pod has its address as /32 and one gateway, 169.254.1.1, with a permanent neighbour entry at both ends: no ARP, no
bridge, and a packet that comes back to its own pod goes out by the link it came in by.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from clusterip.kernel import mount, namespaces, netns, process, sysctl
from clusterip.kernel.link import DEFAULT, Netlink
from clusterip.node.record import PodFolder

GATEWAY = "169.254.1.1"
NODE_MAC = "ee:ee:ee:ee:ee:ee"
SHM_OPTIONS = "mode=1777,size=65536k"
POD_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
GATEWAY_6 = "fe80::1"
DEFAULT_6 = "::/0"
# No addresses but those given here, usable at once; no neighbour is ever asked for.
LINK_SYSCTLS_6 = {"disable_ipv6": "0", "accept_ra": "0", "accept_dad": "0", "dad_transmits": "0", "addr_gen_mode": "1"}
LINK_SYSCTLS = {"send_redirects": "0", "rp_filter": "0", "accept_redirects": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What is to be made."""

    folder: PodFolder
    hostname: str
    ip: str = ""
    ip_6: str = ""
    node_ip_6: str = ""
    node_ip: str = ""  # from where the node speaks to the pod; empty: as its other routes say
    link: str = ""  # empty: the node's own network
    sysctls: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("net", "uts", "ipc") if self.link else ("ipc",)


def link_name(uid: str) -> str:
    """The node's end of the pod's link."""
    return "veth" + hashlib.sha1(uid.encode(), usedforsecurity=False).hexdigest()[:8]


def pod_mac(ip: str) -> str:
    """A locally administered address that follows from the pod's IP."""
    return "0a:58:" + IPv4Address(ip).packed.hex(":")


def make(sandbox: Sandbox) -> None:
    """Make all of it; OSError when the kernel refuses, and then nothing but files is left."""
    folder = sandbox.folder
    folder.namespace("net").parent.mkdir(parents=True, exist_ok=True)
    folder.shm.mkdir(parents=True, exist_ok=True)
    try:
        made = namespaces.create(sandbox.kinds, lambda: _prepare(sandbox))
        try:
            for kind, fd in made.items():
                netns.pin(fd, folder.namespace(kind))
            if sandbox.link:
                _connect(sandbox, made["net"])
        finally:
            for fd in made.values():
                os.close(fd)
        mount.mount("shm", folder.shm, "tmpfs", mount.NOSUID | mount.NODEV | mount.NOEXEC, SHM_OPTIONS)
    except OSError:
        remove(folder, sandbox.link)
        raise


def _prepare(sandbox: Sandbox) -> None:
    """Inside the new namespaces: name and settings."""
    if sandbox.link:
        process.sethostname(sandbox.hostname)
        sysctl.apply(POD_SYSCTLS)
        if sandbox.ip_6:
            sysctl.apply({f"net/ipv6/conf/default/{name}": value for name, value in LINK_SYSCTLS_6.items()})
    for name, value in sandbox.sysctls.items():
        sysctl.write(name, value)


def _connect(sandbox: Sandbox, netns_fd: int) -> None:
    """A veth pair between node and pod, its addresses, routes and neighbours."""
    mac = pod_mac(sandbox.ip)
    with Netlink() as node:
        node.delete_link(sandbox.link)
        node.add_veth(sandbox.link, "eth0", netns_fd, mac=NODE_MAC, peer_mac=mac)
        sysctl.apply({f"net/ipv4/conf/{sandbox.link}/{name}": value for name, value in LINK_SYSCTLS.items()})
        settings = LINK_SYSCTLS_6 if sandbox.ip_6 else {"disable_ipv6": "1"}
        sysctl.apply({f"net/ipv6/conf/{sandbox.link}/{name}": value for name, value in settings.items()})
        node.set_up(sandbox.link)
        with Netlink(netns_fd) as pod:
            pod.set_up("lo")
            pod.add_address("eth0", f"{sandbox.ip}/32")
            pod.set_up("eth0")
            pod.add_route(f"{GATEWAY}/32", dev="eth0")
            pod.add_route(DEFAULT, via=GATEWAY, dev="eth0")
            pod.add_neighbour("eth0", GATEWAY, NODE_MAC)
        node.add_route(f"{sandbox.ip}/32", dev=sandbox.link, src=sandbox.node_ip or None)
        node.add_neighbour(sandbox.link, sandbox.ip, mac)
        if sandbox.ip_6:
            _connect_6(sandbox, node, netns_fd, mac)


def _connect_6(sandbox: Sandbox, node: Netlink, netns_fd: int, mac: str) -> None:
    """The same in the second family."""
    with Netlink(netns_fd) as pod:
        pod.add_address("eth0", f"{sandbox.ip_6}/128")
        pod.add_neighbour("eth0", GATEWAY_6, NODE_MAC)
        pod.add_route(DEFAULT_6, via=GATEWAY_6, dev="eth0")
    node.add_route(f"{sandbox.ip_6}/128", dev=sandbox.link, src=sandbox.node_ip_6 or None)
    node.add_neighbour(sandbox.link, sandbox.ip_6, mac)


def exists(folder: PodFolder) -> bool:
    """Whether the sandbox still stands (its IPC namespace is pinned)."""
    return is_pinned(folder.namespace("ipc"))


def is_pinned(path: Path) -> bool:
    """Whether a namespace is mounted over the file: then its device is not the folder's."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def remove(folder: PodFolder, link: str) -> None:
    """Undo make, however far it got."""
    if link:
        with contextlib.suppress(OSError), Netlink() as node:
            node.delete_link(link)
    with contextlib.suppress(OSError):
        mount.umount(folder.shm, lazy=True)
    for kind in ("net", "uts", "ipc"):
        with contextlib.suppress(OSError):
            netns.unpin(folder.namespace(kind))


def signal_number(name: str) -> int:
    """The number of "SIGQUIT", "QUIT" or "3"; SIGTERM when there is none."""
    if name.isdigit():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    found = getattr(signal, full, signal.SIGTERM) if name else signal.SIGTERM
    return int(found)
