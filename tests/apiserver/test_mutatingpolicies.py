"""Policies that change: by configuration and by patch, once or again, and what happens when they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.api import cel

pytestmark = pytest.mark.skipif(not cel.is_available(), reason="no CEL here")

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/mutatingadmissionpolicies", f"{GROUP}/mutatingadmissionpolicybindings"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def rule(group: str = "", resource: str = "configmaps") -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}


def applies(text: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}


def patches(text: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}


async def policy(
    wire: Wire, *mutations: Any, name: str = "p", on: Any = None, binding: Any = None, **spec: Any
) -> None:
    rules = {"resourceRules": [on or rule()]}
    tree = {
        "metadata": {"name": name},
        "spec": {"matchConstraints": rules, "mutations": list(mutations), "reinvocationPolicy": "Never", **spec},
    }
    await wire.ok("POST", POLICIES, tree)
    await wire.ok("POST", BINDINGS, {"metadata": {"name": name}, "spec": {"policyName": name, **(binding or {})}})


async def stored(wire: Wire, **more: str) -> Any:
    return (await wire.ok("POST", CONFIGMAPS, config_map("a", **more)))["data"]


def test_configurations_and_patches_one_after_another() -> None:
    async def run(wire: Wire) -> None:
        await policy(
            wire,
            applies('Object{data: {"x": object.data.y + "!"}, metadata: Object.metadata{labels: {"l": "1"}}}'),
            patches('[JSONPatch{op: "add", path: "/data/" + jsonpatch.escapeKey("z"), value: object.data.x}]'),
        )
        made = await wire.ok("POST", CONFIGMAPS, config_map("a", y="1"))
        assert (made["data"], made["metadata"]["labels"]) == ({"x": "1!", "y": "1", "z": "1!"}, {"l": "1"})
        made = await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"data": {"y": "2"}}, type="merge")
        assert made["data"] == {"x": "2!", "y": "2", "z": "2!"}

    served(run)


def test_lists_are_merged_by_their_keys() -> None:
    async def run(wire: Wire) -> None:
        text = """Object{spec: Object.spec{replicas: 7, template: Object.spec.template{spec: Object.spec.template.spec{
            initContainers: [Object.spec.template.spec.initContainers{name: "i", image: "i"}]}}}}"""
        await policy(wire, applies(text), on=rule("apps", "deployments"))
        pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
        made = await wire.ok("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
        found = made["spec"]["template"]["spec"]
        assert made["spec"]["replicas"] == 7
        assert [each["name"] for each in found["initContainers"] + found["containers"]] == ["i", "c"]
        assert found["initContainers"][0]["imagePullPolicy"] == "Always"

    served(run)


def test_conditions_variables_and_params_choose() -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("params", word="w"))
        await policy(
            wire,
            applies('Object{data: {"x": params.data.word + variables.end}}'),
            matchConditions=[{"name": "a", "expression": "object.metadata.name == 'a'"}],
            variables=[{"name": "end", "expression": "'.'"}],
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            binding={"paramRef": {"name": "params", "parameterNotFoundAction": "Deny"}},
        )
        assert await stored(wire) == {"x": "w."}
        other = await wire.ok("POST", CONFIGMAPS, config_map("b", y="1"))
        assert other["data"] == {"y": "1"}

    served(run)


def test_a_test_that_fails_changes_nothing() -> None:
    async def run(wire: Wire) -> None:
        test = 'JSONPatch{op: "test", path: "/data/y", value: "2"}'
        await policy(wire, patches(f'[{test}, JSONPatch{{op: "add", path: "/data/x", value: "1"}}]'))
        assert await stored(wire, y="1") == {"y": "1"}

    served(run)


def test_who_wishes_so_is_asked_again() -> None:
    async def run(wire: Wire) -> None:
        sees = 'Object{data: {"seen": string(has(object.data.late))}}'
        await policy(wire, applies(sees), name="a", reinvocationPolicy="IfNeeded")
        await policy(wire, applies('Object{data: {"late": "1"}}'), name="b")
        assert await stored(wire, y="1") == {"y": "1", "late": "1", "seen": "true"}

    served(run)


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (applies('Object{data: {"x": object.data.missing}}'), "no such key: missing"),
        (applies('Object{nothing: "x"}'), ".nothing: field not declared in schema"),
        (applies('Object{metadata: Object.metadata{ownerReferences: 1}}'), "expected list"),
        (patches('[JSONPatch{op: "remove", path: "/data/x"}]'), "JSON Patch: "),
        (applies("object.data.y"), "must evaluate to Object"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_refuses_or_is_passed_over(mutation: Any, why: str) -> None:
    async def run(wire: Wire) -> None:
        await policy(wire, mutation)
        status, told = await wire("POST", CONFIGMAPS, config_map("a", y="1"))
        head = "policy 'p' with binding 'p' denied request: "
        assert (status, head in told["message"], why in told["message"]) == (422, True, True), told
        spec = {"failurePolicy": "Ignore"}
        await wire.ok("PATCH", f"{POLICIES}/p", {"spec": spec}, type="merge")
        assert await stored(wire, y="1") == {"y": "1"}

    served(run)


def test_one_value_is_not_taken_apart() -> None:
    async def run(wire: Wire) -> None:
        text = 'Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"x": "y"}}}}'
        await policy(wire, applies(text), on=rule("apps", "deployments"))
        pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
        status, told = await wire("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
        assert status == 422
        assert "may not mutate atomic arrays, maps or structs: .spec.selector" in told["message"]

    served(run)


def test_an_expression_that_does_not_compile_is_refused() -> None:
    async def run(wire: Wire) -> None:
        spec = {"matchConstraints": {"resourceRules": [rule()]}, "reinvocationPolicy": "Never"}
        tree = {"metadata": {"name": "p"}, "spec": {**spec, "mutations": [applies("Object{")]}}
        status, told = await wire("POST", POLICIES, tree)
        assert status == 422
        assert "spec.mutations[0].applyConfiguration.expression" in told["message"]

    served(run)
