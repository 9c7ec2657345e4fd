"""What follows from a configuration: for one IP family of a node, and for the whole process.

Stage: edge.  In: KubeProxyConfiguration (checked), the Node object, the machine's addresses.  Out: values.
Rules: pure.  Node ports: every address by default, the node's primary one in nftables mode; a list that names no
network of a family does not limit that family.
Truth: cmd/kube-proxy/app (detectNodeIPs, getLocalDetectors, getConntrackMax), pkg/proxy/util/nodeport_addresses.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network

from clusterip.failure import Failure
from clusterip.proxy.config import Iptables, Ipvs, KubeProxyConfiguration, Nftables
from clusterip.proxy.model import Family, IPAddress, IPNetwork, Node, PodTraffic, Traits
from clusterip.proxy.objects import NodeObject
from clusterip.proxy.pace import Periods

PRIMARY = "primary"
CONNTRACK = "net.netfilter.nf_conntrack_"


def section(config: KubeProxyConfiguration) -> Iptables | Ipvs | Nftables:
    """The mode's own section; userspace mode redirects by iptables and has theirs."""
    own: Mapping[str, Iptables | Ipvs | Nftables] = {"nftables": config.nftables, "ipvs": config.ipvs}
    return own.get(config.mode, config.iptables)


def periods(config: KubeProxyConfiguration) -> Periods:
    found = section(config)
    return Periods(min_sync_seconds=float(found.min_sync_period), sync_seconds=float(found.sync_period))


def masquerade_bit(config: KubeProxyConfiguration) -> int:
    return config.nftables.masquerade_bit if config.mode == "nftables" else config.iptables.masquerade_bit


def masquerade_all(config: KubeProxyConfiguration) -> bool:
    return config.nftables.masquerade_all if config.mode == "nftables" else config.iptables.masquerade_all


def primary_family(config: KubeProxyConfiguration, reported: Sequence[IPAddress]) -> Family:
    """From bindAddress when it names an address, else from the node's first."""
    if bound := bound_address(config):
        return Family.of(bound)
    return Family.of(reported[0]) if reported else Family.IPV4


def host_addresses(found: NodeObject) -> tuple[IPAddress, ...]:
    """The node's own address, internal before external, and one of the other family when there is one."""
    entries = (found.status.addresses if found.status else None) or ()
    texts = [entry.address for kind in ("InternalIP", "ExternalIP") for entry in entries if entry.type == kind]
    first: dict[Family, IPAddress] = {}
    for address in (parsed for text in texts if (parsed := _address(text))):
        first.setdefault(Family.of(address), address)
    return tuple(first.values())


def pod_networks(found: NodeObject) -> tuple[IPNetwork, ...]:
    """The networks of this node's pods."""
    texts = found.spec.pod_cidrs or (found.spec.pod_cidr,)
    return tuple(network for text in texts if (network := _network(text)))


def _address(text: str) -> IPAddress | None:
    with suppress(ValueError):
        return ip_address(text)
    return None


def _network(text: str) -> IPNetwork | None:
    with suppress(ValueError):
        return ip_network(text, strict=False)
    return None


def bound_address(config: KubeProxyConfiguration) -> IPAddress | None:
    """The node's address by configuration."""
    address = ip_address(config.bind_address)
    return None if address.is_unspecified else address


def first_node(
    config: KubeProxyConfiguration, name: str, family: Family, traits: Traits, services: Iterable[IPNetwork]
) -> Node:
    """What is known of the node before the API tells more."""
    return Node(
        name.lower(),
        masquerade_all=masquerade_all(config),
        service_networks=tuple(network for network in services if Family.of(network) is family),
        family=family,
        traits=traits,
        localhost_node_ports=localhost_node_ports(config, family),
    )


def node_as_seen(
    node: Node,
    config: KubeProxyConfiguration,
    *,
    reported: Iterable[IPAddress],
    local: Iterable[IPAddress],
    pod_networks: Iterable[IPNetwork],
    zone: str,
) -> Node:
    """The node with what its object and the machine say: addresses of this family, the node's own first."""
    bound = bound_address(config)
    own = [address for address in ((bound,) if bound else ()) + tuple(reported) if Family.of(address) is node.family]
    here = [address for address in local if Family.of(address) is node.family and not address.is_link_local]
    addresses = tuple(dict.fromkeys((*own, *(address for address in here if not address.is_loopback))))
    return replace(
        node,
        addresses=addresses,
        zone=zone,
        pod_traffic=pod_traffic(config, node.family, pod_networks),
        node_port_addresses=node_port_addresses(config, node.family, own[0] if own else None, here),
    )


