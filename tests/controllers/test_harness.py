"""Writes are carried out in order, harmless refusals are no failures, and the cache has caught up afterwards."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.serving import serving
from clusterip.api.errors import ApiError
from clusterip.apiserver.core import Settings
from clusterip.client.events import EventRecorder
from clusterip.client.names import CONFIG_MAPS
from clusterip.clock import SystemClock
from clusterip.controllers.caches import Caches
from clusterip.controllers.harness import World
from clusterip.controllers.model import Partial
from clusterip.controllers.writes import Create, Delete, Patch


def tree(name, namespace="default"):
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def committing(scenario):
    async def go():
        async with serving(settings=Settings(advertise=("192.168.4.100", 6443))) as api, api.client() as client:
            clock = SystemClock()
            caches = Caches(client, clock)
            world = World(client, caches, EventRecorder(client, "tester"), clock)
            maps = world.follow(CONFIG_MAPS, Partial)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(maps.run())
                await maps.synced()
                await scenario(world, maps)
                task.cancel()

    asyncio.run(go())


def names(maps):
    return sorted(name for namespace, name in maps.items() if namespace == "default")


def test_the_cache_shows_what_was_written():
    async def scenario(world, maps):
        await world.commit([Create(CONFIG_MAPS, tree(f"m{number}")) for number in range(20)])
        assert len(names(maps)) == 20
        uid = maps.get("default", "m0").metadata.uid
        await world.commit([Delete(CONFIG_MAPS, "default", "m0", uid=uid)])
        assert len(names(maps)) == 19
        await world.commit([Patch(CONFIG_MAPS, "default", "m1", {"metadata": {"labels": {"a": "b"}}})])
        assert maps.get("default", "m1").metadata.labels == {"a": "b"}

    committing(scenario)


def test_patches_that_may_go_side_by_side():
    async def scenario(world, maps):
        await world.commit([Create(CONFIG_MAPS, tree(f"m{number}")) for number in range(20)])
        label = {"metadata": {"labels": {"a": "b"}}}
        await world.commit([Patch(CONFIG_MAPS, "default", f"m{number}", label, free=True) for number in range(20)])
        assert all(maps.get("default", f"m{number}").metadata.labels == {"a": "b"} for number in range(20))

    committing(scenario)


def test_harmless_refusals():
    async def scenario(world, maps):
        await world.commit([Create(CONFIG_MAPS, tree("a"))])
        await world.commit(
            [
                Create(CONFIG_MAPS, tree("a"), exists_ok=True),
                Delete(CONFIG_MAPS, "default", "gone"),
                Delete(CONFIG_MAPS, "default", "a", uid="another"),
                Patch(CONFIG_MAPS, "default", "gone", {"data": {"x": "y"}}),
                Create(CONFIG_MAPS, tree("b")),
            ]
        )
        assert names(maps) == ["a", "b"]

    committing(scenario)


def test_a_failure_stops_what_comes_after_it():
    async def scenario(world, maps):
        await world.commit([Create(CONFIG_MAPS, tree("a"))])
        with pytest.raises(ApiError, match="already exists"):
            await world.commit(
                [Create(CONFIG_MAPS, tree("a")), Patch(CONFIG_MAPS, "default", "a", {"data": {"x": "y"}})]
            )
        assert "data" not in await world.client.get(CONFIG_MAPS, "a", "default")

    committing(scenario)
