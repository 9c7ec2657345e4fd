"""Tokens in Secrets: of machines that join, and of ServiceAccounts; what they are worth, and until when."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from apiserver.wire import Wire, account, served

SYSTEM, DEFAULT = (f"/api/v1/namespaces/{each}/secrets" for each in ("kube-system", "default"))
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
TOKEN = "abcdef.0123456789abcdef"


def bootstrap_token(**data: str) -> dict[str, Any]:
    whole = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        **data,
    }
    kind = "bootstrap.kubernetes.io/token"
    return {"metadata": {"name": "bootstrap-token-abcdef"}, "type": kind, "stringData": whole}


async def reviewed(wire: Wire, token: str, **spec: Any) -> Any:
    return (await wire.ok("POST", REVIEWS, {"spec": {"token": token, **spec}}))["status"]


def test_a_machine_that_joins() -> None:
    async def run(wire: Wire) -> None:
        assert (await wire("GET", "/version", Authorization=f"Bearer {TOKEN}"))[0] == 401
        await wire.ok("POST", SYSTEM, bootstrap_token())
        told = (await reviewed(wire, TOKEN))["user"]
        assert told["username"] == "system:bootstrap:abcdef"
        groups = ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"]
        assert told["groups"] == groups
        assert (await wire("GET", "/version", Authorization=f"Bearer {TOKEN}"))[0] == 200
        assert (await wire("GET", "/version", Authorization="Bearer abcdef.0123456789abcdeg"))[0] == 401

    served(run)


@pytest.mark.parametrize(
    "data",
    [
        {"usage-bootstrap-authentication": "false"},
        {"expiration": "2020-01-01T00:00:00Z"},
        {"expiration": "soon"},
        {"auth-extra-groups": "system:masters"},
        {"token-id": "abcdeg"},
    ],
)
def test_bootstrap_tokens_that_are_worth_nothing(data: dict[str, str]) -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", SYSTEM, bootstrap_token(**data))
        assert "authenticated" not in await reviewed(wire, TOKEN)

    served(run)


def test_a_token_without_end_holds_while_its_secret_does() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        about = {"kubernetes.io/service-account.name": "default"}
        kind = "kubernetes.io/service-account-token"
        secret = {"metadata": {"name": "t", "annotations": about}, "type": kind}
        made = await wire.ok("POST", DEFAULT, secret)
        token = base64.b64decode(made["data"]["token"]).decode()
        assert base64.b64decode(made["data"]["ca.crt"]) == wire.api.ca
        assert base64.b64decode(made["data"]["namespace"]) == b"default"
        told = await reviewed(wire, token)
        assert told["user"]["username"] == "system:serviceaccount:default:default"
        assert told["audiences"] == ["https://kubernetes.default.svc"]
        assert "authenticated" not in await reviewed(wire, token, audiences=["vault"])
        await wire.ok("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
        assert (await wire("GET", f"{DEFAULT}/t"))[0] == 404
        assert "authenticated" not in await reviewed(wire, token)

    served(run)


def test_a_token_bound_to_a_node_goes_with_it() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
        bound = {"apiVersion": "v1", "kind": "Node", "name": "n"}
        path = "/api/v1/namespaces/default/serviceaccounts/default/token"
        token = (await wire.ok("POST", path, {"spec": {"boundObjectRef": bound}}))["status"]["token"]
        extra = (await reviewed(wire, token))["user"]["extra"]
        assert extra["authentication.kubernetes.io/node-name"] == ["n"]
        await wire.ok("DELETE", "/api/v1/nodes/n")
        assert "authenticated" not in await reviewed(wire, token)
        code, told = await wire("POST", path, {"metadata": {"uid": "x"}, "spec": {}})
        assert code == 409
        assert "does not match the UID of the service account" in told["message"]

    served(run)


def test_how_others_verify_tokens() -> None:
    async def run(wire: Wire) -> None:
        found = await wire.ok("GET", "/.well-known/openid-configuration")
        assert found["id_token_signing_alg_values_supported"] == ["ES256"]
        assert found["jwks_uri"].endswith("/openid/v1/jwks")
        keys = await wire("GET", "/openid/v1/jwks")
        assert wire.last["Content-Type"] == "application/jwk-set+json"
        assert keys[0] == 200

    served(run)
