"""Roles that are the sum of others."""

from __future__ import annotations

import asyncio
from typing import Any

from clusterip.client.names import CLUSTER_ROLES
from clusterip.controllers.clusterroleaggregation import ClusterRole, aggregated
from clusterip.controllers.model import Meta
from controllers.cluster import cluster

LABEL = {"example.com/to-sum": "true"}
GET, LIST = ({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]} for verb in ("get", "list"))


def role(name: str, *rules: dict[str, Any], sums: bool = False) -> ClusterRole:
    selectors = {"clusterRoleSelectors": [{"matchLabels": LABEL}]}
    return ClusterRole(Meta(name=name, labels=LABEL), rules, selectors if sums else None)


def test_parts_by_name_and_once() -> None:
    whole = role("whole", LIST, sums=True)
    assert aggregated(whole, [role("b", GET, LIST), whole, role("a", LIST)]) == [LIST, GET]


def test_the_defaults_are_filled_and_follow_new_roles() -> None:
    async def run() -> None:
        async with cluster() as c:
            await c.until(lambda: (c.one(CLUSTER_ROLES, "admin", "") or {}).get("rules"))
            await c.until(lambda: (c.one(CLUSTER_ROLES, "view", "") or {}).get("rules"))
            made = {
                "metadata": {"name": "pools", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
                "rules": [{"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["pools"]}],
            }
            await c.client.create(CLUSTER_ROLES, made)
            await c.until(lambda: made["rules"][0] in c.one(CLUSTER_ROLES, "admin", "")["rules"])

    asyncio.run(run())
