"""Following a resource through interruptions: the cache ends as the store is, and subscribers saw how."""

from __future__ import annotations

import asyncio
import random

import pytest

from client.loopback import Store, serving
from clusterip.client.informer import Informer
from clusterip.client.names import CONFIG_MAPS
from clusterip.client.rest import Client


def value(tree):
    return tree["data"]["v"]


async def until(condition, seconds=30.0):
    """Wait for the world to agree; each turn of the loop is a chance."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def following(scenario, decode=value):
    """Run a scenario with a store and an informer that follows it."""

    async def go():
        store = Store()
        async with serving(store.answer) as config, Client(config) as client:
            informer = Informer(client, CONFIG_MAPS, decode, chance=lambda: 0.0)
            seen: list = []
            informer.subscribe(lambda key, old, new: seen.append((key[1], old, new)))
            task = asyncio.create_task(informer.run())
            try:
                await scenario(store, informer, seen)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())


def test_lists_then_watches():
    async def scenario(store, informer, seen):
        await store.put("a", "1")
        await informer.synced()
        await store.put("a", "2")
        await store.put("b", "1")
        await store.remove("a")
        await until(lambda: len(seen) == 4)
        assert seen == [("a", None, "1"), ("a", "1", "2"), ("b", None, "1"), ("a", "2", None)]
        assert dict(informer.items()) == {("default", "b"): "1"}
        assert informer.resource_version == str(store.revision)

    following(scenario)


def test_resumes_without_listing_again():
    async def scenario(store, informer, seen):
        await store.put("a", "1")
        await informer.synced()
        await until(lambda: store.streams)
        store.cut()
        await store.put("a", "2")
        await until(lambda: informer.get("default", "a") == "2")
        assert store.lists == 1

    following(scenario)


def test_after_compaction_deletions_are_told():
    async def scenario(store, informer, seen):
        await store.put("a", "1")
        await store.put("b", "1")
        await informer.synced()
        await until(lambda: store.streams)
        store.down = True
        store.cut()
        await store.remove("a")
        await store.put("b", "2")
        await store.put("c", "1")
        store.compact()
        store.down = False
        await until(lambda: ("c", None, "1") in seen)
        assert seen[2:] == [("a", "1", None), ("b", "1", "2"), ("c", None, "1")]

    following(scenario)


def test_another_object_of_the_same_name_is_a_deletion_and_an_addition():
    async def scenario(store, informer, seen):
        await store.put("a", "1")
        await informer.synced()
        await store.put("a", "1", uid="other")
        await until(lambda: len(seen) == 3)
        assert seen[1:] == [("a", "1", None), ("a", None, "1")]

    following(scenario)


def test_one_bad_object_is_skipped():
    def decode(tree):
        if tree["data"]["v"] == "bad":
            raise ValueError("bad")
        return value(tree)

    async def scenario(store, informer, seen):
        await store.put("a", "1")
        await informer.synced()
        await store.put("a", "bad")
        await store.put("b", "bad")
        await store.put("c", "1")
        await until(lambda: informer.get("default", "c"))
        assert dict(informer.items()) == {("default", "a"): "1", ("default", "c"): "1"}

    following(scenario, decode)


def test_a_failing_subscriber_does_not_stop_the_others():
    async def scenario(store, informer, seen):
        informer.subscribe(lambda key, old, new: 1 / 0)
        also: list = []
        informer.subscribe(lambda key, old, new: also.append(key[1]))
        await store.put("a", "1")
        await until(lambda: also == ["a"])

    following(scenario)


def test_index_follows():
    async def scenario(store, informer, seen):
        informer.index("value", lambda v: [v])
        await store.put("a", "x")
        await store.put("b", "x")
        await informer.synced()
        await store.put("a", "y")
        await until(lambda: informer.get("default", "a") == "y")
        assert informer.by_index("value", "x") == ["x"]
        assert informer.by_index("value", "y") == ["y"]
        assert informer.by_index("value", "z") == []

    following(scenario)


def test_until_waits_for_a_change():
    async def scenario(store, informer, seen):
        await informer.synced()
        waiting = asyncio.create_task(informer.until(lambda: informer.get("default", "a") == "2", 5))
        await store.put("a", "1")
        await store.put("a", "2")
        assert await waiting
        assert not await informer.until(lambda: False, 0.01)

    following(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_any_interruptions_end_in_the_same_state(seed):
    chance = random.Random(seed)

    async def scenario(store, informer, seen):
        await informer.synced()
        for step in range(60):
            name = chance.choice("abcd")
            match chance.randrange(6):
                case 0 if ("default", name) in store.objects:
                    await store.remove(name)
                case 1:
                    store.cut()
                case 2:
                    store.compact()
                    store.cut()
                case 3:
                    await asyncio.sleep(0.002)
                case _:
                    await store.put(name, str(step))
        await store.put("end", "")
        await until(lambda: informer.get("default", "end") == "")
        assert dict(informer.items()) == {key: value(tree) for key, tree in store.objects.items()}
        replayed: dict = {}
        for name, old, new in seen:  # what subscribers were told is gap-free
            assert replayed.get(name) == old
            replayed[name] = new
            if new is None:
                del replayed[name]
        assert replayed == {key[1]: item for key, item in informer.items().items()}

    following(scenario)
