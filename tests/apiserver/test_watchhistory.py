"""The six validators: silent about what is right, loud about each sort of fault; then held against the server."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from apiserver.serving import serving
from apiserver.watchhistory import VALIDATORS, Connection, Interest, Told, Watcher, Written, violations
from apiserver.watchtraffic import record, unwitnessed
from clusterip.store.contract import Store
from clusterip.store.memory import MemoryStore
from clusterip.store.sqlite import SqliteStore

SECONDS = 300.0 if os.environ.get("CLUSTERIP_SOAK") else 7.0
HISTORY = [
    Written(11, "ADDED", "a/x", "red", "1"),
    Written(12, "MODIFIED", "a/x", "green", "2", "red"),
    Written(14, "ADDED", "b/y", "red", "3"),
    Written(15, "MODIFIED", "a/x", "red", "4", "green"),
    Written(18, "DELETED", "a/x", "red", "4", "red"),
]


def right() -> Watcher:
    """A watcher of everything over two connections."""
    events = [Told(change.kind, change.revision, change.key, change.labels, change.data) for change in HISTORY]
    first = Connection(10, [*events[:2], Told("BOOKMARK", 13)])
    second = Connection(13, [*events[2:], Told("BOOKMARK", 20)])
    return Watcher("w", Interest(), [first, second])


def test_what_is_right_is_right_to_all() -> None:
    red = [Told("ADDED", 11, "a/x", "red", "1"), Told("DELETED", 12, "a/x", "red", "1")]
    red += [Told("ADDED", 14, "b/y", "red", "3"), Told("ADDED", 15, "a/x", "red", "4")]
    red += [Told("DELETED", 18, "a/x", "red", "4"), Told("BOOKMARK", 18)]
    watchers = [right(), Watcher("red", Interest(label="red"), [Connection(10, red)])]
    assert not any(violations(HISTORY, watchers).values())


def faulty(name: str) -> Watcher:
    watcher = right()
    first, second = (connection.events for connection in watcher.connections)
    match name:
        case "ordered":
            second[0], second[1] = second[1], second[0]
        case "unique":
            second.insert(0, first[1])
        case "reliable":
            del second[1]
        case "atomic":
            second[0] = replace(second[0], data="another")
        case "resumable":
            del second[0]
        case "bookmarkable":
            first.insert(1, Told("BOOKMARK", 12))
    return watcher


@pytest.mark.parametrize("name", VALIDATORS)
def test_each_fault_has_its_validator(name: str) -> None:
    assert list(VALIDATORS[name](HISTORY, faulty(name)))


async def checked(store: Store, seed: int, compacts: bool) -> None:
    async with serving(store=store) as api:
        context = ssl.create_default_context(cadata=api.ca.decode())

        async def meanwhile() -> None:
            if compacts:
                await store.compact(max(store.revision - 100, 0))

        history, watchers, counts = await record(api.url, api.token, context, SECONDS, seed, meanwhile)
    found = violations(history, watchers)
    assert not any(found.values()), {name: texts[:5] for name, texts in found.items() if texts}
    assert unwitnessed(history, counts) == []
    assert counts.writes > 20
    assert counts.events > 20
    assert counts.connections > 8
    assert counts.bookmarks > 0


def test_the_server_keeps_all_six_with_everything_in_memory() -> None:
    asyncio.run(checked(MemoryStore(), 1, compacts=False))


def test_the_server_keeps_all_six_from_the_disk_and_while_it_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardly any change is kept in memory, so that watchers go on from the store's history; old history goes."""
    monkeypatch.setattr("clusterip.apiserver.cache.RECENT", 5)

    async def body() -> None:
        store = SqliteStore(tmp_path / "store.db")
        try:
            await checked(store, 2, compacts=True)
        finally:
            await store.close()

    asyncio.run(body())
