"""Evictions: what a budget allows, what it refuses in which words, and what does not concern it."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.wire import PODS, Wire, account, pod, served
from clusterip.apiserver.evicting import refused

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def eviction(name: str, **options: Any) -> dict[str, Any]:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}


async def running(wire: Wire, name: str, status: dict[str, Any] | None = None) -> None:
    tree = pod(name, nodeName="n")
    tree["metadata"]["labels"] = {"app": "a"}
    await wire.ok("POST", PODS, tree)
    await wire.ok("PATCH", f"{PODS}/{name}/status", {"status": status or READY}, type="merge")


async def budget(wire: Wire, name: str = "b", **status: Any) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    await wire.ok("POST", BUDGETS, {"metadata": {"name": name}, "spec": spec})
    whole = {"currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2, "observedGeneration": 1, **status}
    await wire.ok("PATCH", f"{BUDGETS}/{name}/status", {"status": {"disruptionsAllowed": 0, **whole}}, type="merge")


def test_a_budget_is_charged_and_then_refuses() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await running(wire, "a")
        await running(wire, "b")
        await budget(wire, disruptionsAllowed=1)
        await wire.ok("POST", f"{PODS}/a/eviction?dryRun=All", eviction("a"))
        assert (await wire.ok("GET", f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 1
        await wire.ok("POST", f"{PODS}/a/eviction", eviction("a"))
        going = await wire.ok("GET", f"{PODS}/a")
        assert going["metadata"]["deletionTimestamp"]
        assert going["status"]["conditions"][-1]["reason"] == "EvictionByEvictionAPI"
        status = (await wire.ok("GET", f"{BUDGETS}/b"))["status"]
        assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["a"])
        await wire.ok("PATCH", f"{BUDGETS}/b/status", {"status": {"currentHealthy": 1}}, type="merge")
        code, told = await wire("POST", f"{PODS}/b/eviction", eviction("b"))
        assert code == 429
        assert told["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
        cause = {
            "reason": "DisruptionBudget",
            "message": "The disruption budget b needs 1 healthy pods and has 1 currently",
        }
        assert told["details"]["causes"] == [cause]

    served(run)


def test_what_does_not_concern_a_budget() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await budget(wire)
        await running(wire, "pending", {"phase": "Pending"})
        await running(wire, "ill", {"phase": "Running"})  # the budget is healthy without it
        for name in ("pending", "ill"):
            await wire.ok("POST", f"{PODS}/{name}/eviction", eviction(name, gracePeriodSeconds=0))
            assert (await wire("GET", f"{PODS}/{name}"))[0] == 404

    served(run)


def test_who_evicts_by_another_name_or_under_two_budgets_is_refused() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await running(wire, "a")
        code, told = await wire("POST", f"{PODS}/a/eviction", eviction("b"))
        assert (code, told["message"]) == (400, "name in URL does not match name in Eviction object")
        await budget(wire)
        await budget(wire, "c")
        code, told = await wire("POST", f"{PODS}/a/eviction", eviction("a"))
        assert code == 500
        assert told["message"].startswith("This pod has more than one PodDisruptionBudget")

    served(run)


@pytest.mark.parametrize(
    ("status", "seconds", "cause"),
    [
        ({}, 10, "is still being processed by the server."),
        ({"observedGeneration": 2, "currentHealthy": 3, "desiredHealthy": 2}, None, "does not allow evicting"),
        (
            {
                "observedGeneration": 2,
                "conditions": [
                    {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "why"}
                ],
            },
            None,
            "because it failed sync: why",
        ),
    ],
)  # fmt: skip
def test_the_words_of_a_refusal(status: dict[str, Any], seconds: int | None, cause: str) -> None:
    error = refused("b", {"metadata": {"generation": 2}, "status": status})
    assert error is not None
    details: Any = error.details
    assert cause in details["causes"][0]["message"]
    assert details.get("retryAfterSeconds") == seconds
