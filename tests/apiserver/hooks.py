"""Webhook servers for tests: real HTTPS on loopback, under an authority of their own.

    async with hooked(lambda request: {"allowed": False}) as hook:
        hook.client            # a clientConfig that leads there
        hook.asked             # the requests that came, in order

The answer is a function of the review's request; its uid and the review's head are added.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from clusterip.api.resource import Resource
from clusterip.api.resources import RESOURCES
from clusterip.client.names import ResourceRef
from clusterip.transport.certificates import Authority, KeyPair, new_authority, server_context
from clusterip.transport.listening import bind

GROUP = "admissionregistration.k8s.io"
MUTATING = ResourceRef(GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
VALIDATING = ResourceRef(GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
AUTHORITY: list[Authority] = []
PAIRS: dict[str, KeyPair] = {}

Says = Callable[[dict[str, Any]], Any]


def _record(ref: ResourceRef) -> Resource:
    return Resource(
        group=GROUP,
        version="v1",
        kind=ref.kind,
        plural=ref.plural,
        singular=ref.kind.lower(),
        namespaced=False,
        schema=f"io.k8s.api.admissionregistration.v1.{ref.kind}",
    )


def resources() -> tuple[Resource, ...]:
    """All kinds, those of webhooks among them."""
    known = {each.plural for each in RESOURCES}
    return (*RESOURCES, *(_record(ref) for ref in (MUTATING, VALIDATING) if ref.plural not in known))


@dataclass
class Hook:
    """A server, the way to it, and what it was asked."""

    port: int
    bundle: str
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def client(self) -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}/hook", "caBundle": self.bundle}


def authority() -> Authority:
    if not AUTHORITY:
        AUTHORITY.append(new_authority("webhooks"))
    return AUTHORITY[0]


@asynccontextmanager
async def hooked(
    says: Says, *names: str, status: int = 200, kind: str = "", host: str = "127.0.0.1"
) -> AsyncIterator[Hook]:
    """A webhook server; `says` may be async, and may give a whole answer (with a key "response" or text)."""
    hosts = ("127.0.0.1", *names)
    if " ".join(hosts) not in PAIRS:
        PAIRS[" ".join(hosts)] = authority().server("webhook", hosts)
    sock = bind(f"{host}:0")
    hook = Hook(sock.getsockname()[1], base64.b64encode(authority().certificate).decode())

    async def answer(request: web.Request) -> web.Response:
        review = await request.json()
        hook.asked.append(review["request"])
        said = says(review["request"])
        if asyncio.iscoroutine(said):
            said = await said
        if isinstance(said, str):
            return web.Response(status=status, text=said)
        if "response" not in said:
            said = {**review, "request": None, "response": {"uid": review["request"]["uid"], **said}}
        return web.json_response(said, status=status)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, sock, ssl_context=server_context(PAIRS[" ".join(hosts)])).start()
    try:
        yield hook
    finally:
        await runner.cleanup()


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    """An answer that allows and changes."""
    return {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(operations).encode()).decode(),
    }


def configuration(ref: ResourceRef, client: dict[str, Any], name: str = "hooks", **fields: Any) -> dict[str, Any]:
    rules = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["configmaps"]}]
    hook = {"name": "one.example.com", "clientConfig": client, "rules": rules, "sideEffects": "None"}
    hook |= {"admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 30, **fields}
    return {"apiVersion": f"{GROUP}/v1", "kind": ref.kind, "metadata": {"name": name}, "webhooks": [hook]}
