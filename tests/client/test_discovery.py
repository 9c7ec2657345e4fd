"""What a server has."""

from __future__ import annotations

import asyncio

from apiserver.serving import serving
from clusterip.apiserver.core import Settings
from clusterip.client.discovery import discover, references
from clusterip.client.names import CONFIG_MAPS, DEPLOYMENTS, NODES, PODS


def test_references():
    document = {
        "groupVersion": "apps/v1",
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["list", "watch"]},
            {"name": "deployments/status", "kind": "Deployment", "namespaced": True, "verbs": ["get"]},
            {"name": "odd", "kind": "Odd", "namespaced": True, "verbs": ["create"]},
        ],
    }
    assert references(document, frozenset({"list"})) == [DEPLOYMENTS]


def test_the_true_server():
    async def go():
        async with (
            serving(settings=Settings(advertise=("192.168.4.100", 6443))) as api,
            api.client() as client,
        ):
            found = await discover(client, frozenset({"list", "watch", "delete"}))
            assert {CONFIG_MAPS, DEPLOYMENTS, NODES, PODS} <= set(found)

    asyncio.run(go())
