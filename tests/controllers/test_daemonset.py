"""DaemonSets against the true API: one pod a node, replaced node by node."""

from __future__ import annotations

import asyncio

from clusterip.controllers.revisions import CONTROLLER_REVISIONS
from controllers.cluster import DAEMON_SETS, NODES, PODS, cluster, workload


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


def places(c):
    return sorted(p["spec"].get("nodeName", "") for p in c.pods())


def status(c):
    return (c.one(DAEMON_SETS, "agent") or {}).get("status", {})


def test_one_pod_on_every_node():
    async def scenario(c):
        await c.create(workload("DaemonSet", "agent"))
        await c.until(lambda: status(c).get("numberReady") == 3)
        assert places(c) == ["node-1", "node-2", "node-3"]
        assert status(c)["desiredNumberScheduled"] == status(c)["numberAvailable"] == 3
        await c.node("node-4")
        await c.until(lambda: places(c) == ["node-1", "node-2", "node-3", "node-4"])
        assert len(c.said("SuccessfulCreate")) >= 3

    running(scenario, nodes=3)


def test_node_selector():
    async def scenario(c):
        await c.create(workload("DaemonSet", "agent", pod={"nodeSelector": {"disk": "ssd"}}))
        await c.until(lambda: status(c).get("observedGeneration") == 1)
        assert places(c) == []
        await c.patch(NODES, "node-2", {"metadata": {"labels": {"disk": "ssd"}}})
        await c.until(lambda: places(c) == ["node-2"])
        await c.patch(NODES, "node-2", {"metadata": {"labels": {"disk": None}}})
        await c.until(lambda: places(c) == [])

    running(scenario)


def test_a_deleted_pod_comes_back():
    async def scenario(c):
        await c.create(workload("DaemonSet", "agent"))
        await c.until(lambda: status(c).get("numberReady") == 2)
        gone = c.pods()[0]
        await c.client.delete(PODS, gone["metadata"]["name"], "default")
        await c.until(lambda: gone["metadata"]["name"] not in [p["metadata"]["name"] for p in c.pods()])
        await c.until(lambda: places(c) == ["node-1", "node-2"])

    running(scenario)


def test_a_cordoned_node_keeps_its_daemon():
    async def scenario(c):
        await c.create(workload("DaemonSet", "agent"))
        await c.until(lambda: status(c).get("numberReady") == 2)
        await c.patch(NODES, "node-1", {"spec": {"unschedulable": True}})
        await c.until(lambda: c.one(NODES, "node-1")["spec"].get("taints"))
        assert places(c) == ["node-1", "node-2"]

    running(scenario)


def test_a_rollout_goes_node_by_node():
    async def scenario(c):
        await c.create(workload("DaemonSet", "agent"))
        await c.until(lambda: status(c).get("numberReady") == 3)
        fewest = []
        watch = c.seen[DAEMON_SETS]
        watch.subscribe(lambda key, old, new: fewest.append(new["status"].get("numberAvailable", 0)) if new else None)
        image = [{"name": "web", "image": "nginx:2"}]
        await c.patch(DAEMON_SETS, "agent", {"spec": {"template": {"spec": {"containers": image}}}}, type="strategic")
        await c.until(lambda: [p["spec"]["containers"][0]["image"] for p in c.pods()] == ["nginx:2"] * 3)
        await c.until(lambda: status(c).get("updatedNumberScheduled") == status(c).get("numberReady") == 3)
        assert min(fewest) >= 2
        revisions = await c.client.list(CONTROLLER_REVISIONS, "default")
        assert sorted(r["revision"] for r in revisions["items"]) == [1, 2]

    running(scenario, nodes=3)


def test_surge():
    async def scenario(c):
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await c.create(workload("DaemonSet", "agent", updateStrategy=strategy))
        await c.until(lambda: status(c).get("numberReady") == 2)
        image = [{"name": "web", "image": "nginx:2"}]
        await c.patch(DAEMON_SETS, "agent", {"spec": {"template": {"spec": {"containers": image}}}}, type="strategic")
        await c.until(
            lambda: len(c.pods()) == 2 and all(p["spec"]["containers"][0]["image"] == "nginx:2" for p in c.pods())
        )

    running(scenario)
