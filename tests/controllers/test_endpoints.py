"""Endpoints: the recorded answers of the real controller, and its limits."""

from __future__ import annotations

import json

import msgspec
import pytest

from clusterip.controllers.endpoints import OVER_CAPACITY, reconcile
from clusterip.controllers.model import Endpoints, Pod, Service
from clusterip.controllers.writes import Create, Patch
from controllers.test_endpointslice import CASES, matching, pod_tree, read, service_tree


def named(tree):
    meta = {**tree["metadata"], "annotations": dict.fromkeys(tree["metadata"]["annotations"], "<time>")}
    return {"metadata": meta} | ({"subsets": tree["subsets"]} if tree.get("subsets") else {})


def in_any_order(trees):
    """Upstream orders subsets by a hash of its own."""
    return [{**tree, "subsets": sorted(tree.get("subsets", []), key=json.dumps)} for tree in trees]


@pytest.mark.parametrize("name", [name for name in CASES if name != "mirror"])
def test_recorded(name):
    case = CASES[name]
    pods = [read(pod_tree(pod), Pod) for pod in case["pods"]]
    made = []
    for tree in case["services"]:
        service = read(service_tree(tree), Service)
        made += [named(write.tree) for write in reconcile(service, matching(service, pods), None)]
    assert in_any_order(made) == in_any_order(case["endpoints"])


SERVICE = read(
    {
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]},
    },
    Service,
)


def pods(count, ready=True):
    return [
        read(
            {
                "metadata": {"name": f"p{n}", "namespace": "ns", "uid": f"u{n}", "labels": {"app": "web"}},
                "status": {
                    "phase": "Running",
                    "podIP": f"10.0.{n // 256}.{n % 256}",
                    "conditions": [{"type": "Ready", "status": str(ready)}],
                },
            },
            Pod,
        )
        for n in range(count)
    ]


def test_two_ports_share_a_subset():
    (write,) = reconcile(SERVICE, pods(3), None)
    (subset,) = write.tree["subsets"]
    assert [port["port"] for port in subset["ports"]] == [80, 81]
    assert [address["ip"] for address in subset["addresses"]] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]


def test_a_second_look_finds_nothing_to_do():
    (write,) = reconcile(SERVICE, pods(3), None)
    assert isinstance(write, Create)
    assert reconcile(SERVICE, pods(3), read(write.tree, Endpoints)) == ()


def test_no_addresses_any_more():
    (write,) = reconcile(SERVICE, pods(3), None)
    (patch,) = reconcile(SERVICE, [], read(write.tree, Endpoints))
    assert isinstance(patch, Patch)
    assert patch.patch["subsets"] is None


def test_more_than_a_thousand_are_cut():
    (write,) = reconcile(SERVICE, pods(1200), None)
    assert len(write.tree["subsets"][0]["addresses"]) == 1000
    assert write.tree["metadata"]["annotations"][OVER_CAPACITY] == "truncated"


def test_labels_of_the_service_are_copied():
    meta = msgspec.structs.replace(SERVICE.metadata, labels={"team": "x"})
    (write,) = reconcile(msgspec.structs.replace(SERVICE, metadata=meta), [], None)
    assert write.tree["metadata"]["labels"]["team"] == "x"
