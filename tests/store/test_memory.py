"""The model itself, where the contract suite leaves something to say."""

from __future__ import annotations

import asyncio

from clusterip.store.contract import Write, last_key
from clusterip.store.memory import MemoryStore


def test_history_is_forgotten_by_compaction() -> None:
    async def body() -> None:
        store = MemoryStore()
        for n in range(5):
            await store.commit([Write("/a", b"x", n)])
        await store.compact(4)
        assert [event.revision for event in store.history("/", 4)] == [5]

    asyncio.run(body())


def test_the_key_after_a_prefix() -> None:
    assert last_key("/a/") == "/a0"
    assert last_key("") > "/zzz"
