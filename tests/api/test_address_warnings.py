"""Addresses and networks that could be written better, as kube-apiserver 1.36 tells it."""

from __future__ import annotations

import pytest

from clusterip.api.address_warnings import address_warning, network_warning
from clusterip.api.meta import Tree
from clusterip.api.resources import RESOURCES


@pytest.mark.parametrize("value", ["192.0.2.1", "fd00::1", "banana", ""])
def test_a_proper_address_and_no_address_are_not_spoken_of(value: str) -> None:
    assert address_warning("a", value) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("192.0.2.01", 'a: non-standard IP address "192.0.2.01" is invalid: use "192.0.2.1"'),
        ("::ffff:1.2.3.4", 'a: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4"'),
        ("FD00::0001", 'a: IPv6 address "FD00::0001" should be in RFC 5952 canonical format ("fd00::1")'),
    ],
)
def test_an_address_that_could_be_written_better(value: str, text: str) -> None:
    assert address_warning("a", value) == [text]


@pytest.mark.parametrize("value", ["10.0.0.0/8", "fd00::/64", "banana", "10.0.0.0", "10.0.0.0/40", "fd00::/-1"])
def test_a_proper_network_and_no_network_are_not_spoken_of(value: str) -> None:
    assert network_warning("a", value) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "10.0.0.1/8",
            'CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)',
        ),
        ("10.00.0.0/8", 'non-standard CIDR value "10.00.0.0/8" is invalid: use "10.0.0.0/8"'),
        ("10.0.0.0/08", 'non-standard CIDR value "10.0.0.0/08" is invalid: use "10.0.0.0/8"'),
        ("fd00:0::/64", 'IPv6 CIDR value "fd00:0::/64" should be in RFC 5952 canonical format ("fd00::/64")'),
    ],
)
def test_a_network_that_could_be_written_better(value: str, text: str) -> None:
    assert network_warning("a", value) == [f"a: {text}"]


SLOPPY, WIDE = {"ip": "192.0.2.01"}, "192.0.2.1/24"


def told(plural: str, tree: Tree, *, status: bool = False) -> list[str]:
    """The paths that a kind's warnings are about."""
    resource = next(each for each in RESOURCES if each.plural == plural)
    found = resource.status_warnings(tree) if status else resource.warnings(tree, None)
    return [text.partition(":")[0] for text in found]


def test_networks_of_policies_and_nodes() -> None:
    block = {"ipBlock": {"cidr": WIDE, "except": ["192.0.2.0/28", WIDE]}}
    spec = {"ingress": [{}, {"from": [{"podSelector": {}}, block]}], "egress": [{"to": [block]}]}
    assert told("networkpolicies", {"spec": spec}) == [
        "spec.ingress[1].from[1].ipBlock.cidr",
        "spec.ingress[1].from[1].ipBlock.except[1]",
        "spec.egress[0].to[0].ipBlock.cidr",
        "spec.egress[0].to[0].ipBlock.except[1]",
    ]
    assert told("nodes", {"spec": {"podCIDRs": ["10.0.0.0/24", WIDE], "externalID": "x"}}) == [
        "spec.externalID",
        "spec.podCIDRs[1]",
    ]


def test_addresses_in_statuses() -> None:
    balanced = {"status": {"loadBalancer": {"ingress": [{"hostname": "h"}, SLOPPY]}}}
    for plural in ("services", "ingresses"):
        assert told(plural, balanced, status=True) == ["status.loadBalancer.ingress[1]"]
    pod = {"status": {"podIPs": [{"ip": "10.0.0.1"}, SLOPPY], "hostIPs": [SLOPPY]}}
    assert told("pods", pod, status=True) == ["status.podIPs[1].ip", "status.hostIPs[0].ip"]
