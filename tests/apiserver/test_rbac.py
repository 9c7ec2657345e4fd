"""What rules allow, and what nobody may give away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apiserver.serving import Api, serving
from clusterip.api.errors import ApiError
from clusterip.apiserver.access import Ask
from clusterip.apiserver.policy import cluster_role_bindings, cluster_roles, rules_of
from clusterip.apiserver.rbac import allows, shown
from clusterip.client.names import ResourceRef

GROUP = "rbac.authorization.k8s.io"
ROLES = ResourceRef(GROUP, "v1", "roles", "Role", True)
BINDINGS = ResourceRef(GROUP, "v1", "rolebindings", "RoleBinding", True)
PODS = ResourceRef("", "v1", "pods", "Pod", True)


def rule(verbs: str, resources: str = "", groups: str = "", **more: Any) -> dict[str, Any]:
    return {
        "verbs": verbs.split(),
        "resources": resources.split(),
        "apiGroups": groups.split(",") if resources else [],
        **more,
    }


@pytest.mark.parametrize(
    ("given", "ask", "allowed"),
    [
        (rule("get", "pods"), Ask("get", resource="pods"), True),
        (rule("get", "pods"), Ask("get", "apps", "pods"), False),
        (rule("get", "pods"), Ask("get", resource="pods", subresource="log"), False),
        (rule("get", "pods/log"), Ask("get", resource="pods", subresource="log"), True),
        (rule("get", "*/log"), Ask("get", resource="pods", subresource="log"), True),
        (rule("*", "*", "*"), Ask("patch", "apps", "deployments", "scale"), True),
        (rule("get", "pods", resourceNames=["a"]), Ask("get", resource="pods", name="b"), False),
        (rule("list", "pods", resourceNames=["a"]), Ask("list", resource="pods"), False),
        (rule("get", nonResourceURLs=["/healthz/*"]), Ask("get", path="/healthz/ping"), True),
        (rule("get", nonResourceURLs=["/healthz"]), Ask("get", path="/healthz/ping"), False),
        (rule("get", nonResourceURLs=["*"]), Ask("get", resource="pods"), False),
    ],
)
def test_one_rule(given: dict[str, Any], ask: Ask, allowed: bool) -> None:
    assert allows(given, ask) is allowed


def test_rules_from_lines() -> None:
    assert rules_of("get,list pods -,apps\nget /api/*") == [
        {"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/api/*"]},
    ]


def test_every_binding_names_a_role() -> None:
    names = {role["metadata"]["name"] for role in cluster_roles()}
    assert {binding["roleRef"]["name"] for binding in cluster_role_bindings()} <= names


def test_how_a_rule_is_told() -> None:
    text = '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    assert shown({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}) == text


def role(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding(name: str, user: str, kind: str = "Role") -> dict[str, Any]:
    subject = {"kind": "User", "name": user, "apiGroup": GROUP}
    return {
        "metadata": {"name": name},
        "roleRef": {"kind": kind, "name": name, "apiGroup": GROUP},
        "subjects": [subject],
    }


async def told(call: Any) -> tuple[int, str]:
    try:
        await call
    except ApiError as error:
        return error.code, error.message
    return 200, ""


def test_a_binding_counts_at_once_and_in_its_namespace_only() -> None:
    async def run(api: Api) -> None:
        async with api.client() as admin, api.client("jane") as jane:
            assert (await told(jane.list(PODS, "default")))[0] == 403
            await admin.create(ROLES, role("reader", rule("get list", "pods")), "default")
            await admin.create(BINDINGS, binding("reader", "jane"), "default")
            assert (await told(jane.list(PODS, "default")))[0] == 200
            assert (await told(jane.list(PODS, "kube-system")))[0] == 403
            await admin.delete(ROLES, "reader", "default")
            assert (await told(jane.list(PODS, "default")))[0] == 403

    asyncio.run(_with_server(run))


def test_nobody_gives_away_more_than_they_have() -> None:
    async def run(api: Api) -> None:
        async with api.client() as admin, api.client("jane") as jane:
            editor = role("editor", rule("create update", "roles rolebindings", GROUP), rule("get", "pods"))
            await admin.create(ROLES, editor, "default")
            await admin.create(BINDINGS, binding("editor", "jane"), "default")
            assert (await told(jane.create(ROLES, role("ok", rule("get", "pods")), "default")))[0] == 200
            code, text = await told(jane.create(ROLES, role("bad", rule("get", "pods secrets")), "default"))
            assert code == 403
            assert text.endswith('not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}')
            await admin.create(ROLES, role("strong", rule("*", "*", "*")), "default")
            assert (await told(jane.create(BINDINGS, binding("strong", "jane"), "default")))[0] == 403
            await admin.create(ROLES, role("binder", rule("bind escalate", "roles", GROUP)), "default")
            await admin.create(BINDINGS, binding("binder", "jane"), "default")
            assert (await told(jane.create(BINDINGS, binding("strong", "jane"), "default")))[0] == 200

    asyncio.run(_with_server(run))


async def _with_server(run: Any) -> None:
    async with serving() as api:
        await run(api)
