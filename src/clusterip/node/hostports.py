"""Ports of the node that are ports of its pods, and the address with which pods go out into the world.

Stage: decide, then commit.  In: pods with their addresses.  Out: the table `ip clusterip-pods` of the node.
Rules: the table is written anew as a whole; it is ours alone, and a proxy's tables are not touched.  A client keeps its
address, but a pod that comes back to itself is the node, and so is who asks 127.0.0.1 on the node: links of pods with
host ports carry packets of such addresses, once the table keeps everybody else's away from the node's loopback.
Pods are themselves for pods and nodes, the node for others.
Limits: IPv4; not on nodes whose network is a guest.  Truth: the CNI plugin portmap; ip-masq-agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import NoReturn

from clusterip.kernel import nft_script, sysctl
from clusterip.kernel.nft import NftError
from clusterip.node.model import Pod
from clusterip.node.sandbox import link_name

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
EVERYWHERE = ("", "0.0.0.0")
TABLE = """\
table ip clusterip-pods
delete table ip clusterip-pods
table ip clusterip-pods {{
  map addressed {{
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service{addressed}
  }}
  map ports {{
    type inet_proto . inet_service : ipv4_addr . inet_service{ports}
  }}
  set own {{
    type ipv4_addr . ipv4_addr{own}
  }}
  chain into {{
    meta l4proto {{ tcp, udp, sctp }} dnat to ip daddr . meta l4proto . th dport map @addressed
    meta l4proto {{ tcp, udp, sctp }} dnat to meta l4proto . th dport map @ports
  }}
  chain loopback {{
    type filter hook prerouting priority raw
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    fib daddr type local jump into
  }}
  chain output {{
    type nat hook output priority -100
    fib daddr type local jump into
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr . ip daddr @own masquerade
    ip saddr 127.0.0.0/8 oifname != "lo" masquerade{outward}
  }}
}}
"""


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """A port of the node, at one of its addresses or at all, and where it leads."""

    protocol: str
    port: int
    address: str
    pod_ip: str
    pod_port: int


def host_ports(pod: Pod, ip: str) -> tuple[HostPort, ...]:
    """What a pod asks for; one with the node's own network has its ports there anyhow."""
    if pod.host_network or not ip:
        return ()
    return tuple(
        HostPort(
            str(port.get("protocol") or "TCP").lower(),
            int(port["hostPort"]),
            "" if (address := str(port.get("hostIP") or "")) in EVERYWHERE else address,
            ip,
            int(port["containerPort"]),
        )
        for container in pod.containers
        for port in container.tree.get("ports") or ()
        if port.get("hostPort") and ":" not in str(port.get("hostIP") or "")
    )


def script(found: Iterable[HostPort], pods: IPv4Network, inside: Collection[IPv4Network]) -> str:
    """The table; of two that want the same port the first in order has it."""
    addressed: dict[str, str] = {}
    ports: dict[str, str] = {}
    own = set()
    for wanted in sorted(found):
        key, target = f"{wanted.protocol} . {wanted.port}", f"{wanted.pod_ip} . {wanted.pod_port}"
        if wanted.address:
            addressed.setdefault(f"{wanted.address} . {key}", target)
        else:
            ports.setdefault(key, target)
        own.add(f"{wanted.pod_ip} . {wanted.pod_ip}")
    near = ", ".join(map(str, inside))
    return TABLE.format(
        addressed=_elements(f"{key} : {target}" for key, target in addressed.items()),
        ports=_elements(f"{key} : {target}" for key, target in ports.items()),
        own=_elements(sorted(own)),
        outward=f"\n    ip saddr {pods} ip daddr != {{ {near}, 224.0.0.0/4 }} masquerade" if near else "",
    )


def _elements(members: Iterable[str]) -> str:
    listed = ", ".join(members)
    return f"\n    elements = {{ {listed} }}" if listed else ""


class HostPorts:
    """Keeps the node's table like its pods."""

    def __init__(self, pods: IPv4Network, inside: Collection[IPv4Network]) -> None:
        self._pods, self._inside = pods, inside
        self._wanted: dict[str, tuple[HostPort, ...]] = {}
        self._changed = asyncio.Event()

    @property
    def wanted(self) -> Mapping[str, tuple[HostPort, ...]]:
        return self._wanted

    def begin(self) -> None:
        """Those who were here before are known: from now on the table is ours; a former agent's served until then."""
        self._changed.set()

    def put(self, pod: Pod, ip: str) -> None:
        """The pod has this address."""
        if found := host_ports(pod, ip):
            if self._wanted.get(pod.uid) != found:
                self._wanted[pod.uid] = found
                self._changed.set()
        else:
            self.drop(pod.uid)

    def drop(self, uid: str) -> None:
        """The pod has its address no more."""
        if self._wanted.pop(uid, None) is not None:
            self._changed.set()

    async def run(self) -> NoReturn:
        """Write the table whenever a pod comes or goes; a refused one is said, and tried again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            found = [port for ports in self._wanted.values() for port in ports]
            try:
                await nft_script.apply(script(found, self._pods, self._inside))
                sysctl.apply({f"net/ipv4/conf/{link_name(uid)}/route_localnet": "1" for uid in self._wanted})
            except NftError as error:
                logger.warning("Host ports are not up to date", extra={"kv": {"err": str(error)}})
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()
