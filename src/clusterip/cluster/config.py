"""What a user may choose about a cluster, checked, as a frozen value.

Stage: configuration.  In: flags.  Out: `Config`, or a Failure that says which choice is wrong and what would do.
Rules: pure; every default is an address of the lessons.  The value is kept in cluster.json.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any

from clusterip.failure import Failure

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
MOST_NODES = 50
RESERVED_NODES = ("lan", "control")
NAMESPACE, UML = "namespace", "uml"
# what a node's network is -> the proxy modes that its kernel can do, the default first
PROXY_MODES = {
    NAMESPACE: ("nftables", "iptables", "ipvs", "userspace"),
    UML: ("ipvs", "iptables", "userspace"),  # Debian's User Mode Linux has no nftables of the families ip and ip6
}
ASK_HOST, NOBODY = "host", "none"
DEFAULT_NAME = "clusterip"


POD_CIDR_6 = "fd00:10:244::/48"
SERVICE_CIDR_6 = "fd00:10:96::/112"


@dataclass(frozen=True, kw_only=True)
class Config:
    """A cluster, as asked for."""

    name: str = DEFAULT_NAME
    nodes: tuple[str, ...] = ("node-1", "node-2", "node-3")
    proxy_mode: str = "nftables"
    node_kind: str = NAMESPACE
    store: str = "sqlite"
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = ""
    etcd_prefix: str = ""
    service_cidr: str = "10.96.0.0/12"
    pod_cidr: str = "10.244.0.0/16"
    node_port_range: str = "30000-32767"
    domain: str = "cluster.local"
    dns_address: str = "10.96.0.10"
    strict_drain: bool = False
    dual_stack: bool = False
    network_policy: bool = False
    resolver: str = ASK_HOST  # who is asked about names of the world: the host's servers, nobody, or addresses

    @property
    def service_cidrs(self) -> str:
        """Where cluster IPs come from, as --service-cluster-ip-range takes it."""
        return f"{self.service_cidr},{SERVICE_CIDR_6}" if self.dual_stack else self.service_cidr

    @property
    def pod_cidrs(self) -> str:
        """Where all pods' addresses come from."""
        return f"{self.pod_cidr},{POD_CIDR_6}" if self.dual_stack else self.pod_cidr

    def to_tree(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Config:
        return cls(**{**tree, "nodes": tuple(tree["nodes"])})


def parse_name(name: str) -> str:
    """A cluster's name: it becomes a folder and a control group."""
    if not NAME.fullmatch(name):
        raise Failure(f"cluster name {name!r}: use at most 40 lower-case letters, digits and '-', as in --name test-1")
    return name


def parse_nodes(count: int | None, names: str | None) -> tuple[str, ...]:
    """The nodes' names, from --nodes and --node-names."""
    if names is None:
        wanted = 3 if count is None else count
        if not 1 <= wanted <= MOST_NODES:
            raise Failure(f"--nodes {wanted}: a cluster has 1 to {MOST_NODES} nodes")
        return tuple(f"node-{number}" for number in range(1, wanted + 1))
    found = tuple(name.strip() for name in names.split(","))
    for name in found:
        if name in RESERVED_NODES:
            raise Failure(f"--node-names: {name!r} is the name of another machine of every cluster; use another one")
        if not NODE_NAME.fullmatch(name):
            raise Failure(f"--node-names: {name!r} cannot name a node; use lower-case letters, digits and '-'")
    if len(set(found)) != len(found):
        raise Failure("--node-names: each name may be given once")
    if len(found) > MOST_NODES:
        raise Failure(f"--node-names: a cluster has 1 to {MOST_NODES} nodes")
    if count is not None and count != len(found):
        raise Failure(f"--nodes {count} but --node-names has {len(found)}: leave one of them out")
    return found


def parse_node_kind(kind: str) -> str:
    """What a node's network is: a namespace of this machine's kernel, or a User Mode Linux guest."""
    if kind not in PROXY_MODES:
        raise Failure(f"--node-kind {kind}: use one of {', '.join(PROXY_MODES)}")
    return kind


def parse_dual_stack(wanted: bool, kind: str = NAMESPACE) -> bool:
    """Guests route one family."""
    if wanted and kind != NAMESPACE:
        raise Failure(f"--dual-stack: nodes of kind {kind} have IPv4 only; leave out --node-kind")
    return wanted


def parse_network_policy(wanted: bool, kind: str = NAMESPACE) -> bool:
    """Policies are nftables' work."""
    if wanted and kind != NAMESPACE:
        raise Failure(f"--network-policy: nodes of kind {kind} have a kernel without nftables; leave out --node-kind")
    return wanted


def parse_proxy_mode(mode: str | None, kind: str = NAMESPACE) -> str:
    """A proxy mode that nodes of this kind can do; without a choice their default."""
    modes = PROXY_MODES[kind]
    if mode is None:
        return modes[0]
    if mode not in modes:
        known = any(mode in each for each in PROXY_MODES.values())
        why = f"nodes of kind {kind} have a kernel without it" if known else "unknown"
        raise Failure(f"--proxy-mode {mode}: {why}; use one of {', '.join(modes)}")
    return mode


def parse_resolver(resolver: str) -> str:
    """Who is asked about names beyond the cluster: `host`, `none`, or addresses with a port if it is not 53."""
    if resolver in (ASK_HOST, NOBODY):
        return resolver
    for each in resolver.split(","):
        host, _, port = each.rpartition(":") if each.count(":") == 1 else (each, "", "53")
        try:
            ip_address(host.strip("[]"))
            fits = 0 < int(port) < 65536
        except ValueError:
            fits = False
        if not fits:
            raise Failure(f"--resolver {resolver}: use {ASK_HOST}, {NOBODY}, or addresses like 10.0.0.1,10.0.0.2:5353")
    return resolver


def parse_store(store: str) -> str:
    """A store that this version has."""
    from clusterip.store.opening import check  # the light commands need no store

    return check(store)
