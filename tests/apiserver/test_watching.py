"""Watches: in order, without a gap, resumable from anywhere that history still reaches."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.store.memory import MemoryStore
from clusterip.store.sqlite import SqliteStore

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def follow(state: dict[str, Any], kind: str, tree: Any) -> None:
    name = tree["metadata"]["name"]
    if kind == "DELETED":
        del state[name]
    else:
        assert (name in state) == (kind == "MODIFIED")
        state[name] = tree["data"]


async def churn(wire: Wire, chance: random.Random, writes: int) -> None:
    """Random changes of a few objects."""
    there: set[str] = set()
    for number in range(writes):
        name = f"c{chance.randrange(8)}"
        if name not in there:
            await wire.ok("POST", CONFIGMAPS, config_map(name, n=str(number)))
            there.add(name)
        elif chance.random() < 0.3:
            await wire.ok("DELETE", f"{CONFIGMAPS}/{name}")
            there.discard(name)
        else:
            await wire.ok("PATCH", f"{CONFIGMAPS}/{name}", {"data": {"n": str(number)}}, type="merge")


async def killed_and_resumed(wire: Wire, seed: int, writes: int = 120) -> None:
    """A watcher whose connection is cut at random, again and again, ends with the state that is there."""
    chance = random.Random(seed)
    listed = await wire.ok("GET", CONFIGMAPS)
    revision, state = listed["metadata"]["resourceVersion"], {}
    writing = asyncio.ensure_future(churn(wire, chance, writes))
    seen: list[int] = []
    while True:
        events: list = []
        wanted = chance.randrange(1, 6)
        done = writing.done()
        path = f"{CONFIGMAPS}?watch=1&resourceVersion={revision}&timeoutSeconds=1"
        target = (await wire.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"] if done else None
        if target == revision:
            break
        await wire.watch(path, events, lambda wanted=wanted, events=events: len(events) >= wanted)
        for kind, tree in events:
            revision = tree["metadata"]["resourceVersion"]
            seen.append(int(revision))
            follow(state, kind, tree)
    await writing
    assert seen == sorted(set(seen))
    listed = await wire.ok("GET", CONFIGMAPS)
    assert state == {item["metadata"]["name"]: item["data"] for item in listed["items"]}


def test_a_watch_killed_at_random_and_resumed_ends_with_the_state_there_is() -> None:
    for seed in range(3):
        served(lambda wire, seed=seed: killed_and_resumed(wire, seed))


def test_the_same_over_sqlite_with_little_memory(tmp_path: Path, monkeypatch) -> None:
    """With hardly any recent changes in memory, a watch resumes from the store's history."""
    monkeypatch.setattr("clusterip.apiserver.cache.RECENT", 3)

    async def body(wire: Wire) -> None:
        await killed_and_resumed(wire, 5, 60)
        await wire.api.server.core.store.close()

    served(body, store=SqliteStore(tmp_path / "store.db"))


def test_old_revisions_are_gone_after_compaction(monkeypatch) -> None:
    monkeypatch.setattr("clusterip.apiserver.cache.RECENT", 1)

    async def body(wire: Wire) -> None:
        first = (await wire.ok("POST", CONFIGMAPS, config_map("a")))["metadata"]["resourceVersion"]
        for n in range(4):
            await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"data": {"n": str(n)}}, type="merge")
        store = wire.api.server.core.store
        await store.compact(store.revision)
        status, gone = await wire("GET", f"{CONFIGMAPS}?watch=1&resourceVersion={first}")
        assert (status, gone["reason"]) == (410, "Expired")
        status, gone = await wire("GET", f"{CONFIGMAPS}?resourceVersion={first}&resourceVersionMatch=Exact")
        assert (status, gone["reason"]) == (410, "Expired")

    served(body, store=MemoryStore())


