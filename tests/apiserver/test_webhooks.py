"""Admission webhooks over HTTP: what they are shown, what they may do, what their failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiserver.hooks import MUTATING, VALIDATING, Hook, configuration, hooked, patch, resources
from apiserver.serving import serving
from clusterip.api.errors import ApiError
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client

MAPS = ResourceRef("", "v1", "configmaps", "ConfigMap", True)
NAMESPACES = ResourceRef("", "v1", "namespaces", "Namespace", False)


def config_map(name: str = "a", labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@asynccontextmanager
async def administered() -> AsyncIterator[Client]:
    async with serving(resources=resources()) as api, api.client() as client:
        yield client


async def refused(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


def mark(name: str) -> dict[str, Any]:
    return patch({"op": "add", "path": f"/data/{name}", "value": "yes"})


async def _denied(client: Client, hook: Hook) -> None:
    await client.create(VALIDATING, configuration(VALIDATING, hook.client))
    error = await refused(client.create(MAPS, config_map(), "default"))
    text = 'admission webhook "one.example.com" denied the request: no'
    assert (error.code, error.reason, error.message) == (403, "Forbidden", text)
    assert (await client.list(MAPS, "default"))["items"] == []
    asked = hook.asked[0]
    assert (asked["operation"], asked["namespace"], asked["name"]) == ("CREATE", "default", "a")
    assert asked["object"]["metadata"]["uid"]
    assert asked["oldObject"] is None
    assert asked["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert asked["userInfo"]["groups"]


def test_a_validating_webhook_denies() -> None:
    async def run() -> None:
        no = {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "no"}}
        async with hooked(lambda request: no) as hook, administered() as client:
            await _denied(client, hook)

    asyncio.run(run())


def test_mutating_webhooks_change_in_the_order_of_names_and_again_if_needed() -> None:
    async def run() -> None:
        def first(request: dict[str, Any]) -> dict[str, Any]:
            seen = "again" if "second" in request["object"]["data"] else "first"
            return patch({"op": "add", "path": f"/data/{seen}", "value": "yes"})

        async with hooked(first) as one, hooked(lambda request: mark("second")) as two, administered() as client:
            wanted = configuration(MUTATING, one.client, "a", reinvocationPolicy="IfNeeded")
            await client.create(MUTATING, wanted)
            await client.create(MUTATING, configuration(MUTATING, two.client, "b"))
            made = await client.create(MAPS, config_map(x="1"), "default")
            assert made["data"] == {"x": "1", "first": "yes", "second": "yes", "again": "yes"}
            assert (len(one.asked), len(two.asked)) == (2, 1)
            assert await client.get(MAPS, "a", "default") == made

    asyncio.run(run())


def test_what_is_validated_is_what_is_kept() -> None:
    async def run() -> None:
        def marks(request: dict[str, Any]) -> dict[str, Any]:
            return {"allowed": True} if request["operation"] == "DELETE" else mark("m")

        async with (
            hooked(marks) as one,
            hooked(lambda request: {"allowed": True}) as two,
            administered() as client,
        ):
            await client.create(MUTATING, configuration(MUTATING, one.client))
            await client.create(VALIDATING, configuration(VALIDATING, two.client))
            made = await client.create(MAPS, config_map(x="1"), "default")
            shown = two.asked[0]["object"]
            assert shown["metadata"]["uid"] == made["metadata"]["uid"]
            assert shown["data"] == made["data"] == {"x": "1", "m": "yes"}
            await client.patch(MAPS, "a", "default", {"data": {"x": "2"}})
            assert two.asked[1]["operation"] == "UPDATE"
            assert (two.asked[1]["oldObject"]["data"]["x"], two.asked[1]["object"]["data"]["x"]) == ("1", "2")
            await client.delete(MAPS, "a", "default")
            assert two.asked[2]["operation"] == "DELETE"
            assert (two.asked[2]["object"], two.asked[2]["oldObject"]["data"]["x"]) == (None, "2")

    asyncio.run(run())


def test_an_object_that_moves_while_a_webhook_thinks_is_shown_again() -> None:
    async def run() -> None:
        async with administered() as client:

            async def slow(request: dict[str, Any]) -> dict[str, Any]:
                if request["operation"] == "UPDATE" and request["oldObject"]["data"] == {"x": "1"}:
                    await client.delete(VALIDATING, "hooks")
                    await client.patch(MAPS, "a", "default", {"data": {"y": "1"}})
                    await client.create(VALIDATING, wanted)
                return {"allowed": True}

            async with hooked(slow) as hook:
                wanted = configuration(VALIDATING, hook.client)
                await client.create(MAPS, config_map(x="1"), "default")
                await client.create(VALIDATING, wanted)
                await client.patch(MAPS, "a", "default", {"data": {"z": "1"}})
                assert (await client.get(MAPS, "a", "default"))["data"] == {"x": "1", "y": "1", "z": "1"}
                assert [each["oldObject"]["data"] for each in hook.asked] == [{"x": "1"}, {"x": "1", "y": "1"}]

    asyncio.run(run())


FAILURES: list[tuple[Any, int, str]] = [
    (lambda request: "boom", 500, 'failed to call webhook: an error on the server ("boom") has prevented the request'),
    (lambda request: "gone", 404, "failed to call webhook: the server could not find the requested resource"),
    (lambda request: {"uid": "x", "allowed": True}, 200, "received invalid webhook response: expected response.uid="),
    (lambda request: {"response": None}, 200, "received invalid webhook response: webhook response was absent"),
    (lambda request: mark("x"), 200, "validating webhook may not return response.patch"),
]


@pytest.mark.parametrize(("says", "status", "text"), FAILURES)
def test_a_failure_refuses_or_passes_as_the_policy_is(says: Any, status: int, text: str) -> None:
    async def run() -> None:
        async with hooked(says, status=status) as hook, administered() as client:
            await client.create(VALIDATING, configuration(VALIDATING, hook.client))
            error = await refused(client.create(MAPS, config_map(), "default"))
            assert (error.code, error.reason) == (500, "InternalError")
            assert error.message.startswith('Internal error occurred: failed calling webhook "one.example.com": ')
            assert text in error.message
            lenient = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
            await client.patch(VALIDATING, "hooks", None, lenient, type="json")
            await client.create(MAPS, config_map(), "default")

    asyncio.run(run())


def test_nobody_there_too_slow_and_not_believed() -> None:
    async def run() -> None:
        async def slow(request: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(3)
            return {"allowed": True}

        async with hooked(slow) as hook, administered() as client:
            nowhere = {**hook.client, "url": "https://127.0.0.1:1/x"}
            cases = [
                (hook.client, 1, "context deadline exceeded"),
                (
                    nowhere,
                    30,
                    "dial tcp 127.0.0.1:1: connect: connection refused",
                ),
                ({"url": hook.client["url"]}, 30, "x509: certificate signed by unknown authority"),
                (
                    {"service": {"namespace": "default", "name": "none"}},
                    30,
                    '"https://none.default.svc:443/?timeout=30s": service "none" not',
                ),
            ]
            for where, seconds, text in cases:
                await client.create(VALIDATING, configuration(VALIDATING, where, timeoutSeconds=seconds))
                assert text in (await refused(client.create(MAPS, config_map(), "default"))).message
                await client.delete(VALIDATING, "hooks")

    asyncio.run(run())


def test_selectors_dry_runs_and_warnings() -> None:
    async def run() -> None:
        async with hooked(lambda request: {"allowed": True, "warnings": ["careful"]}) as hook, administered() as client:
            selector = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
            wanted = configuration(
                VALIDATING,
                hook.client,
                sideEffects="NoneOnDryRun",
                namespaceSelector=selector,
                objectSelector={"matchLabels": {"a": "b"}},
            )
            await client.create(VALIDATING, wanted)
            await client.create(MAPS, config_map(), "default")
            await client.create(MAPS, config_map(labels={"a": "b"}), "kube-public")
            assert hook.asked == []
            tree = config_map("b", {"a": "b"})
            dry = client.request("POST", MAPS.path("default"), tree, params={"dryRun": "All"})
            await dry
            assert [each["dryRun"] for each in hook.asked] == [True]
            await client.create(MAPS, config_map("b", {"a": "b"}), "default")
            assert [each["dryRun"] for each in hook.asked] == [True, False]

    asyncio.run(run())


def test_a_deleted_collection_is_shown_one_by_one() -> None:
    async def run() -> None:
        def says(request: dict[str, Any]) -> dict[str, Any]:
            return {"allowed": request["name"] != "b"}

        async with hooked(says) as hook, administered() as client:
            for name in ("a", "b", "c"):
                await client.create(MAPS, config_map(name), "default")
            rules = [{"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["*/*"]}]
            await client.create(VALIDATING, configuration(VALIDATING, hook.client, rules=rules))
            error = await refused(client.delete_collection(MAPS, "default"))
            assert error.message == 'admission webhook "one.example.com" denied the request without explanation'
            left = [each["metadata"]["name"] for each in (await client.list(MAPS, "default"))["items"]]
            assert left == ["b", "c"]

    asyncio.run(run())


def test_services_keep_the_address_that_was_shown() -> None:
    async def run() -> None:
        services = ResourceRef("", "v1", "services", "Service", True)
        rules = [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}]
        async with hooked(lambda request: {"allowed": True}) as hook, administered() as client:
            await client.create(VALIDATING, configuration(VALIDATING, hook.client, rules=rules))
            tree = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
            made = await client.create(services, tree, "default")
            assert hook.asked[-1]["object"]["spec"]["clusterIP"] == made["spec"]["clusterIP"]

    asyncio.run(run())


def test_conditions_in_cel() -> None:
    async def run() -> None:
        async with hooked(lambda request: {"allowed": False}) as hook, administered() as client:
            conditions = [{"name": "c", "expression": "object.data.a == 'x'"}]
            await client.create(VALIDATING, configuration(VALIDATING, hook.client, matchConditions=conditions))
            await client.create(MAPS, config_map("b", a="y"), "default")
            assert hook.asked == []
            assert (await refused(client.create(MAPS, config_map("c", a="x"), "default"))).code == 400
            error = await refused(client.create(MAPS, config_map("d", b="x"), "default"))
            text = "expression 'object.data.a == 'x'' resulted in error: no such key: a"
            assert (error.code, error.message) == (403, f'configmaps "d" is forbidden: {text}')

    asyncio.run(run())


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "a:1"}], "automountServiceAccountToken": False},
}


def test_evictions_bindings_and_connections_are_shown() -> None:
    async def run() -> None:
        pods = ResourceRef("", "v1", "pods", "Pod", True)
        rules = [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/*"]}]
        async with (
            hooked(lambda request: {"allowed": request["operation"] == "DELETE"}) as hook,
            administered() as client,
        ):
            await client.create(ACCOUNTS, DEFAULT_ACCOUNT, "default")
            await client.create(pods, POD, "default")
            await client.create(VALIDATING, configuration(VALIDATING, hook.client, rules=rules))
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}}
            for tree, sub in ((eviction, "eviction"), (binding, "binding")):
                error = await refused(client.create(pods, tree, "default", sub, "p"))
                assert "denied the request" in error.message
            path = pods.path("default", "p", "exec")
            error = await refused(client.request("GET", path, params={"command": "ls", "stdout": "true"}))
            assert "denied the request" in error.message
            await client.delete(pods, "p", "default", grace_seconds=0)
            shown = [(each["operation"], each["subResource"], each["kind"]["kind"]) for each in hook.asked[:3]]
            assert shown == [
                ("CREATE", "eviction", "Eviction"),
                ("CREATE", "binding", "Binding"),
                ("CONNECT", "exec", "PodExecOptions"),
            ]
            assert hook.asked[2]["object"]["command"] == ["ls"]
            assert len(hook.asked) == 4  # the delete is shown, the eviction's own is not

    asyncio.run(run())


ACCOUNTS = ResourceRef("", "v1", "serviceaccounts", "ServiceAccount", True)
DEFAULT_ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
