"""The scheduler against the true API."""

from __future__ import annotations

import asyncio

from clusterip.controllers.run import SCHEDULER, serve
from controllers.cluster import NODES, PODS, REPLICA_SETS, cluster, pod, workload


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


def node_of(c, name):
    return (c.one(PODS, name) or {}).get("spec", {}).get("nodeName")


def test_bound_and_told():
    async def scenario(c):
        await c.create(pod("a"))
        await c.until(lambda: node_of(c, "a"))
        await c.until(lambda: c.said("Scheduled"))
        assert c.said("Scheduled") == [f"Successfully assigned default/a to {node_of(c, 'a')}"]

    running(scenario)


def test_siblings_are_spread():
    async def scenario(c):
        await c.create(workload("ReplicaSet", "web", replicas=9))
        await c.until(lambda: len([p for p in c.pods() if p["spec"].get("nodeName")]) == 9)
        places = [p["spec"]["nodeName"] for p in c.pods()]
        assert sorted(places.count(f"node-{n}") for n in (1, 2, 3)) == [3, 3, 3]

    running(scenario, nodes=3)


def test_a_pod_that_fits_nowhere_waits_for_a_node():
    async def scenario(c):
        await c.create(pod("a", nodeSelector={"disk": "ssd"}))
        await c.until(lambda: c.said("FailedScheduling"))
        assert c.said("FailedScheduling")[0].startswith("0/2 nodes are available: 2 node(s) didn't match")
        await c.until(lambda: c.one(PODS, "a")["status"].get("conditions"))
        condition = c.one(PODS, "a")["status"]["conditions"][0]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        )
        await c.patch(NODES, "node-2", {"metadata": {"labels": {"disk": "ssd"}}})
        await c.until(lambda: node_of(c, "a") == "node-2")

    running(scenario)


def test_room_that_a_deleted_pod_leaves():
    async def scenario(c):
        big = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "3"}}}]
        await c.create(pod("a", containers=big))
        await c.until(lambda: node_of(c, "a"))
        await c.create(pod("b", containers=big))
        await c.until(lambda: c.said("FailedScheduling"))
        await c.client.delete(PODS, "a", "default")
        await c.until(lambda: node_of(c, "b"))

    running(scenario, nodes=1)


def test_a_less_important_pod_makes_room():
    async def scenario(c):
        big = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "3"}}}]
        await c.create(pod("a", containers=big))
        await c.until(lambda: node_of(c, "a"))
        await c.create(pod("b", containers=big, priorityClassName="system-cluster-critical"))
        await c.until(lambda: node_of(c, "b"))
        assert c.one(PODS, "a") is None
        await c.until(lambda: c.said("Preempted"))
        assert c.one(PODS, "b")["status"]["nominatedNodeName"] == "node-1"
        await c.create(pod("c", containers=big, priorityClassName="system-cluster-critical"))
        await c.until(lambda: len(c.said("FailedScheduling")) > 1)
        assert node_of(c, "c") is None

    running(scenario, nodes=1)


def test_a_promise_outlives_the_scheduler_that_made_it():
    async def scenario(c):
        big, small = ([{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}] for cpu in ("3", "500m"))
        leaving = pod("leaving", containers=big, nodeName="node-1")
        leaving["metadata"]["finalizers"] = ["clusterip.dev/test"]
        await c.create(leaving)
        await c.until(lambda: (c.one(PODS, "leaving") or {}).get("status", {}).get("phase") == "Running")
        await c.client.delete(PODS, "leaving", "default")
        await c.create(pod("promised", containers=big, priorityClassName="system-cluster-critical"))
        promise = {"status": {"nominatedNodeName": "node-1"}}
        await c.patch(PODS, "promised", promise, subresource="status")
        await c.create(pod("late", containers=small))
        await c.create(pod("elsewhere", containers=small, priorityClassName="system-node-critical"))
        async with asyncio.TaskGroup() as group:
            identity = c.api.config("system:kube-scheduler")
            task = group.create_task(serve(identity, identity, [SCHEDULER], c.clock))
            await c.until(lambda: node_of(c, "elsewhere"))
            await c.until(lambda: len(c.said("FailedScheduling")) == 2)
            assert node_of(c, "late") is None
            await c.patch(PODS, "leaving", {"metadata": {"finalizers": None}})
            await c.until(lambda: node_of(c, "promised") == "node-1" and node_of(c, "late") == "node-1")
            task.cancel()

    running(scenario, nodes=1, without=(SCHEDULER,))


