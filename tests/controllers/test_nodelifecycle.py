"""Silent nodes, taints by condition, evictions, pods of machines that are gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.client.names import LEASES
from clusterip.controllers import eviction, nodelifecycle, podgc
from clusterip.controllers.model import Node, Pod
from clusterip.controllers.nodelifecycle import GRACE_SECONDS, reconcile
from clusterip.controllers.writes import Delete, Patch
from controllers.cluster import NODES, PODS, cluster, node, pod

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def machine(ready="True", taints=(), **spec):
    tree = node("n1")
    tree["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    tree["status"]["conditions"] = [{"type": "Ready", "status": ready}]
    tree["spec"] = {"taints": list(taints), **spec}
    return msgspec.convert(tree, Node)


def tenant(ready="True", tolerations=()):
    tree = pod("p", tolerations=list(tolerations))
    tree["metadata"] |= {"uid": "p", "namespace": "default"}
    tree["spec"]["nodeName"] = "n1"
    tree["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
    return msgspec.convert(tree, Pod)


def taints_of(outcome):
    for write in outcome.writes:
        if isinstance(write, Patch) and "taints" in write.patch.get("spec", {}):
            return [(t["key"], t["effect"]) for t in write.patch["spec"]["taints"] or []]
    return None


def test_a_node_that_speaks_is_looked_at_again_in_time():
    outcome = reconcile(machine(), [], 10.0, NOW)
    assert outcome.writes == ()
    assert outcome.again == pytest.approx(GRACE_SECONDS - 10, abs=0.1)


def test_a_silent_node_becomes_unknown():
    outcome = reconcile(machine(), [tenant()], GRACE_SECONDS + 1, NOW)
    (patch, said) = outcome.writes
    conditions = {c["type"]: (c["status"], c["reason"]) for c in patch.patch["status"]["conditions"]}
    assert conditions["Ready"] == ("Unknown", "NodeStatusUnknown")
    assert conditions["DiskPressure"] == ("Unknown", "NodeStatusNeverUpdated")
    assert said.said.message == "Node n1 status is now: NodeNotReady"


def test_an_unknown_node_drives_pods_away_and_they_are_not_ready():
    outcome = reconcile(machine("Unknown"), [tenant()], GRACE_SECONDS + 1, NOW)
    key = "node.kubernetes.io/unreachable"
    assert taints_of(outcome) == [(key, "NoExecute"), (key, "NoSchedule")]
    (condition,) = outcome.writes[-1].patch["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "False")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (machine(), None),
        (machine(taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]), []),
        (machine(unschedulable=True), [("node.kubernetes.io/unschedulable", "NoSchedule")]),
        (
            machine(
                taints=[
                    {"key": "mine", "effect": "NoSchedule"},
                    {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
                ]
            ),
            [("mine", "NoSchedule")],
        ),
        (
            machine("False"),
            [("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/not-ready", "NoSchedule")],
        ),
    ],
)
def test_taints_follow_conditions(found, expected):
    assert taints_of(reconcile(found, [], 0.0, NOW)) == expected


# -- eviction --------------------------------------------------------------------------------------------------------

DRIVING = {"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:09:00Z"}


@pytest.mark.parametrize(
    ("tolerations", "deleted", "again"),
    [
        ([], True, None),
        ([{"key": "k", "operator": "Exists"}], False, None),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}], False, 240.0),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}], True, None),
        ([{"key": "other", "operator": "Exists"}], True, None),
    ],
)
def test_eviction(tolerations, deleted, again):
    outcome = eviction.reconcile(tenant(tolerations=tolerations), machine(taints=[DRIVING]), NOW)
    assert [type(write) for write in outcome.writes] == ([Delete] if deleted else [])
    assert outcome.again == again


def test_no_taint_no_eviction():
    assert eviction.reconcile(tenant(), machine(), NOW).writes == ()


# -- machines that are gone --------------------------------------------------------------------------------------------


def test_pods_of_a_missing_node_are_removed_after_a_while():
    assert podgc.reconcile([], 100).writes == ()
    assert podgc.reconcile([tenant()], 10).again == pytest.approx(30, abs=0.1)
    failed, removed = podgc.reconcile([tenant()], 41).writes
    assert failed.patch == {"status": {"phase": "Failed"}}
    assert removed.grace_seconds == 0


# -- against the true API ----------------------------------------------------------------------------------------------


def test_a_node_without_heartbeats(monkeypatch):
    async def go():
        async with cluster(nodes=1) as c:
            await c.create(pod("a", tolerations=[{"key": "k", "operator": "Exists"}]))
            await c.until(lambda: c.pods() and c.pods()[0]["spec"].get("nodeName"))
            monkeypatch.setattr(nodelifecycle, "GRACE_SECONDS", 0.3)
            await c.patch(NODES, "node-1", {"metadata": {"labels": {"looked": "at"}}})
            ready = lambda: c.one(NODES, "node-1")["status"]["conditions"][0]  # noqa: E731
            await c.until(lambda: ready()["status"] == "Unknown")
            await c.until(lambda: c.one(NODES, "node-1")["spec"].get("taints"))
            await c.until(lambda: "Node node-1 status is now: NodeNotReady" in c.said("NodeNotReady"))
            lease = {"metadata": {"name": "node-1"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
            lease |= {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            await c.client.create(LEASES, lease, "kube-node-lease")
            monkeypatch.setattr(nodelifecycle, "GRACE_SECONDS", 40.0)
            status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            await c.patch(NODES, "node-1", status, subresource="status", type="strategic")
            await c.until(lambda: not c.one(NODES, "node-1")["spec"].get("taints"))

    asyncio.run(go())


def test_a_deleted_node_takes_its_pods_along(monkeypatch):
    monkeypatch.setattr(podgc, "QUARANTINE_SECONDS", 0.05)

    async def go():
        async with cluster(nodes=1) as c:
            await c.create(pod("a"))
            await c.until(lambda: c.pods() and c.pods()[0]["spec"].get("nodeName"))
            await c.client.delete(NODES, "node-1")
            await c.until(lambda: not c.all(PODS))

    asyncio.run(go())
