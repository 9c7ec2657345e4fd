"""Trees become values; what cannot be read cuts off rather than lets through."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.policy.model import Direction, NamedPort, PortName
from clusterip.policy.reading import read_node, read_pod, read_policy
from policy.pictures import pod, policy

UNREADABLE: dict[str, dict[str, Any]] = {
    "selector": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}},
    "type": {"podSelector": {}, "policyTypes": ["Sideways"]},
    "peer without anything": {"ingress": [{"from": [{}]}]},
    "block and selector": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
    "network": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]},
    "except": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]}]},
    "range": {"ingress": [{"ports": [{"port": 90, "endPort": 80}]}]},
    "port": {"ingress": [{"ports": [{"port": 70000}]}]},
    "protocol": {"ingress": [{"ports": [{"port": 80, "protocol": "GRE"}]}]},
    "no list": {"ingress": 7},
    "no object": {"ingress": ["x"]},
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_allows_nothing_and_says_why(name: str) -> None:
    found = read_policy(policy("p", UNREADABLE[name]))
    assert found.fault
    assert found.allowed == {Direction.INGRESS: (), Direction.EGRESS: ()}
    assert found.uid == "uid-p"


def test_a_selector_that_can_be_read_still_counts() -> None:
    selector = {"matchLabels": {"app": "db"}}
    found = read_policy(policy("p", {"podSelector": selector, "ingress": [{"from": [{}]}]}))
    assert str(found.pods) == "app=db"


@pytest.mark.parametrize(
    ("change", "is_known"),
    [({}, True), ({"phase": "Succeeded"}, False), ({"phase": "Failed"}, False), ({"podIP": "", "podIPs": []}, False)],
)
def test_pods_with_an_address_that_have_not_ended(change: dict[str, Any], is_known: bool) -> None:
    assert (read_pod(pod("a", "10.244.1.5", **change)) is not None) is is_known


def test_a_pod_in_the_hosts_network_is_nobody() -> None:
    tree = pod("a", "192.168.4.101", node="node-1")
    tree["spec"]["hostNetwork"] = True
    assert read_pod(tree) is None


def test_names_of_ports_also_of_sidecars() -> None:
    tree = pod("a", "10.244.1.5", ports={"web": "80"})
    port = {"name": "side", "containerPort": 9, "protocol": "UDP"}
    tree["spec"]["initContainers"] = [{"restartPolicy": "Always", "ports": [port]}, {"ports": [port | {"name": "x"}]}]
    found = read_pod(tree)
    assert found
    assert found.ports == (NamedPort(PortName("tcp", "web"), 80), NamedPort(PortName("udp", "side"), 9))


def test_a_node() -> None:
    found = read_node(
        {
            "metadata": {"name": "n"},
            "spec": {"podCIDR": "10.244.1.0/24"},
            "status": {
                "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]
            },
        }
    )
    assert (found.name, [*map(str, found.addresses)], [*map(str, found.pod_networks)]) == (
        "n",
        ["10.0.0.1"],
        ["10.244.1.0/24"],
    )
