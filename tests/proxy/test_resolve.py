"""What follows from a configuration: the node of each family, periods, sysctls."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from clusterip.failure import Failure
from clusterip.proxy import resolve
from clusterip.proxy.config import KubeProxyConfiguration, parse
from clusterip.proxy.model import Family, IPAddress, Node, PodTraffic, Traits
from clusterip.proxy.objects import Metadata, NodeAddress, NodeObject, NodeSpec, NodeStatus

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
PRIMARY, OTHER, SIX = IPv4Address("192.168.4.101"), IPv4Address("10.0.0.1"), IPv6Address("fd00::101")
LOOPBACK = IPv4Address("127.0.0.1")
LOCAL: tuple[IPAddress, ...] = (LOOPBACK, PRIMARY, OTHER, SIX, IPv6Address("fe80::1"))


def read(text: str) -> KubeProxyConfiguration:
    return parse(HEAD + text, "config.conf")


def seen(text: str, family: Family = Family.IPV4, *reported: IPAddress) -> Node:
    config = read(text)
    first = resolve.first_node(config, "Node-1", family, Traits(), ())
    networks = (IPv4Network("10.244.1.0/24"), IPv6Network("fd00:1::/64"))
    return resolve.node_as_seen(
        first, config, reported=reported or (PRIMARY, SIX), local=LOCAL, pod_networks=networks, zone="z"
    )


def node(*addresses: tuple[str, str], networks: tuple[str, ...] | None = None) -> NodeObject:
    entries = tuple(NodeAddress(kind, address) for kind, address in addresses)
    return NodeObject(Metadata("node-1"), NodeSpec(pod_cidrs=networks), NodeStatus(entries))


def test_the_nodes_own_addresses() -> None:
    found = node(("Hostname", "node-1"), ("ExternalIP", "1.2.3.4"), ("InternalIP", "fd00::101"), ("InternalIP", "x"))
    assert resolve.host_addresses(found) == (SIX, IPv4Address("1.2.3.4"))
    assert resolve.host_addresses(node()) == ()
    assert resolve.pod_networks(node(networks=("10.244.1.0/24", "what"))) == (IPv4Network("10.244.1.0/24"),)


@pytest.mark.parametrize(
    ("text", "reported", "family"),
    [
        ("", (PRIMARY, SIX), Family.IPV4),
        ("", (SIX, PRIMARY), Family.IPV6),
        ("", (), Family.IPV4),
        ("bindAddress: '::'", (PRIMARY,), Family.IPV4),
        ("bindAddress: fd00::1", (PRIMARY,), Family.IPV6),
    ],
)
def test_the_primary_family(text: str, reported: tuple[IPAddress, ...], family: Family) -> None:
    assert resolve.primary_family(read(text), reported) is family


def test_a_node_has_the_addresses_of_its_family() -> None:
    assert seen("").addresses == (PRIMARY, OTHER)
    assert seen("", Family.IPV6).addresses == (SIX,)
    assert seen("bindAddress: 10.0.0.1").addresses == (OTHER, PRIMARY)
    assert (seen("").name, seen("").zone) == ("node-1", "z")


def test_how_pods_are_known() -> None:
    assert seen("").pod_traffic is None
    assert seen("detectLocalMode: NodeCIDR").pod_traffic == PodTraffic(IPv4Network("10.244.1.0/24"))
    assert seen("detectLocalMode: NodeCIDR", Family.IPV6).pod_traffic == PodTraffic(IPv6Network("fd00:1::/64"))
    dual = "clusterCIDR: 10.244.0.0/16,fd00::/48"
    assert seen(dual).pod_traffic == PodTraffic(IPv4Network("10.244.0.0/16"))
    assert seen(dual, Family.IPV6).pod_traffic == PodTraffic(IPv6Network("fd00::/48"))
    bridge = "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}"
    assert seen(bridge, Family.IPV6).pod_traffic == PodTraffic(interface="cni0")
    prefix = "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}"
    assert seen(prefix).pod_traffic == PodTraffic(interface="veth*")


@pytest.mark.parametrize(
    ("text", "family", "taken"),
    [
        ("", Family.IPV4, {PRIMARY}),
        ("", Family.IPV6, {SIX}),
        ("mode: iptables", Family.IPV4, None),
        ("nodePortAddresses: [primary]\nmode: ipvs", Family.IPV4, {PRIMARY}),
        ("nodePortAddresses: [10.0.0.0/8, 127.0.0.0/8]", Family.IPV4, {OTHER}),
        ("nodePortAddresses: [10.0.0.0/8, 127.0.0.0/8]\nmode: iptables", Family.IPV4, {OTHER, LOOPBACK}),
        ("nodePortAddresses: [10.0.0.0/8]", Family.IPV6, None),
        ("nodePortAddresses: [0.0.0.0/0, 10.0.0.0/8]", Family.IPV4, None),
    ],
)
def test_where_node_ports_are_taken(text: str, family: Family, taken: set[IPAddress] | None) -> None:
    assert seen(text, family).node_port_addresses == taken


def test_a_node_without_an_address_of_a_family_is_not_limited_in_it() -> None:
    """As upstream, where `primary` becomes the networks of the addresses that there are."""
    assert seen("", Family.IPV6, PRIMARY).node_port_addresses is None


@pytest.mark.parametrize(
    ("text", "family", "there"),
    [
        ("mode: iptables", Family.IPV4, True),
        ("mode: iptables", Family.IPV6, False),
        ("mode: iptables\niptables: {localhostNodePorts: false}", Family.IPV4, False),
        ("mode: iptables\nnodePortAddresses: [10.0.0.0/8]", Family.IPV4, False),
        ("mode: iptables\nnodePortAddresses: [127.0.0.0/8]", Family.IPV4, True),
        ("mode: iptables\nnodePortAddresses: [primary]", Family.IPV4, False),
        ("mode: ipvs", Family.IPV4, False),
        ("", Family.IPV4, False),
    ],
)
def test_node_ports_on_the_loopback_network(text: str, family: Family, there: bool) -> None:
    assert resolve.first_node(read(text), "n", family, Traits(), ()).localhost_node_ports is there


def test_masquerading_and_periods_are_the_modes_own() -> None:
    text = "iptables: {masqueradeAll: true, masqueradeBit: 7, syncPeriod: 10s, minSyncPeriod: 1s}"
    for mode, values in {
        "nftables": (False, 14, 30, 0),
        "iptables": (True, 7, 10, 1),
        "userspace": (True, 7, 10, 1),
    }.items():
        config = read(f"{text}\nmode: {mode}")
        periods = resolve.periods(config)
        found = (resolve.masquerade_all(config), resolve.masquerade_bit(config))
        assert (*found, periods.sync_seconds, periods.min_sync_seconds) == values


def test_service_networks_are_split_by_family() -> None:
    networks = resolve.service_networks("10.96.0.0/12, fd00:96::/112")
    nodes = [resolve.first_node(read(""), "n", family, Traits(), networks) for family in Family]
    assert [found.service_networks for found in nodes] == [networks[:1], networks[1:]]
    with pytest.raises(Failure, match="--service-cluster-ip-range"):
        resolve.service_networks("10.96.0.0/99")


def test_conntrack_settings() -> None:
    prefix = "net.netfilter.nf_conntrack_"
    assert resolve.conntrack_sysctls(read(""), 8) == {
        prefix + "max": 262144,
        prefix + "tcp_timeout_established": 86400,
        prefix + "tcp_timeout_close_wait": 3600,
    }
    text = "conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s, tcpBeLiberal: true}"
    assert resolve.conntrack_sysctls(read(text), 8) == {prefix + "tcp_be_liberal": 1}


def test_warnings() -> None:
    assert resolve.warnings(read("clusterCIDR: 10.244.0.0/16"), Family.IPV4) == []
    found = resolve.warnings(read("mode: iptables"), Family.IPV4)
    assert [text.split(":")[0] for text in found] == ["nodePortAddresses is unset", "clusterCIDR names no IPv4 network"]
    found = resolve.warnings(read("clusterCIDR: 10.0.0.0/8\nnodePortAddresses: [10.0.0.0/8]"), Family.IPV4)
    assert found == ["nodePortAddresses names no IPv6 network: all local IPv6 addresses are taken"]


def test_an_address_in_another_form_is_the_same() -> None:
    assert seen("bindAddress: fd00:0::101", Family.IPV6).addresses == (ip_address("fd00::101"),)
