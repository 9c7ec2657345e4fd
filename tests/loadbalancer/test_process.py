"""The address controller and its webhooks against the true API server."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from apiserver.serving import Api, serving
from clusterip.client.names import (
    CONFIGURATION_STATES,
    CUSTOM_RESOURCES,
    EVENTS,
    IP_ADDRESS_POOLS,
    L2_ADVERTISEMENTS,
    SECRETS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from clusterip.client.rest import Client
from clusterip.loadbalancer.process import DISABLED, ENABLED, Process, Settings
from loadbalancer.bundle import NAMESPACE, create, eventually, install

Tree = dict[str, Any]
HOST = "metallb-webhook-service.metallb-system.svc"


@asynccontextmanager
async def controller(api: Api, mode: str = DISABLED) -> AsyncIterator[Process]:
    settings = Settings(
        server=api.config(),
        namespace=NAMESPACE,
        metrics_port=0,
        health_port=0,
        webhook_port=0,
        webhook_mode=mode,
        member_secret="memberlist",
    )
    process = Process(settings)
    running = asyncio.ensure_future(process.run())
    try:
        yield process
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def service(client: Client, name: str, **more: Any) -> None:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}, **more}
    await create(client, SERVICES, name, spec, "default")


async def address(client: Client, name: str) -> str:
    """The address that the Service shows, once it does."""

    async def shown() -> str:
        tree = await client.get(SERVICES, name, "default")
        ingress = tree["status"]["loadBalancer"].get("ingress") or []
        return str(ingress[0]["ip"]) if ingress else ""

    return str(await eventually(shown))


async def has_none(client: Client, name: str) -> None:
    async def gone() -> bool:
        tree = await client.get(SERVICES, name, "default")
        return tree["status"] == {"loadBalancer": {}} and "annotations" not in tree["metadata"]

    await eventually(gone)


def test_services_get_keep_and_lose_addresses() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await install(client)
            async with controller(api):
                await create(client, IP_ADDRESS_POOLS, "first", {"addresses": ["192.168.4.10-192.168.4.11"]})
                await service(client, "one")
                assert await address(client, "one") == "192.168.4.10"
                await service(client, "two")
                assert await address(client, "two") == "192.168.4.11"
                await service(client, "three")
                await eventually(lambda: said(client, "AllocationFailed", "no available IPs"))
                await client.delete(SERVICES, "one", "default")
                assert await address(client, "three") == "192.168.4.10"
                await eventually(lambda: pool_status(client, "first", assignedIPv4=2, availableIPv4=0))
                await eventually(lambda: state(client, "Valid"))
                tree = await client.get(SERVICES, "three", "default")
                assert tree["metadata"]["annotations"] == {"metallb.io/ip-allocated-from-pool": "first"}
                secret = await eventually(lambda: client.get(SECRETS, "memberlist", NAMESPACE))
                assert len(base64.b64decode(secret["data"]["secretkey"])) == 22
            async with controller(api):  # a restart moves nothing, though .10 was given last
                await service(client, "four")
                await eventually(lambda: said(client, "AllocationFailed", "default/four"))
                assert await address(client, "two") == "192.168.4.11"
                assert await address(client, "three") == "192.168.4.10"
                wider = {"spec": {"addresses": ["192.168.4.11-192.168.4.12"]}}
                await client.patch(IP_ADDRESS_POOLS, "first", NAMESPACE, wider)
                await eventually(lambda: said(client, "ClearAssignment", "not allowed by config"))
                assert {await address(client, "two"), *await both(client)} == {"192.168.4.11", "192.168.4.12", ""}
                await client.delete(IP_ADDRESS_POOLS, "first", NAMESPACE)
                for name in ("two", "three", "four"):
                    await has_none(client, name)

    asyncio.run(run())


async def both(client: Client) -> list[str]:
    """The addresses of three and four, once one has one."""

    async def shown() -> list[str]:
        trees = [await client.get(SERVICES, name, "default") for name in ("three", "four")]
        ingress = [(tree["status"]["loadBalancer"].get("ingress") or [{"ip": ""}])[0]["ip"] for tree in trees]
        return ingress if sorted(ingress) == ["", "192.168.4.12"] else []

    found: list[str] = await eventually(shown)
    return found


async def said(client: Client, reason: str, words: str) -> bool:
    events = (await client.list(EVENTS, "default"))["items"]
    return any(event["reason"] == reason and words in event["message"] for event in events)


async def pool_status(client: Client, name: str, **wanted: int) -> bool:
    tree = await client.get(IP_ADDRESS_POOLS, name, NAMESPACE)
    return wanted.items() <= (tree.get("status") or {}).items()


async def state(client: Client, result: str) -> bool:
    tree = await client.get(CONFIGURATION_STATES, "controller", NAMESPACE)
    return bool((tree.get("status") or {}).get("result") == result)


def test_a_configuration_that_is_not_valid_takes_nothing_away() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await install(client)
            async with controller(api):
                await create(client, IP_ADDRESS_POOLS, "first", {"addresses": ["192.168.4.10-192.168.4.11"]})
                await service(client, "one")
                assert await address(client, "one") == "192.168.4.10"
                await create(client, IP_ADDRESS_POOLS, "second", {"addresses": ["192.168.4.0/24"]})
                await eventually(lambda: state(client, "Invalid"))
                await service(client, "two")
                assert await address(client, "two") == "192.168.4.11"
                await client.delete(IP_ADDRESS_POOLS, "second", NAMESPACE)
                await eventually(lambda: state(client, "Valid"))
                assert await address(client, "one") == "192.168.4.10"

    asyncio.run(run())


@asynccontextmanager
async def webhooks(client: Client, process: Process) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that trusts what the objects of the bundle say is to be trusted."""

    async def trusted() -> str:
        tree = await client.get(VALIDATING_WEBHOOKS, "metallb-webhook-configuration")
        crd = await client.get(CUSTOM_RESOURCES, "bgppeers.metallb.io")
        bundles = {hook["clientConfig"].get("caBundle") for hook in tree["webhooks"]}
        bundles.add(crd["spec"]["conversion"]["webhook"]["clientConfig"].get("caBundle"))
        return str(bundles.pop() or "") if len(bundles) == 1 else ""

    authority = base64.b64decode(await eventually(trusted)).decode()
    context = ssl.create_default_context(cadata=authority)
    connector = aiohttp.TCPConnector(ssl=context)
    base = f"https://127.0.0.1:{process.webhook_port}"
    async with aiohttp.ClientSession(base, connector=connector) as session:
        yield session


