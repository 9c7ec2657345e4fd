"""Another API server for tests: metrics of nodes and pods, as metrics-server serves them, on loopback.

    async with extension(wire) as other:          # its Service, its APIService; available
        await wire.ok("GET", "/apis/metrics.k8s.io/v1beta1/nodes")
        other.asked[-1].headers["X-Remote-User"]  # what it was told

It believes whom kube-system/extension-apiserver-authentication tells it to believe.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from apiserver.wire import Wire
from clusterip.transport.certificates import new_authority, server_context
from clusterip.transport.listening import bind

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
PLACE = f"/apis/{GROUP}/{VERSION}"
NAME = f"{VERSION}.{GROUP}"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
TRUST = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
HOST = "metrics.kube-system.svc"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
STAMP = {"timestamp": "2026-01-01T00:00:00Z", "window": "10s"}
VERBS = ["get", "list", "watch"]
RESOURCES = [
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": VERBS},
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": VERBS},
]
SCHEMA = {
    "swagger": "2.0",
    "info": {"title": "metrics", "version": "1"},
    "paths": {f"{PLACE}/nodes": {}, "/apis/": {}},
    "definitions": {"io.metrics.NodeMetrics": {"type": "object"}},
}


@dataclass
class Extension:
    """The other server."""

    asked: list[web.Request] = field(default_factory=list)
    aggregates: bool = False
    """Whether it knows the new form of discovery."""
    broken: bool = False
    port: int = 0
    bundle: str = ""
    peers: set[str] = field(default_factory=set)
    """Who asked, by their certificates."""

    def last(self, ending: str) -> web.Request:
        """The last request whose target ends so."""
        return next(each for each in reversed(self.asked) if each.path_qs.endswith(ending))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        assert request.transport is not None
        subject = request.transport.get_extra_info("peercert")["subject"]
        self.peers |= {value for part in subject for name, value in part if name == "commonName"}
        if self.broken:
            return web.Response(status=500, text="no")
        if request.query.get("watch"):
            return await self._watch(request)
        found = self._tree(request)
        if found is None:
            return web.Response(status=404, text="404 page not found")
        if request.path == "/apis":
            return web.Response(body=json.dumps(found), headers={"Content-Type": V2})
        return web.json_response(found)

    def _tree(self, request: web.Request) -> Any:
        head = {"apiVersion": f"{GROUP}/{VERSION}"}
        usage = {"cpu": "250m", "memory": "64Mi"}
        match request.path:
            case "/apis" if self.aggregates:
                nodes = {"resource": "nodes", "scope": "Cluster", "verbs": ["list"]}
                return {
                    "items": [{"metadata": {"name": GROUP}, "versions": [{"version": VERSION, "resources": [nodes]}]}]
                }
            case "/openapi/v2":
                return dict(SCHEMA)
            case "/openapi/v3":
                return {"paths": {PLACE[1:]: {"serverRelativeURL": f"/openapi/v3{PLACE}?hash=AB"}}}
            case "/openapi/v3/apis/metrics.k8s.io/v1beta1":
                return {"openapi": "3.0.0", "components": {"schemas": {}}}
        if request.path == PLACE:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": head["apiVersion"]} | {
                "resources": RESOURCES
            }
        if request.path == f"{PLACE}/nodes":
            node = {"metadata": {"name": "n"}, **STAMP, "usage": usage}
            return {"kind": "NodeMetricsList", **head, "metadata": {}, "items": [node]}
        if request.path == f"{PLACE}/namespaces/default/pods":
            pod = {"metadata": {"name": "p", "namespace": "default"}, **STAMP}
            pod["containers"] = [{"name": "c", "usage": usage}]
            return {"kind": "PodMetricsList", **head, "metadata": {}, "items": [pod]}
        return None

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """One event, and no end."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(json.dumps({"type": "ADDED", "object": {"metadata": {"name": "n"}}}).encode() + b"\n")
        await asyncio.sleep(3600)
        return response

    def service(self) -> dict[str, Any]:
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": self.port}]}
        return {"metadata": {"name": "metrics", "namespace": "kube-system"}, "spec": spec}

    def api_service(self, **spec: Any) -> dict[str, Any]:
        service = {"namespace": "kube-system", "name": "metrics", "port": self.port}
        priorities = {"groupPriorityMinimum": 100, "versionPriority": 100}
        told = {"group": GROUP, "version": VERSION, "service": service, "caBundle": self.bundle, **priorities}
        return {"metadata": {"name": NAME}, "spec": {**told, **spec}}


@asynccontextmanager
async def running(wire: Wire) -> AsyncIterator[Extension]:
    """The server alone."""
    trust = (await wire.ok("GET", TRUST))["data"]
    authority = new_authority("extensions")
    context = server_context(authority.server("extension", [HOST]))
    context.load_verify_locations(cadata=trust["requestheader-client-ca-file"])
    context.verify_mode = ssl.CERT_REQUIRED
    sock = bind("127.0.0.1:0")
    other = Extension(port=sock.getsockname()[1], bundle=base64.b64encode(authority.certificate).decode())
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", other.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, sock, ssl_context=context).start()
    try:
        yield other
    finally:
        await runner.cleanup()


async def condition(wire: Wire, status: str, reason: str = "") -> dict[str, Any]:
    """The APIService's condition, once it has that status."""
    for _ in range(3000):
        tree = await wire.ok("GET", f"{SERVICES}/{NAME}")
        for each in (tree.get("status") or {}).get("conditions") or ():
            if each["status"] == status and reason in ("", each["reason"]):
                return dict(each)
        await asyncio.sleep(0.02)
    raise AssertionError(tree)


@asynccontextmanager
async def extension(wire: Wire) -> AsyncIterator[Extension]:
    """The server behind its Service, available."""
    async with running(wire) as other:
        await wire.ok("POST", "/api/v1/namespaces/kube-system/services", other.service())
        await wire.ok("POST", SERVICES, other.api_service())
        await condition(wire, "True")
        yield other
