"""EndpointSlices and Endpoints follow pods, Services and nodes, against the true API."""

from __future__ import annotations

import asyncio

from controllers.cluster import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES, cluster, pod, service

MODE = "service.kubernetes.io/topology-mode"


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


def endpoints(c, name="web"):
    """Who is told of, and how ready."""
    return {
        endpoint["targetRef"]["name"]: endpoint["conditions"]["ready"]
        for slice in c.all(ENDPOINT_SLICES)
        if slice["metadata"]["labels"].get("kubernetes.io/service-name") == name
        for endpoint in slice.get("endpoints") or []
    }


def addresses(c, name="web"):
    found = c.one(ENDPOINTS, name) or {}
    return sorted(a["ip"] for subset in found.get("subsets", []) for a in subset.get("addresses", []))


def test_pods_come_and_go():
    async def scenario(c):
        await c.create(service("web"))
        await c.until(lambda: c.one(ENDPOINTS, "web") and endpoints(c) == {})
        await c.create(pod("a"))
        await c.until(lambda: endpoints(c) == {"a": True} and len(addresses(c)) == 1)
        await c.create(pod("b"))
        await c.until(lambda: endpoints(c) == {"a": True, "b": True} and len(addresses(c)) == 2)
        await c.client.delete(PODS, "a", "default")
        await c.until(lambda: endpoints(c) == {"b": True} and len(addresses(c)) == 1)

    running(scenario)


def test_a_service_that_comes_later_and_another_namespace():
    async def scenario(c):
        await c.namespace("x")
        other = pod("c")
        other["metadata"]["namespace"] = "x"
        await c.create(other)
        await c.create(pod("a"))
        await c.until(lambda: all(p["status"].get("podIP") for p in (*c.pods(), *c.pods("x"))))
        await c.create(service("web"))
        await c.until(lambda: endpoints(c) == {"a": True})

    running(scenario)


def test_readiness_and_labels():
    async def scenario(c):
        await c.create(service("web"))
        await c.create(pod("a"))
        await c.until(lambda: endpoints(c) == {"a": True})
        await c.run(c.one(PODS, "a"), ready=False)
        await c.until(lambda: endpoints(c) == {"a": False} and not addresses(c))
        await c.run(c.one(PODS, "a"))
        await c.until(lambda: endpoints(c) == {"a": True})
        await c.patch(PODS, "a", {"metadata": {"labels": {"app": "other"}}})
        await c.until(lambda: endpoints(c) == {})
        await c.patch(SERVICES, "web", {"spec": {"selector": {"app": "other"}}})
        await c.until(lambda: endpoints(c) == {"a": True})

    running(scenario)


def test_a_deleted_service_leaves_nothing():
    async def scenario(c):
        await c.create(service("web"))
        await c.create(pod("a"))
        await c.until(lambda: endpoints(c) == {"a": True} and addresses(c))
        await c.client.delete(SERVICES, "web", "default")
        await c.until(lambda: endpoints(c) == {} and c.one(ENDPOINTS, "web") is None)

    running(scenario)


def test_zones_follow_nodes():
    async def scenario(c):
        await c.create(service("web"))
        await c.create(pod("a"))

        def zone():
            found = [e for s in c.all(ENDPOINT_SLICES) for e in s.get("endpoints") or []]
            return [endpoint.get("zone") for endpoint in found if "targetRef" in endpoint]

        await c.until(lambda: zone() == ["z1"])
        await c.patch(NODES, "node-1", {"metadata": {"labels": {"topology.kubernetes.io/zone": "z9"}}})
        await c.until(lambda: zone() == ["z9"])

    running(scenario, nodes=1)


def test_slices_that_someone_deletes_come_back():
    async def scenario(c):
        await c.create(service("web"))
        await c.create(pod("a"))
        await c.until(lambda: endpoints(c) == {"a": True})
        (slice,) = [s for s in c.all(ENDPOINT_SLICES) if s["metadata"]["name"] != "kubernetes"]
        await c.client.delete(ENDPOINT_SLICES, slice["metadata"]["name"], "default")
        await c.until(lambda: not c.one(ENDPOINT_SLICES, slice["metadata"]["name"]) and endpoints(c) == {"a": True})

    running(scenario)


def test_zones_of_different_sizes_are_served_by_their_share():
    async def scenario(c):
        await c.create(service("web") | {"metadata": {"name": "web", "annotations": {MODE: "Auto"}}})
        for number in range(4):
            await c.create(pod(f"p{number}", nodeName="node-1"))

        def hints():
            found = [e for s in c.all(ENDPOINT_SLICES) for e in s.get("endpoints") or [] if "targetRef" in e]
            return sorted(zone["name"] for e in found for zone in e.get("hints", {}).get("forZones", []))

        await c.until(lambda: hints() == ["z1", "z1", "z2", "z2"])
        await c.patch(NODES, "node-2", {"metadata": {"labels": {"topology.kubernetes.io/zone": None}}})
        await c.until(lambda: hints() == [] and sum(endpoints(c).values()) == 4)
        await c.patch(NODES, "node-2", {"metadata": {"labels": {"topology.kubernetes.io/zone": "z2"}}})
        await c.until(lambda: hints() == ["z1", "z1", "z2", "z2"])
        await c.patch(SERVICES, "web", {"metadata": {"annotations": {MODE: None}}})
        await c.until(lambda: hints() == [] and sum(endpoints(c).values()) == 4)

    running(scenario)
