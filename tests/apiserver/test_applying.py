"""Server-side apply over HTTP: what the recorded conversations do not say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apiserver.generic import Player
from apiserver.serving import serving


def played(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        async with serving() as api:
            return await asyncio.to_thread(_played, api.url, api.token, steps)

    return asyncio.run(run())


def _played(url: str, token: str, steps: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    player = Player(url, token, "apply")
    return [player.play(step) for step in steps]


def apply(body: Any, query: str = "fieldManager=me", name: str = "a") -> dict[str, Any]:
    path = f"/api/v1/namespaces/{{ns}}/configmaps/{name}?{query}"
    return {"do": f"PATCH {path}", "body": body, "type": "application/apply-patch+yaml"}


CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}


def test_yaml_is_taken() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: 'yes'\n"
    (answer,) = played(apply(text))
    assert (answer["status"], answer["body"]["data"]) == (201, {"x": "yes"})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "error decoding YAML"),
        ("- a\n", 400, "must be an object"),
        ({**CONFIG, "kind": "Secret"}, 400, "invalid object type: /v1, Kind=Secret"),
        ({**CONFIG, "metadata": {"name": "a", "namespace": "other"}}, 400, "does not match the namespace"),
        ({**CONFIG, "data": {"x": 1}}, 500, ".data.x: expected string"),
    ],
)
def test_what_cannot_be_applied(body: Any, status: int, message: str) -> None:
    (answer,) = played(apply(body))
    assert answer["status"] == status
    assert message in answer["body"]["message"]


def test_a_dry_run_leaves_nothing() -> None:
    tried, got = played(apply(CONFIG, "fieldManager=me&dryRun=All"), {"do": "GET /api/v1/namespaces/{ns}/configmaps/a"})
    assert (tried["status"], got["status"]) == (201, 404)


def test_a_status_of_nothing_is_not_found() -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "status": {"loadBalancer": {}}}
    path = "PATCH /api/v1/namespaces/{ns}/services/a/status?fieldManager=me"
    (answer,) = played({"do": path, "body": body, "type": "application/apply-patch+yaml"})
    assert answer["status"] == 404


def test_an_old_revision_is_a_conflict() -> None:
    stale = {**CONFIG, "metadata": {"name": "a", "resourceVersion": "1"}, "data": {"x": "2"}}
    _, answer = played(apply(CONFIG), apply(stale))
    assert answer["status"] == 409


def test_equal_keys_are_told_or_refused() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: 'a'\n  x: 'b'\n"
    strict, ignored = played(
        apply(text, "fieldManager=me&fieldValidation=Strict"), apply(text, "fieldManager=me&fieldValidation=Ignore")
    )
    assert strict["status"] == 400
    assert strict["body"]["message"].startswith("error strict decoding YAML: ")
    assert 'line 7: key "x" already set in map' in strict["body"]["message"]
    assert (ignored["status"], ignored["body"]["data"]) == (201, {"x": "b"})
