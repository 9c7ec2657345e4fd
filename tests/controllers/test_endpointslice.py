"""EndpointSlices: the recorded answers of the real controller, and the rules of placing endpoints."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.controllers.endpointslice import reconcile
from clusterip.controllers.filling import SLICE_LIMIT
from clusterip.controllers.model import EndpointSlice, Pod, Service
from clusterip.controllers.writes import Create, Delete, Patch

CASES = json.loads((Path(__file__).parents[1] / "fixtures/endpointslices/cases.json").read_text())
MIRRORING = {"mirror"}  # made by another controller


def pod_tree(pod):
    """A fixture's short form of a pod, as the API would show it."""
    meta = {"name": pod["name"], "namespace": "ns", "labels": pod["labels"]}
    if pod["deleting"]:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = {
        "phase": pod["phase"],
        "conditions": [{"type": "Ready", "status": str(pod["ready"]), "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
    if pod["ip"]:
        status |= {"podIP": pod["ip"], "podIPs": [{"ip": pod["ip"]}]}
    spec = {"nodeName": pod["node"], "containers": [{"name": "c", "ports": pod["ports"]}], **pod["spec"]}
    return {"metadata": meta, "spec": spec, "status": status}


def service_tree(tree):
    meta = {"namespace": "ns", "uid": "service", "creationTimestamp": "2026-01-01T00:00:00Z", **tree["metadata"]}
    return {"metadata": meta, "spec": tree["spec"]}


def read(tree, kind):
    return msgspec.convert(tree, kind)


def matching(service, pods):
    selector = service.spec.selector or {}
    return [pod for pod in pods if selector and selector.items() <= pod.metadata.labels.items()]


def named(tree, service):
    """A created slice in the fixture's words."""
    meta = tree["metadata"]
    owners = [{name: value for name, value in owner.items() if name != "uid"} for owner in meta["ownerReferences"]]
    annotations = dict.fromkeys(meta["annotations"], "<time>")
    meta = {**meta, "name": f"{service.metadata.name}-<random>", "ownerReferences": owners, "annotations": annotations}
    kept = {name: tree[name] for name in ("addressType", "endpoints", "ports")}
    return {"metadata": meta, **kept}


@pytest.mark.parametrize("name", [name for name in CASES if name not in MIRRORING])
def test_recorded(name):
    case = CASES[name]
    pods = [read(pod_tree(pod), Pod) for pod in case["pods"]]
    made = []
    for tree in case["services"]:
        service = read(service_tree(tree), Service)
        writes = reconcile(service, matching(service, pods), [], case["nodes"])
        assert all(isinstance(write, Create) for write in writes)
        made += [named(write.tree, service) for write in writes]
    assert sorted(made, key=json.dumps) == sorted(case["endpointslices"], key=json.dumps)


# -- placing ---------------------------------------------------------------------------------------------------------

SERVICE = msgspec.convert(
    {
        "metadata": {"name": "web", "namespace": "ns", "uid": "s"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    },
    Service,
)


def pod(number, ready=True, port=None):
    ports = [{"name": "http", "containerPort": port}] if port else []
    ip = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    return read(
        {
            "metadata": {"name": f"p{number}", "namespace": "ns", "uid": f"u{number}", "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"ports": ports}]},
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]},
        },
        Pod,
    )


class Slices:
    """A small world that writes are carried out in."""

    def __init__(self):
        self.trees = {}
        self.counter = 0

    def structs(self):
        return [read(tree, EndpointSlice) for tree in self.trees.values()]

    def carry_out(self, writes):
        for write in writes:
            match write:
                case Create():
                    self.counter += 1
                    name = f"web-{self.counter}"
                    meta = {**write.tree["metadata"], "name": name, "resourceVersion": "1"}
                    self.trees[name] = {**write.tree, "metadata": meta}
                case Patch():
                    tree = self.trees[write.name]
                    self.trees[write.name] = {
                        **tree,
                        "endpoints": write.patch["endpoints"],
                        "ports": write.patch["ports"],
                    }
                case Delete():
                    del self.trees[write.name]
        return writes

    def settle(self, pods):
        writes = self.carry_out(reconcile(SERVICE, pods, self.structs(), {"n": None}))
        assert reconcile(SERVICE, pods, self.structs(), {"n": None}) == ()  # a second look finds nothing to do
        return writes

    def sizes(self):
        return sorted(len(tree["endpoints"]) for tree in self.trees.values())

    def addresses(self):
        return sorted(e["targetRef"]["name"] for tree in self.trees.values() for e in tree["endpoints"])


def test_at_most_a_hundred_in_a_slice():
    world = Slices()
    world.settle([pod(n) for n in range(250)])
    assert world.sizes() == [50, 100, 100]


def test_one_more_pod_changes_one_slice():
    world = Slices()
    world.settle([pod(n) for n in range(150)])
    writes = world.settle([pod(n) for n in range(151)])
    assert len(writes) == 1
    assert world.sizes() == [51, 100]


def test_removal_does_not_rebalance():
    world = Slices()
    world.settle([pod(n) for n in range(200)])
    writes = world.settle([pod(n) for n in range(0, 200, 2)])
    assert len(writes) == 2
    assert world.sizes() == [50, 50]


def test_new_endpoints_fill_what_changes_anyway():
    world = Slices()
    world.settle([pod(n) for n in range(110)])
    writes = world.settle([pod(n) for n in range(1, 111)])  # one goes from the full slice, one comes
    assert len(writes) == 1
    assert world.sizes() == [10, 100]


def test_a_condition_changes_in_place():
    world = Slices()
    world.settle([pod(n) for n in range(150)])
    writes = world.settle([pod(n, ready=n != 3) for n in range(150)])
    assert len(writes) == 1


def test_the_last_endpoint_leaves_an_empty_slice():
    world = Slices()
    world.settle([pod(1)])
    world.settle([])
    assert world.sizes() == [0]
    (tree,) = world.trees.values()
    assert tree["ports"] == []


def test_a_superfluous_slice_takes_new_content():
    world = Slices()
    world.settle([])
    writes = world.settle([pod(1)])
    assert [type(write) for write in writes] == [Patch]
    assert world.addresses() == ["p1"]


def test_slices_of_others_are_left_alone():
    other = {
        "metadata": {
            "name": "mine",
            "namespace": "ns",
            "labels": {"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "me"},
        },
        "addressType": "IPv4",
    }
    writes = reconcile(SERVICE, [pod(1)], [read(other, EndpointSlice)], {"n": None})
    assert [type(write) for write in writes] == [Create]


def test_a_pod_of_an_unknown_node_waits():
    assert reconcile(SERVICE, [pod(1)], [], {})[0].tree["endpoints"] == []


def test_labels_follow_the_service():
    world = Slices()
    world.settle([pod(1)])
    meta = msgspec.structs.replace(SERVICE.metadata, labels={"team": "x"})
    renamed = msgspec.structs.replace(SERVICE, metadata=meta)
    (write,) = reconcile(renamed, [pod(1)], world.structs(), {"n": None})
    assert write.patch["metadata"]["labels"]["team"] == "x"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 320), max_size=250), min_size=1, max_size=5))
def test_any_history_ends_with_exactly_the_pods(history):
    world = Slices()
    for numbers in history:
        world.settle([pod(n) for n in numbers])
        assert world.addresses() == sorted(f"p{n}" for n in numbers)
        assert all(size <= SLICE_LIMIT for size in world.sizes())
        assert world.trees