def test_beginning_and_ceasing_to_match_is_added_and_deleted() -> None:
    async def body(wire: Wire) -> None:
        revision = (await wire.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
        events: list = []
        watching = asyncio.ensure_future(
            wire.watch(
                f"{CONFIGMAPS}?watch=1&resourceVersion={revision}&labelSelector=on", events, lambda: len(events) == 4
            )
        )
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        for labels in ({"on": "1"}, {"on": "2"}, {"on": None}, {"on": "3"}):
            await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"labels": labels}}, type="merge")
        await watching
        assert [kind for kind, _ in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
        assert [tree["metadata"].get("labels", {}).get("on") for _, tree in events] == ["1", "2", "2", "3"]

    served(body)


def test_a_streaming_list_ends_its_beginning_with_a_bookmark() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        events: list = []
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        await wire.watch(f"{CONFIGMAPS}?{query}", events, lambda: bool(events) and events[-1][0] == "BOOKMARK")
        assert [(kind, tree["metadata"].get("name")) for kind, tree in events] == [("ADDED", "a"), ("BOOKMARK", None)]
        assert events[-1][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        status, refused = await wire("GET", f"{CONFIGMAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true")
        assert (status, refused["details"]["causes"][0]["field"]) == (422, "resourceVersionMatch")

    served(body)


def test_a_watch_ends_at_its_timeout_with_a_bookmark() -> None:
    async def body(wire: Wire) -> None:
        events: list = []
        revision = (await wire.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
        path = f"{CONFIGMAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={revision}"
        await wire.watch(path, events, lambda: False)
        assert [kind for kind, _ in events] == ["BOOKMARK"]

    served(body)


def test_tables_are_watched_row_by_row() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"))
        events: list = []
        wire.headers["Accept"] = TABLE
        first = asyncio.Event()
        watching = asyncio.ensure_future(
            wire.watch(f"{CONFIGMAPS}?watch=1", events, lambda: first.set() if len(events) == 1 else len(events) == 2)
        )
        await asyncio.wait_for(first.wait(), 30)
        other = Wire(wire.api, wire.session)
        await other.ok("PATCH", f"{CONFIGMAPS}/a", {"data": {"l": "w"}}, type="merge")
        await watching
        assert [(kind, tree["rows"][0]["cells"][:2]) for kind, tree in events] == [
            ("ADDED", ["a", 1]),
            ("MODIFIED", ["a", 2]),
        ]
        assert events[0][1]["columnDefinitions"]
        assert events[1][1]["columnDefinitions"] is None

    served(body)


def test_one_object_is_watched_by_name() -> None:
    async def body(wire: Wire) -> None:
        revision = (await wire.ok("POST", CONFIGMAPS, config_map("a")))["metadata"]["resourceVersion"]
        events: list = []
        path = f"{CONFIGMAPS}?watch=1&resourceVersion={revision}&fieldSelector=metadata.name%3Da"
        watching = asyncio.ensure_future(wire.watch(path, events, lambda: len(events) == 1))
        await wire.ok("POST", CONFIGMAPS, config_map("b"))
        await wire.ok("DELETE", f"{CONFIGMAPS}/a")
        await watching
        assert [(kind, tree["metadata"]["name"]) for kind, tree in events] == [("DELETED", "a")]

    served(body)


def test_events_are_encoded_once_for_all_watchers() -> None:
    async def body(wire: Wire) -> None:
        revision = (await wire.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
        streams: list[list] = [[] for _ in range(20)]
        path = f"{CONFIGMAPS}?watch=1&resourceVersion={revision}"
        tasks = [
            asyncio.ensure_future(wire.watch(path, events, lambda events=events: len(events) == 1))
            for events in streams
        ]
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        await asyncio.gather(*tasks)
        assert all(events[0][1]["metadata"]["name"] == "a" for events in streams)
        collection = wire.api.server.core.registry.of("configmaps")
        assert len(collection.recent[-1].encoded) == 1

    served(body)
