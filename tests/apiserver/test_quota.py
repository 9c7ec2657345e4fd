"""What a namespace's quotas allow, also to writes at the same time."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from apiserver.wire import CONFIGMAPS, PODS, SERVICES, Wire, account, config_map, pod, served, service
from clusterip.api.resources.pods import POD
from clusterip.api.resources.services import SERVICE
from clusterip.apiserver.quota import covers, usage

QUOTAS = "/api/v1/namespaces/default/resourcequotas"


def quota(**hard: str) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": {"hard": {name.replace("__", "."): size for name, size in hard.items()}}}


def test_no_more_than_allowed_even_at_once() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", QUOTAS, quota(configmaps="3"))
        made = await asyncio.gather(*(wire("POST", CONFIGMAPS, config_map(f"c{n}")) for n in range(9)))
        assert sorted(status for status, _ in made) == [201] * 3 + [403] * 6
        refused = next(tree for status, tree in made if status == 403)
        assert refused["message"].endswith(
            "is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3"
        )
        kept = (await wire.ok("GET", CONFIGMAPS))["items"][0]["metadata"]["name"]
        await wire.ok("PATCH", f"{CONFIGMAPS}/{kept}", {"data": {"a": "b"}}, type="merge")
        await wire.ok("DELETE", f"{CONFIGMAPS}/{kept}")
        await wire.ok("POST", CONFIGMAPS, config_map("later"))

    served(body)


def test_where_cpu_is_limited_every_container_says_how_much() -> None:
    async def body(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", QUOTAS, quota(requests__cpu="1", pods="5"))
        status, tree = await wire("POST", PODS, pod("a"))
        assert status == 403
        assert tree["message"] == 'pods "a" is forbidden: failed quota: q: must specify requests.cpu for: c'
        wanted = {"requests": {"cpu": "600m"}}
        sized = [{"name": "c", "image": "nginx", "resources": wanted}]
        await wire.ok("POST", PODS, pod("a", containers=sized))
        status, tree = await wire("POST", PODS, pod("b", containers=sized))
        assert tree["message"] == (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, '
            "limited: requests.cpu=1"
        )

    served(body)


def test_a_changed_service_counts_what_it_uses_more() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", QUOTAS, quota(services__nodeports="0"))
        await wire.ok("POST", SERVICES, service("a"))
        status, tree = await wire("PATCH", f"{SERVICES}/a", {"spec": {"type": "NodePort"}}, type="merge")
        assert status == 403
        assert "requested: services.nodeports=1" in tree["message"]

    served(body)


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        (
            {"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}},
            {"services.loadbalancers": 1, "services.nodeports": 1},
        ),
        ({"spec": {"ports": [{"port": 1}]}}, {}),
    ],
)
def test_what_a_service_uses(tree: dict[str, Any], found: dict[str, int]) -> None:
    assert usage(SERVICE, tree) == {"count/services": Decimal(1), "services": Decimal(1), **found}


def test_a_pod_that_has_ended_uses_no_cpu() -> None:
    spec = {"containers": [{"resources": {"limits": {"cpu": "1"}}}]}
    assert usage(POD, {"spec": spec})["limits.cpu"] == 1
    assert usage(POD, {"spec": spec, "status": {"phase": "Failed"}}) == {"count/pods": Decimal(1)}


def test_scopes_mean_some_pods() -> None:
    best = {"spec": {"scopes": ["BestEffort"]}}
    assert covers(best, POD, {"spec": {"containers": [{}]}})
    assert not covers(best, POD, {"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}})
    assert not covers(best, SERVICE, {})
    named = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    chosen = {"spec": {"scopeSelector": {"matchExpressions": [named]}}}
    assert covers(chosen, POD, {"spec": {"priorityClassName": "high"}})
