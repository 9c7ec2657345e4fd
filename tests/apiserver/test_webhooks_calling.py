"""The way to a webhook behind a Service."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from apiserver.hooks import hooked
from clusterip.api.resources import RESOURCES
from clusterip.apiserver.cache import Entry, encode
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.webhooks_calling import Caller, CallError, Place, endpoint, place_of
from clusterip.store.memory import MemoryStore

SERVICE = {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 443}, {"name": "x", "port": 80}]}}


def registry(ready: bool = True, address: str = "10.244.0.5", port: int = 9443, **spec: Any) -> Registry:
    made = Registry(MemoryStore())
    made.add(RESOURCES)
    labels = {"kubernetes.io/service-name": "s"}
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}}]
    tree = {"metadata": {"labels": labels}, "ports": [{"name": "web", "port": port}], "endpoints": endpoints}
    service = {**SERVICE, "spec": {**SERVICE["spec"], **spec}}
    for plural, group, found in (("services", "", service), ("endpointslices", "discovery.k8s.io", tree)):
        collection = made.of(plural, group)
        assert collection is not None
        collection.entries["ns/s"] = Entry("ns/s", encode(found), 1, 1)
        collection.keys.append("ns/s")
    return made


def test_a_ready_endpoint_of_the_port() -> None:
    assert endpoint(registry(), "ns", "s", 443, random.Random(1)) == ("10.244.0.5", 9443)
    outside = registry(type="ExternalName", externalName="hooks.example.com")
    assert endpoint(outside, "ns", "s", 443, random.Random(1)) == ("hooks.example.com", 443)


@pytest.mark.parametrize(
    ("ready", "name", "port", "text"),
    [
        (False, "s", 443, 'no endpoints available for service "s"'),
        (True, "s", 80, 'no endpoints available for service "s"'),
        (True, "s", 1, 'no service port 1 found for service "s"'),
        (True, "t", 443, 'service "t" not found'),
    ],
)
def test_no_way(ready: bool, name: str, port: int, text: str) -> None:
    with pytest.raises(CallError, match=text):
        endpoint(registry(ready), "ns", name, port, random.Random(1))


def test_places() -> None:
    client = {"service": {"namespace": "ns", "name": "s", "path": "/a/b", "port": 443}}
    place = place_of(client, registry(), random.Random(1), 3)
    query = "?timeout=3s"
    assert place == Place(f"https://s.ns.svc:443/a/b{query}", f"https://10.244.0.5:9443/a/b{query}", "s.ns.svc")
    with pytest.raises(CallError, match=r'Post "https://t.ns.svc:443/\?timeout=3s": service "t" not found'):
        place_of({"service": {"namespace": "ns", "name": "t"}}, registry(), random.Random(1), 3)
    for url in ("https://h:1//a//b/", "https://h:1/a/x/../b"):  # the first is how envtest writes it
        assert place_of({"url": url}, registry(), random.Random(1), 3).dialled == f"https://h:1/a/b{query}"
    assert place_of({"url": "https://h:1"}, registry(), random.Random(1), 3).dialled == f"https://h:1/{query}"


def test_a_service_is_asked_by_its_name() -> None:
    async def run() -> None:
        async with hooked(lambda request: {"allowed": True}, "s.ns.svc") as hook:
            caller = Caller(registry(address="127.0.0.1", port=hook.port), random.Random(1))
            client = {"service": {"namespace": "ns", "name": "s", "port": 443}, "caBundle": hook.bundle}
            answer = await caller.post(client, {"request": {"uid": "u"}}, 5)
            await caller.close()
            assert answer["response"] == {"uid": "u", "allowed": True}
        async with hooked(lambda request: {"allowed": True}) as hook:  # whose certificate has not that name
            caller = Caller(registry(address="127.0.0.1", port=hook.port), random.Random(1))
            client = {"service": {"namespace": "ns", "name": "s", "port": 443}, "caBundle": hook.bundle}
            with pytest.raises(CallError, match="x509: Hostname mismatch, certificate is not valid"):
                await caller.post(client, {"request": {"uid": "u"}}, 5)
            await caller.close()

    asyncio.run(run())
