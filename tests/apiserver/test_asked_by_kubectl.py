"""What kubectl asks for beside the plain verbs: the table of a scale, all resources at once, what one may do."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.wire import Wire, served
from clusterip.apiserver.discovery import AGGREGATED

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        },
    },
}


def test_a_scale_has_its_own_table() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", DEPLOYMENTS, DEPLOYMENT)
        table = await wire.ok("GET", f"{DEPLOYMENTS}/web/scale", Accept=TABLE)
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
        assert table["rows"][0]["cells"][:3] == ["web", 2, 0]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        patched = await wire.ok("PATCH", f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 5}}, type="merge")
        assert (patched["kind"], patched["spec"]["replicas"]) == ("Scale", 5)

    served(body)


def test_bindings_are_told_whichever_way_one_asks() -> None:
    async def body(wire: Wire) -> None:
        status, text = await wire("GET", "/api", Accept=AGGREGATED)
        version = text["items"][0]["versions"][0]
        assert status == 200
        assert version["resources"][0] == {
            "resource": "bindings",
            "responseKind": {"group": "", "version": "v1", "kind": "Binding"},
            "scope": "Namespaced",
            "singularResource": "binding",
            "verbs": ["create"],
        }
        listed = await wire.ok("GET", "/api/v1")
        assert listed["resources"][0]["name"] == "bindings"

    served(body)


@pytest.mark.parametrize(
    ("path", "name", "digest"),
    [
        ("/api/v1", "pods", "xPOwRZ+Yhw8="),
        ("/api/v1", "bindings", None),
        ("/api/v1", "componentstatuses", None),
        ("/apis/events.k8s.io/v1", "events", "r2yiGXH7wu8="),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", "qwQve8ut294="),
        ("/apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "LYmCf+UMVdg="),
    ],
)
def test_the_version_that_is_kept_is_told_by_its_hash(path: str, name: str, digest: str | None) -> None:
    async def body(wire: Wire) -> None:
        resources = (await wire.ok("GET", path))["resources"]
        assert next(each.get("storageVersionHash") for each in resources if each["name"] == name) == digest

    served(body)


def test_a_name_without_its_namespace_leads_nowhere() -> None:
    async def body(wire: Wire) -> None:
        status, told = await wire("GET", "/apis/apps/v1/deployments/web")
        assert (status, told["message"]) == (404, "the server could not find the requested resource")
        status, _ = await wire("POST", "/apis/apps/v1/deployments", DEPLOYMENT)
        assert status == 405

    served(body)


def test_what_one_may_do_is_told_once() -> None:
    async def told(wire: Wire, **headers: str) -> Any:
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {}}
        return (await wire.ok("POST", RULES, review, **headers))["status"]

    async def body(wire: Wire) -> None:
        mine = await told(wire)
        assert [rule for rule in mine["nonResourceRules"] if rule["nonResourceURLs"] == ["*"]] == [
            {"verbs": ["*"], "nonResourceURLs": ["*"]}
        ]
        assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in mine["resourceRules"]
        assert not [rule for rule in mine["resourceRules"] if "selfsubjectreviews" in rule["resources"]][1:]
        assert not mine["incomplete"]
        node = await told(wire, Impersonate_User="system:node:n1", Impersonate_Group="system:nodes")
        assert (node["incomplete"], node["evaluationError"]) == (
            True,
            "node authorizer does not support user rule resolution",
        )

    served(body)


def test_a_token_without_proof_is_reviewed_too() -> None:
    async def body(wire: Wire) -> None:
        async def told(**spec: Any) -> Any:
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
            return (await wire.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review))["status"]

        mine = await told(token=wire.api.token)
        assert mine["user"]["username"] == "kubernetes-admin"
        assert mine["user"]["groups"] == ["system:masters", "system:authenticated"]
        assert mine["audiences"] == ["https://kubernetes.default.svc"]
        for spec in ({"token": wire.api.token, "audiences": ["other"]}, {"token": "x"}, {}):
            assert "authenticated" not in await told(**spec)

    served(body)
