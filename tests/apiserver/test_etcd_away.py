"""An API server whose etcd is killed, frozen and back: clear answers meanwhile, and no restart."""

from __future__ import annotations

import asyncio
from typing import Any

from apiserver.test_several_servers import server_on
from apiserver.wire import CONFIGMAPS, Wire, config_map
from store.etcdserver import brief, etcd


async def ready(wire: Wire, wanted: int) -> str:
    while True:
        status, text = await wire("GET", "/readyz?verbose")
        if status == wanted:
            return str(text)
        await asyncio.sleep(0.05)


def test_killed_frozen_and_back() -> None:
    with etcd() as server:

        async def body(one: Wire, other: Wire) -> None:
            await one.ok("POST", CONFIGMAPS, config_map("before"))
            since = (await other.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
            events: list[tuple[str, Any]] = []
            path = f"{CONFIGMAPS}?watch=1&resourceVersion={since}"
            watch = asyncio.ensure_future(other.watch(path, events, lambda: len(events) >= 2))
            server.stop()
            assert "[-]etcd failed" in await ready(one, 500)
            status, tree = await one("POST", CONFIGMAPS, config_map("lost"))
            assert (status, tree["reason"]) == (503, "ServiceUnavailable"), tree
            assert "nothing was changed" in tree["message"]
            assert one.last["Retry-After"] == "1"
            status, tree = await one("GET", CONFIGMAPS)
            assert status == 503, tree
            stale = await one.ok("GET", f"{CONFIGMAPS}?resourceVersion=0")
            assert [item["metadata"]["name"] for item in stale["items"]] == ["before"]
            await asyncio.to_thread(server.start)
            await ready(one, 200)
            await one.ok("POST", CONFIGMAPS, config_map("after"))
            server.freeze()
            with brief():
                status, tree = await one("POST", CONFIGMAPS, config_map("doubtful"))
            assert (status, tree["reason"]) == (504, "Timeout"), tree
            assert "look before you try again" in tree["message"]
            server.freeze(False)
            await ready(one, 200)
            await ready(other, 200)
            status, _ = await one("POST", CONFIGMAPS, config_map("doubtful"))
            assert status in (201, 409)
            await watch
            assert [(kind, each["metadata"]["name"]) for kind, each in events] == [
                ("ADDED", "after"),
                ("ADDED", "doubtful"),
            ]
            lists = [(await wire.ok("GET", CONFIGMAPS))["items"] for wire in (one, other)]
            assert lists[0] == lists[1]

        async def run() -> None:
            where = server.endpoints()
            async with server_on(where) as one, server_on(where) as other:
                await asyncio.wait_for(body(one, other), 240)

        asyncio.run(run())
