"""What was lost or leaked is found at start and as it happens, said and mended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from apiserver.wire import SERVICES, Wire, served, service
from clusterip.store.contract import Write
from clusterip.store.memory import MemoryStore

ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
KEPT = "/registry/networking.k8s.io/ipaddresses/"
PORT = "/registry/ranges/servicenodeports/"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


async def damaged(store: MemoryStore, **values: bytes | None) -> None:
    """Change keys of the store behind every server's back."""
    writes = []
    for key, value in values.items():
        now = store.get(key)
        writes.append(Write(key, value, now.revision if now else 0))
    await store.commit(writes)


async def reasons(wire: Wire) -> dict[str, str]:
    items = (await wire.ok("GET", EVENTS))["items"]
    return {item["reason"]: item["note"] for item in items}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await condition():  # noqa: ASYNC110 - asked over the wire
            await asyncio.sleep(0.02)


async def until_held(wire: Wire, address: str, name: str) -> None:
    async def is_held() -> bool:
        status, tree = await wire("GET", f"{ADDRESSES}/{address}")
        return status == 200 and bool(tree["spec"]["parentRef"]["name"] == name)

    await until(is_held)


def test_an_address_that_was_deleted_comes_back() -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", SERVICES, service("a"))
        address = made["spec"]["clusterIP"]
        before = await wire.ok("GET", f"{ADDRESSES}/{address}")
        await wire.ok("DELETE", f"{ADDRESSES}/{address}")
        await until_held(wire, address, "a")
        assert (await wire.ok("GET", f"{ADDRESSES}/{address}"))["metadata"]["uid"] != before["metadata"]["uid"]

        async def is_said() -> bool:
            return "ClusterIPNotAllocated" in await reasons(wire)

        await until(is_said)
        assert (await reasons(wire))["ClusterIPNotAllocated"] == (
            f"Cluster IP [IPv4]: {address} is not allocated; repairing"
        )

    served(body)


def test_an_address_of_no_service_goes_and_one_of_others_stays() -> None:
    async def body(wire: Wire) -> None:
        labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
        parent = {"resource": "services", "namespace": "default", "name": "none"}
        for name, marks in (("10.96.7.7", labels), ("10.96.7.8", {})):
            tree = {"metadata": {"name": name, "labels": marks}, "spec": {"parentRef": parent}}
            await wire.ok("POST", ADDRESSES, tree)

        async def is_gone() -> bool:
            return (await wire("GET", f"{ADDRESSES}/10.96.7.7"))[0] == 404 and bool(await reasons(wire))

        await until(is_gone)
        assert (await wire("GET", f"{ADDRESSES}/10.96.7.8"))[0] == 200
        assert "appears to have leaked" in (await reasons(wire))["IPAddressNotAllocated"]

    served(body)


def test_a_start_mends_what_was_lost_and_leaked() -> None:
    store = MemoryStore()
    made: dict[str, Any] = {}

    async def first(wire: Wire) -> None:
        made["a"] = await wire.ok("POST", SERVICES, service("a", type="NodePort"))
        made["b"] = await wire.ok("POST", SERVICES, service("b"))

    async def damage(wire: Wire) -> None:
        address = made["a"]["spec"]["clusterIP"]
        leaked = {
            "metadata": {"name": "10.96.7.7", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "b"}},
        }
        port = str(made["a"]["spec"]["ports"][0]["nodePort"])
        changes = {KEPT + address: None, KEPT + "10.96.7.7": orjson.dumps(leaked), PORT + port: None}
        changes[PORT + "32000"] = orjson.dumps({"metadata": {"name": "32000"}, "service": "default/gone"})
        await damaged(store, **changes)

    async def second(wire: Wire) -> None:
        await until_held(wire, made["a"]["spec"]["clusterIP"], "a")
        assert (await wire("GET", f"{ADDRESSES}/10.96.7.7"))[0] == 404
        port = str(made["a"]["spec"]["ports"][0]["nodePort"])
        assert list(wire.api.server.core.holdings.ports.entries) == [port]
        said = await reasons(wire)
        assert said["PortNotAllocated"] == f"Port {port} is not allocated; repairing"
        assert {"ClusterIPNotAllocated", "IPAddressWrongReference"} <= set(said)

    served(first, store=store)
    served(damage, store=store)
    served(second, store=store)


def test_what_only_its_owner_can_mend_is_said() -> None:
    store = MemoryStore()

    async def first(wire: Wire) -> None:
        one = await wire.ok("POST", SERVICES, service("a", type="NodePort"))
        await wire.ok("POST", SERVICES, service("b", type="NodePort"))
        key = "/registry/services/default/b"
        kept = store.get(key)
        assert kept is not None
        tree = orjson.loads(kept.value)
        tree["spec"].update({name: one["spec"][name] for name in ("clusterIP", "clusterIPs", "ports")})
        await damaged(store, **{key: orjson.dumps(tree)})

    async def second(wire: Wire) -> None:
        said = await reasons(wire)
        assert said["ClusterIPAlreadyAllocated"].endswith("was assigned to multiple services; please recreate service")
        assert said["PortAlreadyAllocated"].endswith("was assigned to multiple services; please recreate service")

    served(first, store=store)
    served(second, store=store)
