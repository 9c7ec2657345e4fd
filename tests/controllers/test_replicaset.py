"""ReplicaSets: which pods go first, adoption and release, status."""

from __future__ import annotations

import asyncio

import msgspec

from clusterip.controllers.model import Pod
from clusterip.controllers.pods import victims
from controllers.cluster import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, cluster, pod, workload


def live(name, on="n1", phase="Running", ready=True, cost=None, since="2026-01-01T00:00:00Z"):
    tree = pod(name)
    tree["metadata"] |= {"creationTimestamp": since}
    if cost:
        tree["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": cost}
    tree["spec"]["nodeName"] = on
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
    tree["status"] = {"phase": phase, "conditions": [condition]}
    return msgspec.convert(tree, Pod)


def first(*pods):
    return victims(pods, 1)[0].metadata.name


def test_who_is_missed_least():
    assert first(live("a"), live("b", on="")) == "b"
    assert first(live("a"), live("b", phase="Pending", ready=False)) == "b"
    assert first(live("a"), live("b", ready=False)) == "b"
    assert first(live("a"), live("b", cost="-1")) == "b"
    assert first(live("a"), live("b", on="n2"), live("c", on="n2")) == "b"
    assert first(live("a"), live("b", since="2026-01-02T00:00:00Z")) == "b"
    assert victims([live("a")], 0) == []


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


def status(c):
    return (c.one(REPLICA_SETS, "web") or {}).get("status", {})


def owners(tree):
    return [owner["name"] for owner in tree["metadata"].get("ownerReferences", [])]


def test_a_deleted_pod_is_replaced():
    async def scenario(c):
        await c.create(workload("ReplicaSet", "web", replicas=2))
        await c.until(lambda: status(c).get("availableReplicas") == 2)
        name = c.pods()[0]["metadata"]["name"]
        await c.client.delete(PODS, name, "default")
        await c.until(lambda: len(c.pods()) == 2 and not c.one(PODS, name))
        assert status(c)["fullyLabeledReplicas"] == 2

    running(scenario)


def test_exactly_as_many_as_asked():
    async def scenario(c):
        most = []
        c.seen[PODS].subscribe(lambda key, old, new: most.append(len(c.pods())))
        await c.create(workload("ReplicaSet", "web", replicas=20))
        await c.until(lambda: status(c).get("availableReplicas") == 20)
        assert max(most) == 20
        await c.patch(REPLICA_SETS, "web", {"spec": {"replicas": 3}})
        await c.until(lambda: len(c.pods()) == 3 and status(c).get("availableReplicas") == 3)

    running(scenario)


def test_an_orphan_is_adopted_and_a_relabelled_pod_released():
    async def scenario(c):
        await c.create(pod("alone"))
        await c.create(workload("ReplicaSet", "web", replicas=1))
        await c.until(lambda: owners(c.one(PODS, "alone")) == ["web"])
        assert len(c.pods()) == 1
        await c.patch(PODS, "alone", {"metadata": {"labels": {"app": "other"}}})
        await c.until(lambda: owners(c.one(PODS, "alone")) == [] and len(c.pods()) == 2)

    running(scenario)


def test_what_cannot_be_created_is_told():
    async def scenario(c):
        tree = workload("ReplicaSet", "web", replicas=1, pod={"serviceAccountName": "nobody"})
        await c.create(tree)
        await c.until(lambda: c.said("FailedCreate"))
        assert c.said("FailedCreate")[0].startswith("Error creating: pods ")
        assert "nobody" in c.said("FailedCreate")[0]
        await c.until(lambda: status(c).get("conditions"))
        (condition,) = status(c)["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "ReplicaFailure",
            "True",
            "FailedCreate",
        )
        assert "nobody" in condition["message"]
        await c.patch(REPLICA_SETS, "web", {"spec": {"replicas": 0}})
        await c.until(lambda: not status(c).get("conditions"))

    running(scenario)


def test_a_replication_controller_does_the_same():
    async def scenario(c):
        tree = workload("ReplicationController", "web", replicas=2)
        spec = {**tree["spec"], "selector": {"app": "web"}}
        await c.create({**tree, "apiVersion": "v1", "spec": spec})
        await c.until(lambda: c.one(REPLICATION_CONTROLLERS, "web").get("status", {}).get("availableReplicas") == 2)
        assert owners(c.pods()[0]) == ["web"]
        await c.patch(REPLICATION_CONTROLLERS, "web", {"spec": {"replicas": 1}}, subresource="scale")
        await c.until(lambda: len(c.pods()) == 1)
        await c.client.delete(REPLICATION_CONTROLLERS, "web", "default")
        await c.until(lambda: not c.pods())

    running(scenario)
