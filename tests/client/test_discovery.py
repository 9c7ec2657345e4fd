"""What a server has."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.serving import serving
from clusterip.apiserver.core import Settings
from clusterip.client import discovery
from clusterip.client.discovery import discover, of_group, references
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


def test_a_group_that_is_told_with_all_others():
    deployments = {
        "resource": "deployments",
        "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "scope": "Namespaced",
        "verbs": ["list", "watch"],
    }
    bare = {"resource": "without-a-kind", "scope": "Cluster", "verbs": ["list"]}
    group = {
        "metadata": {"name": "apps"},
        "versions": [
            {"version": "v1", "resources": [deployments, bare], "freshness": "Current"},
            {"version": "v1beta1", "resources": [deployments], "freshness": "Current"},
        ],
    }
    assert of_group(group, frozenset({"list"})) == [DEPLOYMENTS]
    assert of_group(group, frozenset({"delete"})) == []
    group["versions"][0]["freshness"] = "Stale"
    assert of_group(group, frozenset({"list"})) == []
    assert of_group({"metadata": {"name": "empty"}}, frozenset({"list"})) == []


@pytest.mark.parametrize("way", ["all at once", "group by group"])
def test_the_true_server(way, monkeypatch):
    if way == "group by group":
        monkeypatch.setattr(discovery, "ACCEPT", "application/json")

    async def go():
        async with (
            serving(settings=Settings(advertise=("192.168.4.100", 6443))) as api,
            api.client() as client,
        ):
            found = await discover(client, frozenset({"list", "watch", "delete"}))
            assert {CONFIG_MAPS, DEPLOYMENTS, NODES, PODS} <= set(found)
            monkeypatch.setattr(discovery, "ACCEPT", discovery.ACCEPT if way != "all at once" else "application/json")
            assert set(await discover(client, frozenset({"list", "watch", "delete"}))) == set(found)

    asyncio.run(go())
