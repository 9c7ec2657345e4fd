"""Custom resources on the wire, as a kube-apiserver 1.36 answered the same requests."""

from __future__ import annotations

import asyncio
from typing import Any

from apiserver.wire import Wire, served

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
V1, V2 = "/apis/example.com/v1/namespaces/default/foos", "/apis/example.com/v2/namespaces/default/foos"
TEXT = {"type": "string"}


def version(name: str, storage: bool = False, **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}


def definition(*versions: dict[str, Any], group: str = "example.com") -> dict[str, Any]:
    names = {"plural": "foos", "kind": "Foo"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": list(versions)}
    return {"metadata": {"name": f"foos.{group}"}, "spec": spec}


def foo(name: str, version: str = "v1", finalizers: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"finalizers": list(finalizers)} if finalizers else {})}
    return {"apiVersion": f"example.com/{version}", "kind": "Foo", "metadata": metadata, "spec": spec}


async def there(wire: Wire, path: str) -> None:
    async with asyncio.timeout(30):
        while True:
            status, _ = await wire("GET", path)
            if status == 200:
                return
            await asyncio.sleep(0.01)


def test_versions_show_what_both_know_and_lists_say_what_their_items_are() -> None:
    async def body(wire: Wire) -> None:
        first = version("v1", True, a=TEXT, x={**TEXT, "default": "d1"})
        await wire.ok("POST", CRDS, definition(first, version("v2", a=TEXT, y={**TEXT, "default": "d2"})))
        await there(wire, V1)
        assert (await wire.ok("POST", V1, foo("a", a="1")))["spec"] == {"a": "1", "x": "d1"}
        assert (await wire.ok("GET", f"{V2}/a"))["spec"] == {"a": "1"}
        assert (await wire.ok("POST", V2, foo("b", "v2", a="2", y="3")))["spec"] == {"a": "2"}
        assert (await wire.ok("GET", f"{V1}/b"))["spec"] == {"a": "2", "x": "d1"}
        listed = await wire.ok("GET", V2)
        assert [(each["apiVersion"], each["kind"]) for each in listed["items"]] == [("example.com/v2", "Foo")] * 2
        assert listed["metadata"]["continue"] == ""

    served(body)


def test_what_a_custom_resource_says_that_it_is() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CRDS, definition(version("v1", True)))
        await there(wire, V1)
        status, refused = await wire("POST", V1, {"apiVersion": "example.com/v1", "metadata": {"name": "a"}})
        assert status == 400
        assert "Object 'Kind' is missing in" in refused["message"]
        status, refused = await wire("POST", V1, foo("a", "v9"))
        assert refused["message"] == (
            "the API version in the data (example.com/v9) does not match the expected API version (example.com/v1)"
        )
        status, refused = await wire("POST", V1, {**foo("a"), "kind": "Bar"})
        assert (status, refused["message"].partition(": ")[2]) == (422, 'kind: Invalid value: "Bar": must be Foo')
        assert (await wire("GET", f"{V1}/a/status"))[1]["message"] == 'foos.example.com "a" not found'

    served(body)


def test_a_definition_that_ends_takes_no_new_objects() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CRDS, definition(version("v1", True)))
        await there(wire, V1)
        await wire.ok("POST", V1, foo("held", finalizers=("example.com/x",)))
        await wire.ok("DELETE", f"{CRDS}/foos.example.com")
        status, refused = await wire("POST", V1, foo("late"))
        assert (status, refused["message"]) == (
            403,
            'foos.example.com "late" is forbidden: create not allowed while custom resource definition is terminating',
        )
        await wire.ok("PATCH", f"{V1}/held", {"metadata": {"finalizers": None}}, type="merge")

    served(body)


def test_a_definition_that_serves_nothing_harms_nobody() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CRDS, definition({**version("v1", True), "served": False}))
        await wire.ok("POST", CRDS, definition(version("v1", True), group="example.org"))
        await there(wire, "/apis/example.org/v1/foos")
        assert (await wire("GET", V1))[0] == 404

    served(body)


def test_groups_of_kubernetes_need_its_word() -> None:
    async def body(wire: Wire) -> None:
        crd = definition(version("v1", True), group="x.k8s.io")
        status, refused = await wire("POST", CRDS, crd)
        assert (status, refused["details"]["causes"][0]["field"]) == (
            422,
            "metadata.annotations[api-approved.kubernetes.io]",
        )
        crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
        await wire.ok("POST", CRDS, crd)
        await there(wire, "/apis/x.k8s.io/v1/foos")

    served(body)
