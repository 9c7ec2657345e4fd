"""The scheduler against the true API."""

from __future__ import annotations

import asyncio

from controllers.cluster import NODES, PODS, cluster, pod, workload


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
