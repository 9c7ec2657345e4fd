"""Who may read numbers: asked of the true API server."""

from __future__ import annotations

import asyncio

from apiserver.serving import serving
from clusterip.api.meta import Tree
from clusterip.client.names import ResourceRef
from clusterip.client.rest import Client
from clusterip.client.scrapers import ALLOWED_SECONDS, REFUSED_SECONDS, STRANGER, Refusal, Scrapers
from clusterip.clock import ManualClock

ACCOUNTS = ResourceRef("", "v1", "serviceaccounts", "ServiceAccount")
RBAC = ("rbac.authorization.k8s.io", "v1")
ROLES = ResourceRef(*RBAC, "clusterroles", "ClusterRole", namespaced=False)
BINDINGS = ResourceRef(*RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
HERE = {"name": "scraper", "namespace": "default"}


async def token(client: Client) -> str:
    """Of a ServiceAccount that may nothing."""
    await client.create(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": HERE})
    asked: Tree = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": {}}
    made = await client.create(ACCOUNTS, asked, "default", "token", "scraper")
    return str(made["status"]["token"])


async def allow(client: Client) -> None:
    kinds, name = f"{RBAC[0]}/{RBAC[1]}", {"name": "metrics-reader"}
    rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    await client.create(ROLES, {"apiVersion": kinds, "kind": "ClusterRole", "metadata": name, "rules": rules})
    role = {"apiGroup": RBAC[0], "kind": "ClusterRole", **name}
    subjects = [{"kind": "ServiceAccount", **HERE}]
    binding: Tree = {"apiVersion": kinds, "kind": "ClusterRoleBinding", "metadata": name}
    await client.create(BINDINGS, binding | {"roleRef": role, "subjects": subjects})


def test_a_known_account_that_may_is_let_in() -> None:
    async def run() -> None:
        clock = ManualClock()
        async with serving() as api, api.client() as client:
            scrapers = Scrapers(client, clock)
            header = f"Bearer {await token(client)}"
            assert await scrapers.refusal("", "GET", "/metrics") == STRANGER
            assert await scrapers.refusal("Basic eA==", "GET", "/metrics") == STRANGER
            assert await scrapers.refusal("Bearer nobody", "GET", "/metrics") == STRANGER
            denied = Refusal(403, "Authorization denied for user system:serviceaccount:default:scraper")
            assert await scrapers.refusal(header, "GET", "/metrics") == denied
            await allow(client)
            assert await scrapers.refusal(header, "GET", "/metrics") == denied  # remembered
            clock.advance(REFUSED_SECONDS + 1)
            assert await scrapers.refusal(header, "GET", "/metrics") is None
            assert await scrapers.refusal(header, "POST", "/metrics") == denied
        assert await scrapers.refusal(header, "GET", "/metrics") is None  # the API is away
        clock.advance(ALLOWED_SECONDS + 1)
        found = await scrapers.refusal(header, "GET", "/metrics")
        assert found is not None
        assert found.code == 500

    asyncio.run(run())
