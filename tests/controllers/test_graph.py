"""Garbage by owner and namespaces, against the true API."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.client.names import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, ResourceRef
from clusterip.controllers.graph import DEFINITIONS
from controllers.cluster import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    cluster,
    pod,
    service,
    workload,
)


def running(scenario, **options):
    async def go():
        async with cluster(**options) as c:
            await scenario(c)

    asyncio.run(go())


def available(c, name="web", namespace="default"):
    return (c.one(DEPLOYMENTS, name, namespace) or {}).get("status", {}).get("availableReplicas")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_dependents_go_with_their_owner(policy):
    async def scenario(c):
        order = []
        for ref in (DEPLOYMENTS, REPLICA_SETS):
            c.seen[ref].subscribe(lambda key, old, new, ref=ref: None if new else order.append(ref.kind))
        await c.create(workload("Deployment", "web", replicas=2))
        await c.until(lambda: available(c) == 2)
        await c.client.delete(DEPLOYMENTS, "web", "default", propagation=policy)
        await c.until(lambda: not c.pods() and not c.all(REPLICA_SETS) and not c.all(DEPLOYMENTS))
        first = "Deployment" if policy == "Background" else "ReplicaSet"
        assert order[0] == first

    running(scenario)


def test_orphans_live_on():
    async def scenario(c):
        await c.create(workload("Deployment", "web", replicas=2))
        await c.until(lambda: available(c) == 2)
        await c.client.delete(DEPLOYMENTS, "web", "default", propagation="Orphan")
        await c.until(lambda: not c.all(DEPLOYMENTS))
        assert [rs["metadata"].get("ownerReferences") for rs in c.all(REPLICA_SETS)] == [None]
        assert len(c.pods()) == 2

    running(scenario)


def test_an_owner_of_the_same_name_is_not_the_owner():
    async def scenario(c):
        owner = await c.client.create(CONFIG_MAPS, config_map("owner"), "default")
        await c.client.create(CONFIG_MAPS, config_map("kept", owner), "default")
        await c.client.create(CONFIG_MAPS, config_map("lost", owner, uid="0000"), "default")
        await gone(c, CONFIG_MAPS, "lost")
        await c.client.get(CONFIG_MAPS, "kept", "default")

    running(scenario)


def test_one_of_two_owners_is_enough():
    async def scenario(c):
        one = await c.client.create(CONFIG_MAPS, config_map("one"), "default")
        two = await c.client.create(CONFIG_MAPS, config_map("two"), "default")
        owned = config_map("owned", one)
        owned["metadata"]["ownerReferences"] += config_map("x", two)["metadata"]["ownerReferences"]
        await c.client.create(CONFIG_MAPS, owned, "default")
        await c.client.delete(CONFIG_MAPS, "one", "default")
        await until_answer(c, CONFIG_MAPS, "owned", lambda t: len(t["metadata"]["ownerReferences"]) == 1)
        await c.client.delete(CONFIG_MAPS, "two", "default")
        await gone(c, CONFIG_MAPS, "owned")

    running(scenario)


WIDGETS = ResourceRef("example.org", "v1", "widgets", "Widget")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


def widget(name, **metadata):
    return {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name, **metadata}}


async def defined(c):
    """A kind that comes while the controllers run."""
    await c.client.create(DEFINITIONS, DEFINITION)
    async with asyncio.timeout(30):
        async for _, tree in c.client.watch(DEFINITIONS, resource_version="0"):
            conditions = (tree.get("status") or {}).get("conditions") or ()
            if any(found["type"] == "Established" and found["status"] == "True" for found in conditions):
                return


def test_kinds_that_come_later_own_and_are_owned():
    async def scenario(c):
        await defined(c)
        made = await c.client.create(WIDGETS, widget("owner"), "default")
        owner = {"apiVersion": "example.org/v1", "kind": "Widget", "name": "owner", "uid": made["metadata"]["uid"]}
        owned = config_map("owned")
        owned["metadata"]["ownerReferences"] = [owner]
        await c.client.create(CONFIG_MAPS, owned, "default")
        await c.client.delete(WIDGETS, "owner", "default")
        await gone(c, CONFIG_MAPS, "owned")

    running(scenario)


def test_a_namespace_is_emptied_of_kinds_that_came_later():
    async def scenario(c):
        await c.namespace("other")
        await defined(c)
        await c.client.create(WIDGETS, widget("left"), "other")
        await c.client.delete(NAMESPACES, "other")
        await c.until(lambda: c.one(NAMESPACES, "other") is None)
        listed = await c.client.list(WIDGETS)
        assert listed["items"] == []

    running(scenario)


def test_what_has_no_namespace_cannot_be_owned_by_what_has_one():
    async def scenario(c):
        one = await c.client.create(CONFIG_MAPS, config_map("one"), "default")
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": one["metadata"]["uid"]}
        await c.namespace("kept")
        await c.patch(NAMESPACES, "kept", {"metadata": {"ownerReferences": [owner]}})
        await c.client.create(CONFIG_MAPS, config_map("two", one), "default")
        await c.client.delete(CONFIG_MAPS, "one", "default")
        await gone(c, CONFIG_MAPS, "two")
        assert not c.one(NAMESPACES, "kept")["metadata"].get("deletionTimestamp")

    running(scenario)


def config_map(name, owner=None, uid=None):
    metadata = {"name": name}
    if owner:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid or owner["metadata"]["uid"]}
            | {"name": owner["metadata"]["name"]}
        ]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


async def until_answer(c, ref, name, condition):
    async with asyncio.timeout(30):
        async for kind, tree in c.client.watch(ref, "default", resource_version="0"):
            if tree["metadata"].get("name") == name and condition(tree if kind != "DELETED" else {}):
                return


async def gone(c, ref, name):
    listed = await c.client.list(ref, "default")
    if name not in [tree["metadata"]["name"] for tree in listed["items"]]:
        return
    revision = listed["metadata"]["resourceVersion"]
    async with asyncio.timeout(30):
        async for kind, tree in c.client.watch(ref, "default", resource_version=revision):
            if kind == "DELETED" and tree["metadata"]["name"] == name:
                return


def test_a_namespace_is_emptied_then_gone():
    async def scenario(c):
        await c.namespace("x")
        for tree in (service("web"), workload("Deployment", "web", replicas=2), pod("alone")):
            tree["metadata"]["namespace"] = "x"
            await c.create(tree)
        await c.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}, "x")
        await c.until(lambda: available(c, namespace="x") == 2 and c.all(ENDPOINT_SLICES, "x"))
        await c.client.delete(NAMESPACES, "x")
        await c.until(lambda: c.one(NAMESPACES, "x") is None)
        for ref in (DEPLOYMENTS, REPLICA_SETS, SERVICES, ENDPOINTS, ENDPOINT_SLICES, EVENTS):
            assert not (await c.client.list(ref, "x"))["items"]

    running(scenario)


def test_a_finalizer_keeps_a_namespace():
    async def scenario(c):
        await c.namespace("x")
        held = config_map("held")
        held["metadata"]["finalizers"] = ["example.org/hold"]
        await c.client.create(CONFIG_MAPS, held, "x")
        await c.client.delete(NAMESPACES, "x")
        await c.until(lambda: c.one(NAMESPACES, "x")["metadata"].get("deletionTimestamp"))
        await c.create(pod("later"))
        await c.until(lambda: (c.pods() or [{}])[0].get("status", {}).get("phase") == "Running")
        assert c.one(NAMESPACES, "x")["status"]["phase"] == "Terminating"
        await c.until(lambda: c.one(NAMESPACES, "x")["status"].get("conditions"))
        told = {condition["type"]: condition["message"] for condition in c.one(NAMESPACES, "x")["status"]["conditions"]}
        assert told["NamespaceContentRemaining"].endswith("configmaps. has 1 resource instances")
        assert told["NamespaceFinalizersRemaining"].endswith("remaining: example.org/hold in 1 resource instances")
        await c.client.patch(CONFIG_MAPS, "held", "x", {"metadata": {"finalizers": None}})
        await c.until(lambda: c.one(NAMESPACES, "x") is None)

    running(scenario)


def test_every_namespace_has_an_account_and_the_authority():
    async def scenario(c):
        await c.namespace("x")
        for ref, name in ((SERVICE_ACCOUNTS, "default"), (CONFIG_MAPS, "kube-root-ca.crt")):
            await until_there(c, ref, name)
        await c.client.delete(SERVICE_ACCOUNTS, "default", "x")
        await until_there(c, SERVICE_ACCOUNTS, "default")
        bundle = await c.client.patch(CONFIG_MAPS, "kube-root-ca.crt", "x", {"data": {"ca.crt": "wrong"}})
        revision = bundle["metadata"]["resourceVersion"]
        async with asyncio.timeout(30):
            async for _, tree in c.client.watch(CONFIG_MAPS, "x", resource_version=revision):
                if tree["data"] == {"ca.crt": c.api.ca.decode()}:
                    return

    running(scenario)


async def until_there(c, ref, name):
    async with asyncio.timeout(30):
        listed = await c.client.list(ref, "x")
        if name in [tree["metadata"]["name"] for tree in listed["items"]]:
            return
        async for kind, tree in c.client.watch(ref, "x", resource_version=listed["metadata"]["resourceVersion"]):
            if kind == "ADDED" and tree["metadata"]["name"] == name:
                return


def test_a_pod_that_is_held_keeps_what_it_needs():
    async def scenario(c):
        await c.namespace("x")
        await c.client.create(CONFIG_MAPS, config_map("kept"), "x")
        held = pod("held")
        held["metadata"] |= {"namespace": "x", "finalizers": ["example.org/hold"]}
        await c.create(held)
        await c.client.delete(NAMESPACES, "x")
        await c.until(lambda: c.one(NAMESPACES, "x")["status"].get("conditions"))
        assert (await c.client.get(CONFIG_MAPS, "kept", "x"))["metadata"]["name"] == "kept"
        await c.client.patch(PODS, "held", "x", {"metadata": {"finalizers": None}})
        await c.until(lambda: c.one(NAMESPACES, "x") is None)

    running(scenario)
