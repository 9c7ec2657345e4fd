"""Who may speak with whom, case by case, as the API's documentation has it."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.policy.plan import decide
from policy.pictures import packet, picture, pod, policy

WEB, DB, FAR, OTHER, OUTSIDE = "10.244.1.5", "10.244.1.6", "10.244.2.5", "10.244.2.6", "172.17.1.9"
SPACES = {"default": {}, "b": {"project": "myproject"}, "c": {}}
PODS = [
    pod("web", WEB, "fd00:10:244:1::5", labels={"role": "frontend"}),
    pod("db", DB, "fd00:10:244:1::6", labels={"role": "db"}, ports={"sql": "6379", "web": "80"}),
    pod("far", FAR, labels={"role": "frontend"}, ports={"web": "8080"}),
    pod("other", OTHER, namespace="b", labels={"role": "client"}),
    pod("third", "10.244.2.7", namespace="c", labels={"role": "client"}),
]
ALL: dict[str, Any] = {"podSelector": {}}
TO_DB: dict[str, Any] = {"podSelector": {"matchLabels": {"role": "db"}}}
FRONTEND = {"podSelector": {"matchLabels": {"role": "frontend"}}}
PROJECT = {"namespaceSelector": {"matchLabels": {"project": "myproject"}}}
CLIENT = {"podSelector": {"matchLabels": {"role": "client"}}}
BLOCK = {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}}
LESSON = TO_DB | {
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [{"from": [BLOCK, PROJECT, FRONTEND], "ports": [{"protocol": "TCP", "port": 6379}]}],
    "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5978}]}],
}


def ingress(*peers: Any, ports: Any = ()) -> dict[str, Any]:
    return TO_DB | {"ingress": [{"from": list(peers), "ports": list(ports)}]}


def egress(*peers: Any, ports: Any = ()) -> dict[str, Any]:
    return ALL | {"policyTypes": ["Egress"], "egress": [{"to": list(peers), "ports": list(ports)}]}


CASES = {
    # default deny, default allow
    "no policy": ([], (FAR, DB), True),
    "deny ingress": ([ALL], (FAR, DB), False),
    "deny ingress, egress goes on": ([ALL], (WEB, FAR), True),
    "deny egress": ([ALL | {"policyTypes": ["Egress"]}], (WEB, FAR), False),
    "deny egress, ingress goes on": ([ALL | {"policyTypes": ["Egress"]}], (OUTSIDE, DB), True),
    "deny all": ([ALL | {"policyTypes": ["Ingress", "Egress"]}], (OUTSIDE, DB), False),
    "allow all ingress": ([ALL, ALL | {"ingress": [{}]}], (OUTSIDE, DB), True),
    "allow all egress": ([ALL | {"policyTypes": ["Egress"]}, egress()], (WEB, OUTSIDE), True),
    "egress rules without a type isolate egress": ([ALL | {"egress": [{"to": [FRONTEND]}]}], (WEB, OUTSIDE), False),
    "the other namespace is not isolated": ([ALL], (WEB, OTHER), True),
    # peers
    "frontend to db": ([ingress(FRONTEND)], (FAR, DB), True),
    "another pod to db": ([ingress(FRONTEND)], (OTHER, DB), False),
    "pods of the own namespace only": ([ingress(CLIENT)], (OTHER, DB), False),
    "a namespace by label": ([ingress(PROJECT)], (OTHER, DB), True),
    "a namespace by label, another one": ([ingress(PROJECT)], ("10.244.2.7", DB), False),
    "a namespace by name": (
        [ingress({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}})],
        (OTHER, DB),
        True,
    ),
    "all namespaces": ([ingress({"namespaceSelector": {}})], ("10.244.2.7", DB), True),
    "all namespaces are no addresses from outside": ([ingress({"namespaceSelector": {}})], (OUTSIDE, DB), False),
    "both selectors": ([ingress(PROJECT | CLIENT)], (OTHER, DB), True),
    "both selectors, wrong pod": ([ingress(PROJECT | FRONTEND)], (OTHER, DB), False),
    "both selectors, wrong namespace": ([ingress(PROJECT | CLIENT)], ("10.244.2.7", DB), False),
    "either selector": ([ingress(PROJECT, FRONTEND)], (FAR, DB), True),
    "a block": ([ingress({"ipBlock": {"cidr": "172.17.0.0/16"}})], (OUTSIDE, DB), True),
    "a block without some": ([ingress(BLOCK)], (OUTSIDE, DB), False),
    "what one block cuts another gives": (
        [ingress(BLOCK, {"ipBlock": {"cidr": "172.17.1.9/32"}})],
        (OUTSIDE, DB),
        True,
    ),
    "policies add up": ([ALL, ingress(FRONTEND)], (FAR, DB), True),
    # ports
    "a port": ([ingress(ports=[{"port": 80}])], (FAR, DB, "80/tcp"), True),
    "another port": ([ingress(ports=[{"port": 81}])], (FAR, DB, "80/tcp"), False),
    "another protocol": ([ingress(ports=[{"port": 80}])], (FAR, DB, "80/udp"), False),
    "a protocol": ([ingress(ports=[{"protocol": "SCTP"}])], (FAR, DB, "9/sctp"), True),
    "the end of a range": ([ingress(ports=[{"port": 80, "endPort": 90}])], (FAR, DB, "90/tcp"), True),
    "beyond a range": ([ingress(ports=[{"port": 80, "endPort": 90}])], (FAR, DB, "91/tcp"), False),
    "a name": ([ingress(ports=[{"port": "sql"}])], (FAR, DB, "6379/tcp"), True),
    "a name of another pod's port": ([ingress(ports=[{"port": "web"}])], (FAR, DB, "8080/tcp"), False),
    "a name that nobody has": ([ingress(ports=[{"port": "nope"}])], (FAR, DB, "80/tcp"), False),
    "egress by a name means the receiver's": ([egress(ports=[{"port": "web"}])], (WEB, FAR, "8080/tcp"), True),
    "egress by a name, another number": ([egress(ports=[{"port": "web"}])], (WEB, FAR, "80/tcp"), False),
    # the example of the documentation
    "example: frontend": ([LESSON], (FAR, DB, "6379/tcp"), True),
    "example: project": ([LESSON], (OTHER, DB, "6379/tcp"), True),
    "example: block": ([LESSON], ("172.17.2.1", DB, "6379/tcp"), True),
    "example: excepted": ([LESSON], (OUTSIDE, DB, "6379/tcp"), False),
    "example: port": ([LESSON], (FAR, DB, "6380/tcp"), False),
    "example: out": ([LESSON], (DB, "10.0.0.7", "5978/tcp"), True),
    "example: out elsewhere": ([LESSON], (DB, "10.0.1.7", "5978/tcp"), False),
    "example: web is not isolated": ([LESSON], (FAR, WEB), True),
    # who is never cut off, and who always is
    "the node to its pod": ([ALL], ("192.168.4.101", DB), True),
    "a pod to its node": ([ALL | {"policyTypes": ["Egress"]}], (WEB, "192.168.4.101"), True),
    "another node": ([ALL], ("192.168.4.102", DB), False),
    "a pod to itself": ([ALL | {"policyTypes": ["Ingress", "Egress"]}], (DB, DB), True),
    "pods of other nodes are theirs": ([ALL], (OUTSIDE, FAR), True),
    "both ends, egress": ([egress(CLIENT), ingress(FRONTEND)], (WEB, DB), False),
    "both ends, ingress": ([egress(TO_DB), ingress(CLIENT)], (WEB, DB), False),
    "both ends": ([egress(TO_DB), ingress(FRONTEND)], (WEB, DB), True),
    "an address of this node that no pod has": ([], ("10.244.1.77", FAR), False),
    "to an address that no pod has": ([], (FAR, "10.244.1.77"), False),
    "IPv6": ([ingress(FRONTEND)], ("fd00:10:244:1::5", "fd00:10:244:1::6"), True),
    "IPv6, denied": ([ingress(CLIENT)], ("fd00:10:244:1::5", "fd00:10:244:1::6"), False),
    "unreadable": ([ingress({})], (FAR, DB), False),
    "unreadable: both directions": ([ingress({})], (DB, FAR), False),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    specs, asked, verdict = CASES[name]
    policies = [policy(f"p{number}", each) for number, each in enumerate(specs)]
    assert decide(picture(PODS, policies, SPACES), packet(*asked)) is verdict


def test_an_established_connection_goes_on() -> None:
    denied = picture(PODS, [policy("p", ALL)], SPACES)
    assert decide(denied, packet(FAR, DB, established=True))
