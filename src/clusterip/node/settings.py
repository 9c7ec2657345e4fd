"""What a node agent is told at its start, and the tools that its parts share.

Stage: none; values.  Rules: built once by the agent; nothing here acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from clusterip.client.events import EventRecorder
from clusterip.client.informer import Informer
from clusterip.client.rest import Client
from clusterip.clock import Clock
from clusterip.kernel.cgroup import Cgroups
from clusterip.kernel.gate import Gate
from clusterip.node.environment import ServiceView
from clusterip.node.hostports import HostPorts
from clusterip.node.images import ImageStore
from clusterip.node.ipam import partner
from clusterip.node.runtime import Runtime
from clusterip.node.sources import Sources
from clusterip.node.strictdrain import StrictDrain


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The command line."""

    name: str
    node_ip: str
    pod_cidr: IPv4Network
    node_ip_6: str = ""
    pod_cidr_6: IPv6Network | None = None
    inside: tuple[IPv4Network, ...] = ()  # whom pods meet with their own addresses; empty: everybody
    root: Path
    log_root: Path = Path("/var/log/pods")
    run: Path = Path("/run/clusterip")
    images: Path | None = None
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    zygote: str = ""
    cgroup_parent: str = ""
    max_pods: int = 110
    gate: Gate | None = None  # of the guest in whose kernel the node's own network is
    drain_seconds: float = 0.25
    strict_drain: bool = False  # no pod is told to stop before every proxy has heard that it leaves
    crash_longest: float = 300.0

    @property
    def node_ips(self) -> tuple[str, ...]:
        return (self.node_ip, self.node_ip_6) if self.node_ip_6 else (self.node_ip,)

    @property
    def pod_cidrs(self) -> list[str]:
        return [str(network) for network in (self.pod_cidr, self.pod_cidr_6) if network is not None]

    def all_ips(self, ip: str) -> tuple[str, ...]:
        """Every address of whoever has this one: the node, or a pod."""
        if ip == self.node_ip:
            return self.node_ips
        if not ip or self.pod_cidr_6 is None:
            return (ip,) if ip else ()
        return ip, str(partner(IPv4Address(ip), self.pod_cidr, self.pod_cidr_6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every pod's worker works with."""

    settings: Settings
    clock: Clock
    client: Client
    events: EventRecorder
    sources: Sources
    services: Informer[ServiceView]
    images: ImageStore
    runtime: Runtime | None
    cgroups: Cgroups | None  # None: cannot be had here
    new_id: Callable[[], str]
    allocatable: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    memory_bytes: int = 0
    strict_drain: StrictDrain | None = None
    host_ports: HostPorts | None = None  # None: not to be had in a guest's network
    starts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))

    def pod_cgroup(self, uid: str) -> str:
        return f"{self.settings.cgroup_parent}/pod{uid}"