async def ask(session: aiohttp.ClientSession, path: str, review: Tree) -> Tree:
    async with session.post(path, json=review, server_hostname=HOST) as answer:
        assert answer.status == 200
        found: Tree = await answer.json()
        return found


def review(operation: str, spec: Tree, name: str = "new", namespace: str = NAMESPACE) -> Tree:
    tree = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    side = "oldObject" if operation == "DELETE" else "object"
    return {"request": {"uid": "42", "operation": operation, "namespace": namespace, side: tree}}


def test_webhooks_judge_convert_and_stay_trusted() -> None:
    async def run() -> None:
        async with serving() as api, api.client() as client:
            await install(client)
            await create(client, IP_ADDRESS_POOLS, "first", {"addresses": ["192.168.4.0/24"]})
            await create(client, L2_ADVERTISEMENTS, "first", {})
            for ref in (CUSTOM_RESOURCES, VALIDATING_WEBHOOKS):
                await put_hooks(client, ref)
            async with controller(api, ENABLED) as process, webhooks(client, process) as session:
                pools = "/validate-metallb-io-v1beta1-ipaddresspool"
                found = await ask(session, pools, review("CREATE", {"addresses": ["192.168.4.9-192.168.4.9"]}))
                assert found["response"]["uid"] == "42"
                assert not found["response"]["allowed"]
                assert "overlaps" in found["response"]["status"]["message"]
                same = await ask(session, pools, review("UPDATE", {"addresses": ["192.168.4.0/25"]}, "first"))
                assert same["response"]["allowed"]
                other = await ask(session, pools, review("CREATE", {"addresses": ["10.0.0.0/24"]}, namespace="x"))
                assert "must be created in metallb-system" in other["response"]["status"]["message"]
                peer = {"apiVersion": "metallb.io/v1beta1", "kind": "BGPPeer", "metadata": {}, "spec": {"myASN": 1}}
                asked = {"request": {"uid": "7", "desiredAPIVersion": "metallb.io/v1beta2", "objects": [peer]}}
                converted = await ask(session, "/convert", asked)
                assert converted["response"]["convertedObjects"][0]["apiVersion"] == "metallb.io/v1beta2"
                secret = await client.get(SECRETS, "metallb-webhook-cert", NAMESPACE)
                assert set(secret["data"]) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
                await put_hooks(client, VALIDATING_WEBHOOKS)  # a bundle applied anew knows no authority
                async with webhooks(client, process):
                    pass
            async with controller(api, ENABLED) as again, webhooks(client, again):
                assert (await client.get(SECRETS, "metallb-webhook-cert", NAMESPACE))["data"] == secret["data"]

    asyncio.run(run())


async def put_hooks(client: Client, ref: Any) -> None:
    """What of the bundle speaks of webhooks, written over what is there."""
    from loadbalancer.bundle import bundle

    kinds = {"CustomResourceDefinition": "bgppeers.metallb.io", "ValidatingWebhookConfiguration": None}
    for tree in bundle():
        name = tree["metadata"]["name"]
        if tree["kind"] != ref.kind or kinds[ref.kind] not in (None, name):
            continue
        try:
            old = await client.get(ref, name)
            tree["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            await client.update(ref, tree)
        except Exception as error:
            if getattr(error, "code", 0) != 404:
                raise
            for hook in tree["webhooks"]:
                hook["rules"] = [{**rule, "apiGroups": ["elsewhere.io"]} for rule in hook["rules"]]
            await client.create(ref, tree)


@pytest.mark.parametrize("name", ["controller", "speaker"])
def test_the_bundle_names_our_images(name: str) -> None:
    from loadbalancer.bundle import bundle

    texts = [
        container["image"]
        for tree in bundle()
        if tree["kind"] in ("Deployment", "DaemonSet")
        for container in tree["spec"]["template"]["spec"]["containers"]
    ]
    assert any(text.startswith(f"quay.io/metallb/{name}:") for text in texts)