def pod_traffic(config: KubeProxyConfiguration, family: Family, pod_networks: Iterable[IPNetwork]) -> PodTraffic | None:
    """How the traffic of pods is known; None when nothing says it. The networks are the node's own."""
    mode, detect = config.detect_local_mode, config.detect_local
    if mode == "BridgeInterface":
        return PodTraffic(interface=detect.bridge_interface)
    if mode == "InterfaceNamePrefix":
        return PodTraffic(interface=detect.interface_name_prefix + "*")
    networks = pod_networks if mode == "NodeCIDR" else networks_of(config.cluster_cidr.split(","))
    return next((PodTraffic(network=network) for network in networks if Family.of(network) is family), None)


def networks_of(texts: Iterable[str]) -> list[IPNetwork]:
    """The networks that texts name; ValueError when one names none."""
    return [ip_network(text.strip(), strict=False) for text in texts if text.strip()]


def node_port_networks(config: KubeProxyConfiguration, family: Family) -> list[IPNetwork]:
    """Where node ports are taken; empty: not limited."""
    texts = [text for text in config.node_port_addresses if text != PRIMARY]
    found = [network for network in networks_of(texts) if Family.of(network) is family]
    return [] if any(network.prefixlen == 0 for network in found) else found


def node_port_addresses(
    config: KubeProxyConfiguration, family: Family, primary: IPAddress | None, addresses: Iterable[IPAddress]
) -> frozenset[IPAddress] | None:
    """The addresses that take node ports; None: every one of this machine. Loopback only where it may.

    A family in which the node has no address of its own is not limited by `primary`, as by networks of the other.
    """
    if config.node_port_addresses == (PRIMARY,):
        return frozenset({primary}) if primary and not primary.is_loopback else None
    networks = node_port_networks(config, family)
    if not networks:
        return None
    found = (address for address in addresses if any(address in network for network in networks))
    loopback = localhost_node_ports(config, family)
    return frozenset(address for address in found if loopback or not address.is_loopback)


def localhost_node_ports(config: KubeProxyConfiguration, family: Family) -> bool:
    """iptables mode alone has them on 127.0.0.0/8, unless the configuration says no or names other networks."""
    if config.mode != "iptables" or family is not Family.IPV4 or not config.iptables.localhost_node_ports:
        return False
    if config.node_port_addresses == (PRIMARY,):
        return False
    networks = node_port_networks(config, family)
    return not networks or any(network.overlaps(family.loopback) for network in networks)


def conntrack_sysctls(config: KubeProxyConfiguration, cores: int) -> dict[str, int]:
    """The kernel settings of connection tracking; 0 leaves one as it is."""
    found = config.conntrack
    most = max(found.max_per_core * cores, found.min) if found.max_per_core else 0
    values = {
        CONNTRACK + "max": most,
        CONNTRACK + "tcp_timeout_established": int(found.tcp_established_timeout),
        CONNTRACK + "tcp_timeout_close_wait": int(found.tcp_close_wait_timeout),
        CONNTRACK + "tcp_be_liberal": int(found.tcp_be_liberal),
        CONNTRACK + "udp_timeout": int(found.udp_timeout),
        CONNTRACK + "udp_timeout_stream": int(found.udp_stream_timeout),
    }
    return {name: value for name, value in values.items() if value}


def service_networks(text: str) -> tuple[IPNetwork, ...]:
    """The ranges of which unallocated addresses are dropped."""
    try:
        return tuple(networks_of(text.split(",")))
    except ValueError as error:
        raise Failure(f"--service-cluster-ip-range: {error}") from error


def warnings(config: KubeProxyConfiguration, primary: Family) -> list[str]:
    """What is allowed and still worth a second thought, once at start."""
    found = []
    if not config.node_port_addresses:
        found.append("nodePortAddresses is unset: node ports are taken on all local addresses; consider [primary]")
    elif config.node_port_addresses != (PRIMARY,):
        named = {Family.of(network) for network in networks_of(config.node_port_addresses)}
        others = [_name(family) for family in Family if family not in named]
        found += [f"nodePortAddresses names no {name} network: all local {name} addresses are taken" for name in others]
    if config.detect_local_mode == "ClusterCIDR" and pod_traffic(config, primary, ()) is None:
        found.append(f"clusterCIDR names no {_name(primary)} network: which traffic is the pods' is not known")
    return found


def _name(family: Family) -> str:
    return f"IPv{family.value}"
