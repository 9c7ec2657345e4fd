"""What is known of the node: from its object, its machine and the API, as it changes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from clusterip.proxy.config import parse
from clusterip.proxy.model import Family, IPAddress, Node
from clusterip.proxy.objects import (
    LEAVING_TAINT,
    Metadata,
    NodeAddress,
    NodeObject,
    NodeSpec,
    NodeStatus,
    Taint,
)
from clusterip.proxy.surroundings import Surroundings, service_networks_of

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
KEY = ("", "node-1")
SERVICES_4, SERVICES_6 = IPv4Network("10.96.0.0/12"), IPv6Network("fd00:96::/112")


def node(address: str = "192.168.4.101", network: str = "", *taints: str, leaving: str | None = None) -> NodeObject:
    status = NodeStatus((NodeAddress("InternalIP", address),)) if address else None
    spec = NodeSpec(pod_cidr=network, taints=tuple(map(Taint, taints)))
    return NodeObject(Metadata("node-1", deletion_timestamp=leaving), spec, status)


class Place:
    """Surroundings with a machine that has the addresses given."""

    def __init__(self, text: str = "", *local: IPAddress) -> None:
        self.local: tuple[IPAddress, ...] = local
        self.changes = 0
        self.around = Surroundings(
            parse(HEAD + text, "config.conf"), on_change=self._count, local_addresses=lambda: self.local
        )

    def _count(self) -> None:
        self.changes += 1

    def seen(self, family: Family = Family.IPV4) -> Node:
        return self.around.as_seen(Node("node-1", family=family))


def test_a_node_counts_once_it_is_complete() -> None:
    place = Place()
    place.around.on_node(KEY, None, node(""))
    assert not place.around.known.is_set()
    place.around.on_node(KEY, None, node())
    assert place.around.known.is_set()
    assert place.changes == 2

    careful = Place("detectLocalMode: NodeCIDR")
    careful.around.on_node(KEY, None, node())
    assert not careful.around.known.is_set()
    careful.around.on_node(KEY, None, node(network="10.244.1.0/24"))
    assert careful.around.known.is_set()


def test_whether_the_node_stays() -> None:
    place = Place()
    assert not place.around.is_eligible
    for found, stays in (
        (node(), True),
        (node("192.168.4.101", "", LEAVING_TAINT), False),
        (node("192.168.4.101", "", "other"), True),
        (node(leaving="2026-01-01T00:00:00Z"), False),
    ):
        place.around.on_node(KEY, None, found)
        assert place.around.is_eligible is stays


def test_the_nodes_address_may_change() -> None:
    place = Place("", IPv4Address("10.0.0.1"))
    place.around.on_node(KEY, None, node())
    assert place.seen().addresses == (IPv4Address("192.168.4.101"), IPv4Address("10.0.0.1"))
    place.around.on_node(KEY, node(), node("192.168.4.111"))
    place.local = ()
    assert place.seen().addresses == (IPv4Address("192.168.4.111"),)
    assert place.seen().node_port_addresses == frozenset({IPv4Address("192.168.4.111")})
    place.around.on_node(KEY, node(), None)
    assert place.seen().addresses == (IPv4Address("192.168.4.111"),), "a node that is gone keeps its rules"


def test_the_primary_family_is_the_nodes() -> None:
    place = Place()
    place.around.on_node(KEY, None, node("fd00::101"))
    assert place.around.primary_family is Family.IPV6


def test_service_networks_come_from_the_api() -> None:
    place = Place()
    place.around.on_node(KEY, None, node())
    place.around.on_networks(("", "kubernetes"), None, (SERVICES_4, SERVICES_6))
    place.around.on_networks(("", "more"), None, (IPv4Network("10.200.0.0/16"),))
    assert place.seen().service_networks == (SERVICES_4, IPv4Network("10.200.0.0/16"))
    assert place.seen(Family.IPV6).service_networks == (SERVICES_6,)
    place.around.on_networks(("", "more"), (IPv4Network("10.200.0.0/16"),), None)
    assert place.seen().service_networks == (SERVICES_4,)


def test_a_service_cidr_is_read() -> None:
    assert service_networks_of({"spec": {"cidrs": ["10.96.0.0/12", "fd00:96::/112"]}}) == (SERVICES_4, SERVICES_6)
    assert service_networks_of({}) == ()
    with pytest.raises(ValueError, match="soon"):
        service_networks_of({"spec": {"cidrs": ["soon"]}})
