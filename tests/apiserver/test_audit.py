"""The audit policy: which rule decides, and what is no policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clusterip.apiserver.access import User
from clusterip.apiserver.audit import LEVELS, Told, policy_of, read_policy, status_of
from clusterip.apiserver.routing import route
from clusterip.failure import Failure

JANE = User("jane", ("dev", "system:authenticated"))


def policy(*rules: dict[str, Any], **more: Any) -> Any:
    return policy_of({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


def level(rule: dict[str, Any], path: str, method: str = "GET", user: User = JANE) -> str:
    found = route(method, path, path.strip("/").split("/"), {})
    return LEVELS[policy({"level": "Metadata", **rule}).depth(user, found).level]


POD, EXEC = "/api/v1/namespaces/a/pods/p", "/api/v1/namespaces/a/pods/p/exec"


@pytest.mark.parametrize(
    ("rule", "path", "fits"),
    [
        ({}, POD, True),
        ({"users": ["jane"]}, POD, True),
        ({"users": ["joe"]}, POD, False),
        ({"userGroups": ["dev"]}, POD, True),
        ({"userGroups": ["ops"]}, POD, False),
        ({"verbs": ["get"]}, POD, True),
        ({"verbs": ["list"]}, POD, False),
        ({"namespaces": ["a"]}, POD, True),
        ({"namespaces": ["b"]}, POD, False),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, POD, True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, EXEC, False),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, EXEC, True),
        ({"resources": [{"group": "", "resources": ["*/exec"]}]}, EXEC, True),
        ({"resources": [{"group": "*"}]}, EXEC, True),
        ({"resources": [{"group": "apps"}]}, POD, False),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["p"]}]}, POD, True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["q"]}]}, POD, False),
        ({"nonResourceURLs": ["/healthz*"]}, "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz"]}, "/healthz/ping", False),
        ({"nonResourceURLs": ["*"]}, POD, False),
        ({"resources": [{"group": "*"}]}, "/healthz", False),
    ],
)
def test_what_a_rule_fits(rule: dict[str, Any], path: str, fits: bool) -> None:
    assert level(rule, path) == ("Metadata" if fits else "None")


def test_the_first_rule_decides_and_stages_add_up() -> None:
    both = policy(
        {"level": "None", "verbs": ["watch"]},
        {"level": "Request", "omitStages": ["ResponseStarted"], "omitManagedFields": False},
        {"level": "Metadata"},
        omitStages=["RequestReceived"],
        omitManagedFields=True,
    )
    depth = both.depth(JANE, route("GET", POD, POD.strip("/").split("/"), {}))
    assert LEVELS[depth.level] == "Request"
    assert depth.omitted == {"RequestReceived", "ResponseStarted"}
    assert not depth.without_managers


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Policy", "no Policy"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy", "rules: at least one"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]", "rules[0].level"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, omitStages: [Now]}]", "Now is no stage"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, verbs: get}]", "rules[0].verbs"),
        (
            "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
            "rules: [{level: None, namespaces: [a], nonResourceURLs: ['*']}]",
            "cannot apply to both",
        ),
        ("a: [", "audit-policy-file"),
    ],
)
def test_what_is_no_policy_is_said(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(Failure) as failure:
        read_policy(path)
    assert why in str(failure.value)
    assert str(path) in str(failure.value)


def test_bodies_that_are_no_json_are_left_out() -> None:
    depth = policy({"level": "RequestResponse"}).depth(JANE, route("GET", POD, ["api"], {}))
    told = Told("id", depth, POD, "get", JANE, route("GET", POD, POD.strip("/").split("/"), {}), "now")
    told.request, told.response, told.code = b"k8s\x00\xff", b"{not json", 200
    event = told.event("ResponseComplete", "later")
    assert "requestObject" not in event
    assert "responseObject" not in event


def test_a_long_agent_is_cut() -> None:
    depth = policy({"level": "Metadata"}).depth(JANE, route("GET", POD, ["api"], {}))
    told = Told("id", depth, POD, "get", JANE, route("GET", POD, ["api"], {}), "now", agent="a" * 3000)
    assert told.event("RequestReceived", "now")["userAgent"] == "a" * 1024 + "...TRUNCATED"


def test_a_failure_is_told_whole() -> None:
    body = b'{"kind":"Status","status":"Failure","message":"m","reason":"NotFound","code":404}'
    assert status_of(404, body) == {
        "metadata": {},
        "status": "Failure",
        "message": "m",
        "reason": "NotFound",
        "code": 404,
    }
    assert status_of(404, b"404 page not found") == {"metadata": {}, "code": 404}