APART = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}


def test_pods_that_keep_apart():
    """As many as there are nodes; the next one waits until one of them has gone."""

    async def scenario(c):
        rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [APART]}}
        await c.create(workload("ReplicaSet", "web", replicas=3, pod={"affinity": rule}))
        await c.until(lambda: c.said("FailedScheduling"))
        assert "2 node(s) didn't match pod anti-affinity rules" in c.said("FailedScheduling")[0]
        assert sorted(p["spec"].get("nodeName", "") for p in c.pods()) == ["", "node-1", "node-2"]
        await c.create(pod("other"))
        await c.until(lambda: "didn't satisfy existing pods" in str(c.said("FailedScheduling")))
        await c.client.delete(PODS, "other", "default")
        await c.patch(REPLICA_SETS, "web", {"spec": {"replicas": 2}})
        await c.until(lambda: sorted(p["spec"].get("nodeName", "") for p in c.pods()) == ["node-1", "node-2"])

    running(scenario)


def test_a_less_important_neighbour_leaves():
    async def scenario(c):
        await c.create(pod("a"))
        await c.create(pod("b", labels={"app": "other"}))
        await c.until(lambda: node_of(c, "a") and node_of(c, "b"))
        rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [APART]}}
        critical = {"priorityClassName": "system-cluster-critical", "affinity": rule}
        await c.create(pod("c", labels={"app": "other"}, **critical))
        await c.until(lambda: node_of(c, "c"))
        assert c.one(PODS, "a") is None
        assert c.one(PODS, "b") is not None

    running(scenario, nodes=1)


def test_a_pod_that_waits_for_company():
    async def scenario(c):
        rule = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [APART]}}
        await c.create(pod("a", labels={"app": "friend"}, affinity=rule))
        await c.until(lambda: c.said("FailedScheduling"))
        await c.create(pod("b", nodeSelector={"kubernetes.io/hostname": "node-2"}))
        await c.until(lambda: node_of(c, "a") == "node-2")

    running(scenario)


def test_pods_spread_by_zone():
    async def scenario(c):
        spread = {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
        for number in range(6):
            await c.create(pod(f"p{number}", topologySpreadConstraints=[spread]))
        await c.until(lambda: all(p["spec"].get("nodeName") for p in c.pods()))
        places = [p["spec"]["nodeName"] for p in c.pods()]
        assert (places.count("node-1"), places.count("node-2")) == (3, 3)

    running(scenario)


def test_another_scheduler_is_left_alone():
    async def scenario(c):
        await c.create(pod("a", schedulerName="mine"))
        await c.create(pod("b"))
        await c.until(lambda: node_of(c, "b"))
        assert node_of(c, "a") is None

    running(scenario)


def test_no_node_is_overbooked():
    async def scenario(c):
        small = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "900m"}}}]}
        await c.create(workload("ReplicaSet", "web", replicas=12, pod=small))
        await c.until(lambda: len([p for p in c.pods() if p["spec"].get("nodeName")]) == 8)
        await c.until(lambda: len(c.said("FailedScheduling")) >= 4)
        places = [p["spec"].get("nodeName") for p in c.pods()]
        assert (places.count("node-1"), places.count("node-2"), places.count(None)) == (4, 4, 4)

    running(scenario)
