"""What pods read from the API: followed while somebody needs it; tokens that are renewed in time."""

from __future__ import annotations

import asyncio
import base64
import json

from apiserver.serving import serving
from clusterip.client.names import CONFIG_MAPS, PODS, SERVICE_ACCOUNTS
from clusterip.clock import ManualClock, SystemClock
from clusterip.node.model import parse_pod
from clusterip.node.payload import TokenRequest
from clusterip.node.sources import Sources, Tokens
from node.pods import pod

SECONDS = 30.0
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "namespace": "ns"}, "data": {"a": "1"}}
SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}


def test_an_object_is_followed_until_its_last_user_goes() -> None:
    from clusterip.client.names import NAMESPACES

    async def body() -> None:
        async with serving() as api, api.client() as client, asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            await client.create(NAMESPACES, SPACE)
            changed = asyncio.Event()
            sources = Sources(client, group)
            one, two = pod(meta={"uid": "1"}), pod(meta={"uid": "2"})
            for each in (one, two):
                await sources.need(each, ({"cm"}, set()), changed.set)
            assert sources.config_maps.get("ns", "cm") is None  # looked for, and not there
            await client.create(CONFIG_MAPS, MAP)
            await changed.wait()
            found = sources.config_maps.get("ns", "cm")
            assert found is not None
            assert found["data"] == {"a": "1"}
            sources.release(one)
            assert sources.config_maps.get("ns", "cm") is not None
            sources.release(two)
            assert sources.config_maps.get("ns", "cm") is None
            sources.stop()

    asyncio.run(body())


def test_tokens_are_of_the_pod_and_renewed_after_four_fifths() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    tree = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    }
    request = TokenRequest(audience="", seconds=3600)

    async def body() -> None:
        clock = ManualClock(SystemClock().now())
        async with serving() as api, api.client() as client, asyncio.timeout(SECONDS):
            await client.create(SERVICE_ACCOUNTS, account)
            made = parse_pod(await client.create(PODS, tree))
            tokens = Tokens(client, made, clock)
            assert tokens.refresh_at == 0.0
            await tokens.fetch([request])
            first = tokens.get(request)
            part = first.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            assert claims["sub"] == "system:serviceaccount:default:default"
            assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": made.uid}
            assert 2800 < tokens.refresh_at < 2900
            await tokens.fetch([request])
            assert tokens.get(request) == first
            clock.advance(tokens.refresh_at + 1)
            await asyncio.sleep(1.1)  # times in a token are whole seconds
            await tokens.fetch([request])
            assert tokens.get(request) != first

    asyncio.run(body())
