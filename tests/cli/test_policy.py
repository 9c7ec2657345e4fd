"""`clusterip policy` with a kubeconfig and nothing else, beside an API that it did not start."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from clusterip.client.names import NETWORK_POLICIES, PODS, SERVICE_ACCOUNTS
from clusterip.client.rest import Client
from proxy.processes import CLIENT, HERE, ONCE_SECONDS, Bench, bench

pytestmark = pytest.mark.root
TARGET = f"{HERE}:8080/tcp"
PATIENCE_SECONDS = 90.0
NOBODY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "nobody", "namespace": "default"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
}


async def make_pod(client: Client, name: str, address: str) -> None:
    """A pod that runs on the node, as its agent would tell of it."""
    tree = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}]},
    }
    await client.create(PODS, tree, "default")
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    await client.patch(PODS, name, "default", status, subresource="status")


async def becomes(found: Bench, wanted: str) -> None:
    """Until a connection ends so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while wanted not in await found.ask(TARGET, seconds=ONCE_SECONDS):
            pass


def test_a_kubeconfig_is_all_it_needs(tmp_path: Path) -> None:
    async def play() -> None:
        async with bench(tmp_path) as found:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await found.client.create(SERVICE_ACCOUNTS, account, "default")
            await make_pod(found.client, "web", HERE)
            await make_pod(found.client, "client", CLIENT)
            options = (f"--kubeconfig={tmp_path / 'kubeconfig'}", "--node-name=node-1", "--healthz-bind-address=")
            agent = await found.begin(*found.part("policy", *options))
            await becomes(found, "saw")
            await found.client.create(NETWORK_POLICIES, NOBODY, "default")
            await becomes(found, "silence")
            assert await agent.end() == 0
            assert await found.ask(TARGET, seconds=ONCE_SECONDS) == "silence"  # without an agent the rules hold
            removed = await found.run(sys.executable, "-m", "clusterip.main", "policy", "--cleanup")
            assert "removed table ip clusterip-policy" in removed
            await becomes(found, "saw")

    asyncio.run(play())
