"""ResourceQuotas: what is counted, by which names, and that the status follows."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from clusterip.client.names import CONFIG_MAPS, DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES
from clusterip.controllers.model import Quota
from clusterip.controllers.resourcequota import counted, reconcile, status
from controllers.cluster import cluster, pod

KNOWN = [PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS, CONFIG_MAPS, DEPLOYMENTS]


def quota(hard, told=None, **spec):
    meta = {"name": "q", "namespace": "ns"}
    return msgspec.convert({"metadata": meta, "spec": {"hard": hard, **spec}, "status": told or {}}, Quota)


def asking(cpu, phase="Running"):
    containers = [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pods", [PODS]),
        ("requests.cpu", [PODS]),
        ("limits.memory", [PODS]),
        ("count/pods", [PODS]),
        ("services.nodeports", [SERVICES]),
        ("requests.storage", [PERSISTENT_VOLUME_CLAIMS]),
        ("configmaps", [CONFIG_MAPS]),
        ("count/deployments.apps", [DEPLOYMENTS]),
        ("count/widgets.example.org", []),
    ],
)
def test_what_is_read(name, wanted):
    assert counted([name], KNOWN) == wanted


def test_used():
    hard = {"pods": "10", "requests.cpu": "2", "services": "1"}
    found = status(quota(hard), {PODS: [asking("500m"), asking("1"), asking("4", "Succeeded")]})
    assert found == {"hard": hard, "used": {"pods": "2", "requests.cpu": "1500m", "services": "0"}}


def test_scopes():
    content = {PODS: [asking("1"), {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}]}
    assert status(quota({"pods": "5"}, scopes=["BestEffort"]), content)["used"] == {"pods": "1"}


def test_the_same_amount_in_other_words_is_no_change():
    told = {"hard": {"cpu": "1000m"}, "used": {"cpu": "0.5"}}
    assert reconcile(quota({"cpu": "1"}, told), {PODS: [asking("500m")]}).writes == ()
    (write,) = reconcile(quota({"pods": "1"}, told), {PODS: []}).writes
    assert write.patch["status"] == {"hard": {"cpu": None, "pods": "1"}, "used": {"cpu": None, "pods": "0"}}


def test_with_the_api():
    async def scenario():
        async with cluster() as c:
            hard = {"pods": "2", "count/configmaps": "9"}
            tree = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}
            await c.create(tree)

            def used():
                return c.one(RESOURCE_QUOTAS, "q").get("status", {}).get("used")

            await c.until(lambda: used() == {"pods": "0", "count/configmaps": "1"})
            await c.create(pod("a"))
            await c.until(lambda: used() == {"pods": "1", "count/configmaps": "1"})
            await c.client.delete(PODS, "a", "default")
            await c.until(lambda: used() == {"pods": "0", "count/configmaps": "1"})

    asyncio.run(scenario())
