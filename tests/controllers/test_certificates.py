"""Requests for certificates: approved by a person or by a right, signed, usable; refused, and gone in the end."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from apiserver.requests import KUBELET, NODE_USAGES, signing_request
from apiserver.serving import Api, serving
from clusterip.client.config import ServerConfig
from clusterip.client.informer import Informer
from clusterip.client.names import CERTIFICATE_SIGNING_REQUESTS as CSRS
from clusterip.client.names import CLUSTER_ROLE_BINDINGS
from clusterip.client.rest import Client
from clusterip.clock import SystemClock, rfc3339
from clusterip.controllers.certificates import Request, clean, life, rights, sign
from clusterip.controllers.run import serve
from clusterip.transport.certificates import new_authority

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APPROVED = {"type": "Approved", "status": "True", "lastUpdateTime": rfc3339(NOW)}
NODE = ("system:node:n", "system:nodes")


def request(*subject: str, **spec: Any) -> Request:
    conditions = spec.pop("conditions", [])
    tree, _ = signing_request("r", *subject, **spec)
    tree["metadata"]["creationTimestamp"] = rfc3339(NOW)
    return msgspec.convert({**tree, "status": {"conditions": conditions}}, Request)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request("jane", usages=("server auth",), conditions=[APPROVED]), "invalid usage for client certificate"),
        (request("jane", usages=("digital signature",), conditions=[APPROVED]), "missing required usage"),
        (request("jane", signer=KUBELET, conditions=[APPROVED]), "subject organization is not system:nodes"),
        (request("n", "system:nodes", signer=KUBELET, usages=(*NODE_USAGES,), conditions=[APPROVED]), "common name"),
        (request(*NODE, signer=KUBELET, conditions=[APPROVED]), "usages did not match"),
    ],
)
def test_a_signer_refuses_what_is_not_its_business(asked: Request, why: str) -> None:
    write: Any = sign(asked, new_authority().pair, NOW).writes[0]
    failed = write.patch["status"]["conditions"][-1]
    assert failed["type"] == "Failed"
    assert why in failed["message"]


def test_nothing_is_signed_unasked() -> None:
    authority = new_authority().pair
    assert not sign(request("jane"), authority, NOW).writes
    assert not sign(request("jane", conditions=[APPROVED]), None, NOW).writes
    assert not sign(request("jane", signer="example.com/own", conditions=[APPROVED]), authority, NOW).writes


def test_a_life_is_between_ten_minutes_and_a_year() -> None:
    assert [life(each) for each in (None, 1, 3600, 1 << 31)] == [
        timedelta(days=365), timedelta(minutes=10), timedelta(hours=1), timedelta(days=365)
    ]  # fmt: skip


def test_which_rights_would_approve() -> None:
    node = {"signer": KUBELET, "usages": tuple(NODE_USAGES)}
    assert [right for right, _ in rights(request(*NODE, **node, username="system:bootstrap:x"))] == ["nodeclient"]
    renewal = rights(request(*NODE, **node, username=NODE[0]))
    assert [right for right, _ in renewal] == ["selfnodeclient", "nodeclient"]
    assert not rights(request("jane"))


def test_old_requests_go() -> None:
    answered = request("jane", conditions=[{**APPROVED, "type": "Denied"}])
    assert clean(answered, NOW + timedelta(minutes=59)).again == 60
    assert clean(answered, NOW + timedelta(minutes=61)).writes
    assert clean(request("jane"), NOW + timedelta(hours=23)).again == 3600
    assert clean(request("jane", conditions=[APPROVED]), NOW + timedelta(hours=25)).writes


def test_a_request_becomes_a_certificate_that_the_server_believes() -> None:
    asyncio.run(asyncio.wait_for(_whole_way(), 120))


async def _whole_way() -> None:
    async with serving() as api, api.client() as client, asyncio.TaskGroup() as group:
        pair = api.server.identity.authority.pair
        config = api.config("system:kube-controller-manager")
        controllers = group.create_task(serve(config, config, ["certificates"], SystemClock(), pair))
        seen: Informer[Any] = Informer(client, CSRS, lambda tree: tree)
        following = group.create_task(seen.run())
        for name, subject, more in (
            ("person", ("jane", "dev"), {}),
            ("node", NODE, {"signer": KUBELET, "usages": tuple(NODE_USAGES)}),
        ):
            tree, key = signing_request(name, *subject, **more)
            if name == "node":
                await client.create(CLUSTER_ROLE_BINDINGS, _joining())
                tree = await _as_joiner(api, tree)
            else:
                await client.create(CSRS, tree)
                patch = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}}
                await client.patch(CSRS, name, None, patch, type="merge", subresource="approval")
            certificate = await _issued(seen, name)
            user = ServerConfig(url=api.url, ca=api.ca, cert=certificate, key=key)
            assert await _whoami(user) == (subject[0], [*subject[1:], "system:authenticated"])
        controllers.cancel()
        following.cancel()


def _joining() -> dict[str, Any]:
    group, role = "rbac.authorization.k8s.io", "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
    subject = {"apiGroup": group, "kind": "User", "name": "joiner"}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
    return {"metadata": {"name": "join"}, "roleRef": reference, "subjects": [subject],
            "apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding"}  # fmt: skip


async def _as_joiner(api: Api, tree: dict[str, Any]) -> dict[str, Any]:
    binding = {**_joining(), "metadata": {"name": "ask"}}
    binding["roleRef"] = {**binding["roleRef"], "name": "system:node-bootstrapper"}
    async with api.client() as client, api.client("joiner") as joiner:
        await client.create(CLUSTER_ROLE_BINDINGS, binding)
        return dict(await joiner.create(CSRS, tree))


async def _issued(seen: Informer[Any], name: str) -> bytes:
    def certificate() -> str:
        return ((seen.get("", name) or {}).get("status") or {}).get("certificate") or ""

    assert await seen.until(certificate, 20), seen.get("", name)
    return base64.b64decode(certificate())


async def _whoami(config: ServerConfig) -> tuple[str, list[str]]:
    async with Client(config) as client:
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        answer = await client.request("POST", path, {"kind": "SelfSubjectReview", "metadata": {}})
        return answer["status"]["userInfo"]["username"], answer["status"]["userInfo"]["groups"]
