"""Custom resources over HTTP: what the recorded conversation does not say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from apiserver.serving import Api, serving
from clusterip.api.errors import ApiError
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client
from clusterip.store.sqlite import SqliteStore

CRDS = ResourceRef("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
POOLS = ResourceRef("example.com", "v1", "pools", "Pool", True)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}
SCALE = {
    "specReplicasPath": ".spec.size",
    "statusReplicasPath": ".status.size",
    "labelSelectorPath": ".status.selector",
}


def definition(plural: str = "pools", kind: str = "Pool", **version: Any) -> dict[str, Any]:
    one = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, **version}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [one],
        },
    }


def pool(name: str = "a", finalizers: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"finalizers": finalizers} if finalizers else {})}
    return {"apiVersion": "example.com/v1", "kind": "Pool", "metadata": metadata, "spec": spec}


async def condition(client: Client, name: str, kind: str) -> str:
    """A condition of a definition, as soon as it is there."""
    async with asyncio.timeout(30):
        while True:
            tree = await client.get(CRDS, name)
            for each in tree.get("status", {}).get("conditions") or ():
                if each["type"] == kind:
                    return f"{each['status']} {each['reason']}"
            await asyncio.sleep(0.01)


async def code_of(call: Any) -> int:
    try:
        await call
    except ApiError as error:
        return error.code
    return 200


async def until(wanted: Callable[[], Awaitable[bool]]) -> None:
    """Ask again until it is so."""
    async with asyncio.timeout(30):
        while not await wanted():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def answers(call: Callable[[], Awaitable[Any]], code: int) -> bool:
    return await code_of(call()) == code


def test_a_kind_goes_with_its_objects_and_comes_back_empty() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await client.create(CRDS, definition())
            await client.create(POOLS, pool(), "default")
            await client.create(POOLS, pool("b", finalizers=["example.com/hold"]), "default")
            await client.delete(CRDS, "pools.example.com")
            assert await condition(client, "pools.example.com", "Terminating") == "True InstanceDeletionPending"
            await until(lambda: answers(lambda: client.get(POOLS, "a", "default"), 404))
            await client.patch(POOLS, "b", "default", {"metadata": {"finalizers": None}})
            await until(lambda: answers(lambda: client.get(CRDS, "pools.example.com"), 404))
            assert await code_of(client.list(POOLS)) == 404
            await client.create(CRDS, definition())
            assert (await client.list(POOLS))["items"] == []

    asyncio.run(run())


def test_a_taken_kind_is_not_served_until_it_is_free() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await client.create(CRDS, definition())
            await client.create(CRDS, definition("basins", "Pool"))
            assert await condition(client, "basins.example.com", "NamesAccepted") == "False ListKindConflict"
            basins = ResourceRef("example.com", "v1", "basins", "Pool", True)
            assert await code_of(client.list(basins)) == 404
            await client.delete(CRDS, "pools.example.com")
            await until(lambda: answers(lambda: client.list(basins), 200))

    asyncio.run(run())


def test_scale_and_selectable_fields() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            subresources = {"status": {}, "scale": SCALE}
            fields = [{"jsonPath": ".spec.color"}]
            await client.create(CRDS, definition(subresources=subresources, selectableFields=fields))
            await client.create(POOLS, pool(color="red", size=2), "default")
            await client.create(POOLS, pool("b", color="blue"), "default")
            status = {"status": {"size": 1, "selector": "a=b"}}
            await client.patch(POOLS, "a", "default", status, subresource="status")
            scale = await client.get(POOLS, "a", "default", subresource="scale")
            assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
            await client.patch(POOLS, "a", "default", {"spec": {"replicas": 5}}, subresource="scale")
            assert (await client.get(POOLS, "a", "default"))["spec"]["size"] == 5
            found = await client.list(POOLS, fields="spec.color=blue")
            assert [item["metadata"]["name"] for item in found["items"]] == ["b"]

    asyncio.run(run())


def test_a_changed_definition_is_served_at_once() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await client.create(CRDS, definition())
            await client.create(POOLS, pool(), "default")
            crd = await client.get(CRDS, "pools.example.com")
            version = crd["spec"]["versions"][0]
            crd["spec"]["versions"].append({**version, "name": "v2", "storage": False})
            await client.update(CRDS, crd)
            newer = ResourceRef("example.com", "v2", "pools", "Pool", True)
            assert (await client.get(newer, "a", "default"))["apiVersion"] == "example.com/v2"

    asyncio.run(run())


def test_kinds_are_there_after_a_restart(tmp_path: Path) -> None:
    async def first(api: Api) -> None:
        async with api.client() as client:
            await client.create(CRDS, definition())
            await client.create(POOLS, pool(color="red"), "default")

    async def second(api: Api) -> None:
        async with api.client() as client:
            assert (await client.get(POOLS, "a", "default"))["spec"] == {"color": "red"}

    async def run() -> None:
        for part in (first, second):
            store = SqliteStore(tmp_path / "store.db")
            try:
                async with serving(store=store) as api:
                    await part(api)
            finally:
                await store.close()

    asyncio.run(run())


def test_a_schema_that_cannot_be_served_is_refused() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            for wrong, text in (
                ({"type": "array", "items": [{"type": "string"}]}, "items must be a schema object and not an array"),
                ({"type": "string", "default": 1}, "in body must be of type string"),
                ({"$ref": "#/x"}, "$ref is not supported"),
            ):
                crd = definition(schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": wrong}}})
                with pytest.raises(ApiError, match=re.escape(text)):
                    await client.create(CRDS, crd)

    asyncio.run(run())


def test_rules_in_cel_are_asked() -> None:
    async def run() -> None:
        rule = {"rule": "self.size >= oldSelf.size", "message": "it never shrinks"}
        spec = {"type": "object", "properties": {"size": {"type": "integer"}}, "x-kubernetes-validations": [rule]}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        async with serving() as api, api.client() as client:
            await client.create(CRDS, definition(schema=schema))
            await client.create(POOLS, pool(size=2), "default")
            await client.patch(POOLS, "a", "default", {"spec": {"size": 3}})
            with pytest.raises(ApiError, match="spec: Invalid value: it never shrinks"):
                await client.patch(POOLS, "a", "default", {"spec": {"size": 1}})

    asyncio.run(run())


def test_what_was_kept_before_a_default_is_read_with_it() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await client.create(CRDS, definition())
            await client.create(POOLS, pool(), "default")
            crd = await client.get(CRDS, "pools.example.com")
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            schema["properties"]["zone"] = {"type": "string", "default": "A"}
            await client.update(CRDS, crd)
            assert (await client.get(POOLS, "a", "default"))["zone"] == "A"
            assert [item["zone"] for item in (await client.list(POOLS, "default"))["items"]] == ["A"]
            crd = await client.get(CRDS, "pools.example.com")
            del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["zone"]["default"]
            await client.update(CRDS, crd)
            assert "zone" not in await client.get(POOLS, "a", "default")

    asyncio.run(run())


def test_defaults_are_filled_in_once_for_an_object_and_a_definition() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await client.create(CRDS, zoned("A"))
            await client.create(POOLS, {**pool(), "zone": "B"}, "default")
            registry = api.server.core.registry
            served, objects = registry.find("example.com", "v1", "pools"), registry.of("pools", "example.com")
            assert served is not None
            assert objects is not None
            entry = objects.entries["default/a"]
            assert served.body(entry) is entry.body  # nothing is missing: no second copy
            await client.patch(POOLS, "a", "default", {"zone": None})
            entry = objects.entries["default/a"]
            crd = await client.get(CRDS, "pools.example.com")
            crd["spec"] = zoned("C", "place")["spec"]
            await client.update(CRDS, crd)
            changed = registry.find("example.com", "v1", "pools")
            assert changed is not None
            assert changed.body(entry) is changed.body(entry)
            assert b'"place":"C"' in changed.body(entry)
            assert b"place" not in served.body(entry)
            assert (await client.get(POOLS, "a", "default"))["place"] == "C"

    asyncio.run(run())


def zoned(default: str, field: str = "zone") -> dict[str, Any]:
    zone = {"type": "string", "default": default}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], field: zone}}
    return definition(schema={"openAPIV3Schema": schema})
