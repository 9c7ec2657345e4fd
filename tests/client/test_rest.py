"""Requests: what is sent, and what a failure becomes."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from client.loopback import json, serving
from clusterip.api.errors import ApiError
from clusterip.client.config import ServerConfig
from clusterip.client.names import CONFIG_MAPS, NODES, PODS
from clusterip.client.rest import Client, Unreachable


def echoed(call):
    """What the server saw of one call."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.text()
        path = request.path_qs
        return json({"method": request.method, "path": path, "body": body, "type": request.headers.get("Content-Type")})

    async def go():
        async with serving(answer) as config, Client(config, field_manager="me") as client:
            return await call(client)

    return asyncio.run(go())


def test_get_names_the_object():
    seen = echoed(lambda c: c.get(PODS, "web", "default"))
    assert (seen["method"], seen["path"]) == ("GET", "/api/v1/namespaces/default/pods/web")


def test_cluster_scoped_has_no_namespace():
    assert echoed(lambda c: c.get(NODES, "n", "ignored"))["path"] == "/api/v1/nodes/n"


def test_list_carries_selectors_escaped():
    seen = echoed(lambda c: c.list(PODS, labels="app=web,tier in (a,b)", limit=5))
    assert seen["path"] == "/api/v1/pods?labelSelector=app%3Dweb%2Ctier+in+%28a%2Cb%29&limit=5"


def test_create_takes_the_namespace_of_the_object():
    seen = echoed(lambda c: c.create(CONFIG_MAPS, {"metadata": {"namespace": "ns", "name": "a"}}))
    assert (seen["method"], seen["path"]) == ("POST", "/api/v1/namespaces/ns/configmaps?fieldManager=me")


@pytest.mark.parametrize(
    ("kind", "media"),
    [
        ("merge", "application/merge-patch+json"),
        ("strategic", "application/strategic-merge-patch+json"),
        ("json", "application/json-patch+json"),
        ("apply", "application/apply-patch+yaml"),
    ],
)
def test_patch_says_its_type(kind, media):
    assert echoed(lambda c: c.patch(PODS, "a", "ns", {"x": 1}, type=kind, subresource="status"))["type"] == media


def test_delete_options():
    seen = echoed(lambda c: c.delete(PODS, "a", "ns", grace_seconds=0, propagation="Foreground", uid="u"))
    assert '"gracePeriodSeconds":0' in seen["body"]
    assert '"preconditions":{"uid":"u"}' in seen["body"]
    assert echoed(lambda c: c.delete(PODS, "a", "ns"))["body"] == ""


def failing(status: int, text: str, kind: str) -> ApiError:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=kind)

    async def go():
        async with serving(answer) as config, Client(config) as client:
            await client.get(PODS, "a", "ns")

    with pytest.raises(ApiError) as caught:
        asyncio.run(go())
    return caught.value


def test_a_status_becomes_an_api_error():
    text = '{"kind":"Status","status":"Failure","code":404,"reason":"NotFound","message":"pods \\"a\\" not found"}'
    error = failing(404, text, "application/json")
    assert (error.code, error.reason, error.message) == (404, "NotFound", 'pods "a" not found')


def test_any_other_failure_keeps_code_and_text():
    error = failing(502, "bad gateway", "text/plain")
    assert (error.code, error.message) == (502, "bad gateway")


def test_nobody_listens():
    async def go():
        async with Client(ServerConfig(url="http://127.0.0.1:1")) as client:
            await client.get(PODS, "a", "ns")

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        asyncio.run(go())


def test_too_late_is_unreachable():
    async def answer(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def go():
        async with serving(answer) as config, Client(config) as client:
            await client.request("GET", "/x", timeout=0.02)

    with pytest.raises(Unreachable, match="no answer in time"):
        asyncio.run(go())


def test_connections_are_used_again():
    async def answer(request: web.Request) -> web.Response:
        return json({"peer": request.transport.get_extra_info("peername")[1]})

    async def go():
        async with serving(answer) as config, Client(config) as client:
            return {(await client.get(PODS, "a", "ns"))["peer"] for _ in range(5)}

    assert len(asyncio.run(go())) == 1


def test_watch_lines_may_come_in_pieces():
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"type":"ADD', b'ED","object":{"a":1}}\n{"type":"BOOKMARK",', b'"object":{}}\n'):
            await response.write(piece)
            await asyncio.sleep(0)
        return response

    async def go():
        async with serving(answer) as config, Client(config) as client:
            return [event async for event in client.watch(PODS, resource_version="1")]

    assert asyncio.run(go()) == [("ADDED", {"a": 1}), ("BOOKMARK", {})]


def test_an_error_event_is_raised():
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}\n')

    async def go():
        async with serving(answer) as config, Client(config) as client:
            return [event async for event in client.watch(PODS, resource_version="1")]

    with pytest.raises(ApiError, match="too old"):
        asyncio.run(go())


def test_who_counts_requests_hears_of_each():
    heard = []

    async def answer(request: web.Request) -> web.Response:
        return json({"kind": "Pod"}, status=404 if request.path.endswith("gone") else 200)

    def asked(method, host, code, seconds):
        assert seconds >= 0
        heard.append((method, host.split(":")[0], code))

    async def go():
        async with serving(answer) as config, Client(config, asked=asked) as client:
            await client.get(PODS, "web", "default")
            with pytest.raises(ApiError):
                await client.get(PODS, "gone", "default")
        async with Client(ServerConfig(url="http://127.0.0.1:1"), asked=asked) as client:
            with pytest.raises(Unreachable):
                await client.get(PODS, "web", "default")

    asyncio.run(go())
    assert heard == [("GET", "127.0.0.1", 200), ("GET", "127.0.0.1", 404), ("GET", "127.0.0.1", 0)]
