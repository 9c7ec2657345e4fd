"""What is known of this node: its object, the addresses of its machine, the networks of cluster IPs.

Stage: snapshot.  In: the Node, ServiceCIDRs, the kernel's addresses.  Out: the node of each family, and calls when any
of it may be another.
Rules: a Node counts once it has what the configuration needs; changes are taken as they come, without a restart.
Truth: pkg/proxy/node.go, which ends the process instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from clusterip.api.meta import Tree
from clusterip.kernel.address_monitor import AddressMonitor
from clusterip.kernel.link import Netlink
from clusterip.proxy import resolve
from clusterip.proxy.config import KubeProxyConfiguration
from clusterip.proxy.model import Family, IPAddress, IPNetwork, Node
from clusterip.proxy.objects import LEAVING_TAINT, NodeObject
from clusterip.proxy.snapshot import zone_of

logger = logging.getLogger(__name__)

ObjectName = tuple[str, str]
Networks = tuple[IPNetwork, ...]
SERVICES_DEVICE = "kube-ipvs0"  # it has the addresses of Services, which are not the node's


class Surroundings:
    """The node and its machine. `on_change` is called when a family's node may be another."""

    def __init__(
        self,
        config: KubeProxyConfiguration,
        service_networks: Iterable[IPNetwork] = (),
        *,
        on_change: Callable[[], None] = lambda: None,
        local_addresses: Callable[[], tuple[IPAddress, ...]] | None = None,
    ) -> None:
        self._config, self._on_change = config, on_change
        self._configured = tuple(service_networks)
        self._local_addresses = local_addresses or interface_addresses
        self._networks: dict[ObjectName, Networks] = {}
        self.node: NodeObject | None = None
        self.known = asyncio.Event()

    def on_node(self, key: ObjectName, old: NodeObject | None, new: NodeObject | None) -> None:
        if new is None:
            logger.warning("The Node object was deleted", extra={"kv": {"node": key[1]}})
            return
        self.node = new
        if self._is_complete(new):
            self.known.set()
        self._on_change()

    def _is_complete(self, found: NodeObject) -> bool:
        """Whether the Node says what is needed: its addresses, and its pods' network where that tells pods apart."""
        needs_network = self._config.detect_local_mode == "NodeCIDR"
        return bool(resolve.host_addresses(found)) and bool(resolve.pod_networks(found) or not needs_network)

    @property
    def is_eligible(self) -> bool:
        """Whether the node stays: it is there, not being deleted, and not marked to go."""
        if self.node is None or self.node.metadata.deletion_timestamp:
            return False
        return not any(taint.key == LEAVING_TAINT for taint in self.node.spec.taints or ())

    @property
    def primary_family(self) -> Family:
        return resolve.primary_family(self._config, resolve.host_addresses(self.node) if self.node else ())

    def on_networks(self, key: ObjectName, old: Networks | None, new: Networks | None) -> None:
        """A ServiceCIDR changed."""
        if new is None:
            self._networks.pop(key, None)
        else:
            self._networks[key] = new
        self._on_change()

    def as_seen(self, node: Node) -> Node:
        """A family's node, as everything says by now."""
        assert self.node is not None
        found = resolve.node_as_seen(
            node,
            self._config,
            reported=resolve.host_addresses(self.node),
            local=self._local_addresses(),
            pod_networks=resolve.pod_networks(self.node),
            zone=zone_of(self.node),
        )
        networks = (*self._configured, *(network for known in self._networks.values() for network in known))
        own = tuple(dict.fromkeys(network for network in networks if Family.of(network) is node.family))
        return replace(found, service_networks=own)

    def monitor(self) -> AddressMonitor:
        """What tells of changed addresses, for the loop to read."""
        return AddressMonitor(self._on_change, SERVICES_DEVICE)


def service_networks_of(tree: Tree) -> Networks:
    """The networks of a ServiceCIDR; ValueError when they are none."""
    return tuple(resolve.networks_of(tree.get("spec", {}).get("cidrs") or ()))


def interface_addresses() -> tuple[IPAddress, ...]:
    """The addresses of this network namespace."""
    with Netlink() as netlink:
        return tuple(address.address.ip for address in netlink.addresses() if address.dev != SERVICES_DEVICE)
