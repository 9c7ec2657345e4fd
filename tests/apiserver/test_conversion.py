"""Versions that a webhook converts: read, listed, watched, written, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiserver.hooks import Hook, hooked, resources
from apiserver.serving import serving
from apiserver.test_customresources import CRDS, condition, until
from clusterip.api.errors import ApiError
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client

OLD = ResourceRef("example.com", "v1beta1", "peers", "Peer", True)
NEW = ResourceRef("example.com", "v1beta2", "peers", "Peer", True)


def version(name: str, storage: bool, **properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    schema = {"type": "object", "properties": {"spec": spec}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}


def definition(hook: Hook, stored: str = "v1beta2") -> dict[str, Any]:
    webhook = {"clientConfig": hook.client, "conversionReviewVersions": ["v1beta1", "v1"][1:]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "peers.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "peers", "kind": "Peer"},
            "conversion": {"strategy": "Webhook", "webhook": webhook},
            "versions": [
                version("v1beta1", stored == "v1beta1", peerPort="integer"),
                version("v1beta2", stored == "v1beta2", port="integer"),
            ],
        },
    }


def peer(ref: ResourceRef, name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{ref.version}", "kind": "Peer", "metadata": {"name": name}, "spec": spec}


def converted(tree: dict[str, Any], wanted: str) -> dict[str, Any]:
    names = {"peerPort": "port"} if wanted.endswith("v1beta2") else {"port": "peerPort"}
    spec = {names.get(key, key): value for key, value in (tree.get("spec") or {}).items()}
    return {**tree, "apiVersion": wanted, "spec": spec}


def converts(request: dict[str, Any]) -> dict[str, Any]:
    made = [converted(tree, request["desiredAPIVersion"]) for tree in request["objects"]]
    return {"convertedObjects": made, "result": {"status": "Success"}}


@asynccontextmanager
async def peers(says: Any = converts, stored: str = "v1beta2") -> AsyncIterator[tuple[Client, Hook]]:
    async with hooked(says) as hook, serving(resources=resources()) as api, api.client() as client:
        await client.create(CRDS, definition(hook, stored))
        assert (await condition(client, "peers.example.com", "Established")).startswith("True")
        yield client, hook


def test_each_version_is_read_and_written() -> None:
    async def run() -> None:
        async with peers() as (client, hook):
            made = await client.create(OLD, peer(OLD, peerPort=179), "default")
            assert (made["apiVersion"], made["spec"]) == ("example.com/v1beta1", {"peerPort": 179})
            assert "clusterip.dev/version" not in made
            assert (await client.get(NEW, "a", "default"))["spec"] == {"port": 179}
            await client.patch(OLD, "a", "default", {"spec": {"peerPort": 180}})
            found = await client.get(NEW, "a", "default")
            assert (found["spec"], found["metadata"]["generation"]) == ({"port": 180}, 2)
            before = len(hook.asked)
            for _ in range(3):
                assert (await client.get(OLD, "a", "default"))["spec"] == {"peerPort": 180}
            assert len(hook.asked) <= before + 1
            await client.delete(OLD, "a", "default")
            assert (await client.list(NEW, "default"))["items"] == []

    asyncio.run(run())


def test_a_list_is_one_call_and_its_own_version_none() -> None:
    async def run() -> None:
        async with peers() as (client, hook):
            for name in "abc":
                await client.create(NEW, peer(NEW, name, port=1), "default")
            assert hook.asked == []
            found = await client.list(OLD, "default")
            assert [each["spec"] for each in found["items"]] == [{"peerPort": 1}] * 3
            assert [len(each["objects"]) for each in hook.asked] == [3]
            await client.list(OLD, "default")
            assert len(hook.asked) == 1

    asyncio.run(run())


def test_a_watch_shows_its_version() -> None:
    async def run() -> None:
        async with peers() as (client, _hook):
            await client.create(NEW, peer(NEW, port=1), "default")
            seen: list[Any] = []

            async def follow() -> None:
                async for kind, tree in client.watch(OLD, "default", resource_version="0", bookmarks=False):
                    seen.append((kind, tree["spec"]))

            task = asyncio.create_task(follow())
            await until(lambda: _reached(seen, 1))
            await client.patch(NEW, "a", "default", {"spec": {"port": 2}})
            await client.delete(NEW, "a", "default")
            await until(lambda: _reached(seen, 3))
            task.cancel()
            assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
            assert [spec["peerPort"] for _, spec in seen] == [1, 2, 2]

    asyncio.run(run())


async def _reached(seen: list[Any], number: int) -> bool:
    return len(seen) >= number


def test_another_storage_version_leaves_what_is_kept_readable() -> None:
    async def run() -> None:
        async with peers(stored="v1beta1") as (client, hook):
            await client.create(OLD, peer(OLD, peerPort=1), "default")
            crd = await client.get(CRDS, "peers.example.com")
            crd["spec"]["versions"] = definition(hook)["spec"]["versions"]
            await client.update(CRDS, crd)
            assert (await client.get(NEW, "a", "default"))["spec"] == {"port": 1}
            assert (await client.get(OLD, "a", "default"))["spec"] == {"peerPort": 1}
            crd = await client.get(CRDS, "peers.example.com")
            crd["spec"]["conversion"] = {"strategy": "None"}
            await client.update(CRDS, crd)
            assert (await client.get(OLD, "a", "default"))["spec"] == {"peerPort": 1}
            assert "clusterip.dev/version" not in await client.get(OLD, "a", "default")

    asyncio.run(run())


def renamed(request: dict[str, Any]) -> dict[str, Any]:
    said = converts(request)
    for each in said["convertedObjects"]:
        each["metadata"] = {**each["metadata"], "name": "other"}
    return said


def relabelled(request: dict[str, Any]) -> dict[str, Any]:
    said = converts(request)
    for each in said["convertedObjects"]:
        each["metadata"] = {**each["metadata"], "labels": {"x": "y"}, "finalizers": ["a/b"], "generation": 77}
    return said


BAD = [
    (renamed, "returned invalid object: must have the same name: a != other"),
    (lambda request: {"convertedObjects": [], "result": {"status": "Success"}}, "returned 0 objects, expected 1"),
    (lambda request: {"result": {"status": "Failed", "message": "cannot"}}, "failed: cannot"),
    (lambda request: {"result": {}}, "failed: response.result.status was '', not 'Success'"),
    (lambda request: "oops", "failed: couldn't get version/kind; json parse error"),
]


@pytest.mark.parametrize(("says", "text"), BAD)
def test_a_bad_conversion_is_told(says: Any, text: str) -> None:
    async def run() -> None:
        async with peers(says) as (client, _hook):
            await client.create(NEW, peer(NEW, port=1), "default")
            for call in (client.get(OLD, "a", "default"), client.list(OLD, "default")):
                with pytest.raises(ApiError) as caught:
                    await call
                head = "conversion webhook for example.com/v1beta2, Kind=Peer "
                assert caught.value.message.startswith(head + text)
            assert (await client.get(NEW, "a", "default"))["spec"] == {"port": 1}

    asyncio.run(run())


def test_only_labels_and_annotations_are_the_webhooks() -> None:
    async def run() -> None:
        async with peers(relabelled) as (client, _hook):
            await client.create(NEW, peer(NEW, port=1), "default")
            metadata = (await client.get(OLD, "a", "default"))["metadata"]
            assert (metadata["labels"], metadata["generation"]) == ({"x": "y"}, 1)
            assert "finalizers" not in metadata

    asyncio.run(run())


@asynccontextmanager
async def selectable() -> AsyncIterator[tuple[Client, Hook]]:
    """Each version selects by its own name of the field."""
    async with hooked(converts) as hook, serving(resources=resources()) as api, api.client() as client:
        tree = definition(hook)
        for version, field in zip(tree["spec"]["versions"], ("peerPort", "port"), strict=True):
            version["selectableFields"] = [{"jsonPath": f".spec.{field}"}]
        await client.create(CRDS, tree)
        assert (await condition(client, "peers.example.com", "Established")).startswith("True")
        for name, port in (("a", 1), ("b", 2), ("c", 1)):
            await client.create(NEW, peer(NEW, name, port=port), "default")
        yield client, hook


async def names(client: Client, ref: ResourceRef, fields: str) -> list[str]:
    found = await client.list(ref, "default", fields=fields)
    return [each["metadata"]["name"] for each in found["items"]]


def test_fields_are_selected_as_the_version_has_them() -> None:
    async def run() -> None:
        async with selectable() as (client, hook):
            assert await names(client, NEW, "spec.port=1") == ["a", "c"]
            assert hook.asked == []
            assert await names(client, OLD, "spec.peerPort=1") == ["a", "c"]
            assert await names(client, OLD, "spec.peerPort!=1,metadata.name!=x") == ["b"]
            assert [len(each["objects"]) for each in hook.asked] == [3]
            with pytest.raises(ApiError):
                await names(client, OLD, "spec.port=1")
            await client.delete_collection(OLD, "default", fields="spec.peerPort=1")
            assert await names(client, NEW, "spec.port!=7") == ["b"]

    asyncio.run(run())


def test_a_watch_selects_by_its_versions_fields() -> None:
    async def run() -> None:
        async with selectable() as (client, _hook):
            seen: list[Any] = []

            async def follow() -> None:
                watch = client.watch(OLD, "default", resource_version="0", fields="spec.peerPort=1")
                async for kind, tree in watch:
                    seen.append((kind, tree["metadata"]["name"]))

            task = asyncio.create_task(follow())
            await until(lambda: _reached(seen, 2))
            await client.patch(NEW, "b", "default", {"spec": {"port": 1}})
            await client.patch(NEW, "a", "default", {"spec": {"port": 9}})
            await until(lambda: _reached(seen, 4))
            task.cancel()
            assert [each for each in seen if each[0] != "BOOKMARK"] == [
                ("ADDED", "a"),
                ("ADDED", "c"),
                ("ADDED", "b"),
                ("DELETED", "a"),
            ]

    asyncio.run(run())
