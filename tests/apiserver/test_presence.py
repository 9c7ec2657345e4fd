"""The `kubernetes` Service stays, and leads to the servers that live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from apiserver.wire import Wire, served
from clusterip.apiserver.core import Settings
from clusterip.apiserver.presence import SIGNS, Presence
from clusterip.store.contract import Write
from clusterip.store.memory import MemoryStore

SERVICE = "/api/v1/namespaces/default/services/kubernetes"
ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
RANGE = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes"
HERE = Settings(advertise=("192.168.4.100", 6443))


class Shared(MemoryStore):
    """A store that says that others use it too."""

    shared = True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - asked over the wire
            await asyncio.sleep(0.02)


async def hosts(wire: Wire) -> list[str]:
    found: Any = await wire.ok("GET", ENDPOINTS)
    slices: Any = await wire.ok("GET", SLICE)
    told = [address["ip"] for address in found["subsets"][0]["addresses"]]
    assert told == [endpoint["addresses"][0] for endpoint in slices["endpoints"]]
    return told


def test_what_is_deleted_or_bent_comes_back() -> None:
    async def body(wire: Wire) -> None:
        for path in (SERVICE, ENDPOINTS, SLICE, RANGE):
            before = await wire.ok("GET", path)
            await wire.ok("DELETE", path)

            async def is_back(path: str = path, uid: str = before["metadata"]["uid"]) -> bool:
                status, tree = await wire("GET", path)
                return status == 200 and bool(tree["metadata"]["uid"] != uid)

            await until(is_back)
        assert (await wire.ok("GET", SERVICE))["spec"]["clusterIP"] == "10.96.0.1"
        other = {"subsets": [{"addresses": [{"ip": "10.9.9.9"}]}]}
        await wire.ok("PATCH", ENDPOINTS, other, type="merge")

        async def is_right() -> bool:
            return await hosts(wire) == ["192.168.4.100"]

        await until(is_right)

    served(body, settings=HERE)


def test_servers_of_one_store_are_found_and_forgotten() -> None:
    store = Shared()

    async def body(wire: Wire) -> None:
        core, key = wire.api.server.core, f"/registry{SIGNS}/192.168.4.99"
        value = orjson.dumps({"metadata": {"name": "192.168.4.99"}, "count": 7})
        presence = Presence(core)
        await store.commit([Write(key, value, 0)])
        await presence.reconcile()
        assert await hosts(wire) == ["192.168.4.99", "192.168.4.100"]
        presence._seen["192.168.4.99"] = (presence._seen["192.168.4.99"][0], -100.0)
        await presence.reconcile()
        assert await hosts(wire) == ["192.168.4.100"]
        assert store.get(key) is None
        assert store.get(f"/registry{SIGNS}/192.168.4.100") is not None

    served(body, settings=HERE, store=store)
    assert store.get(f"/registry{SIGNS}/192.168.4.100") is None, "who leaves says so"
