"""PodDisruptionBudgets: how many pods may go, by numbers and percentages; what is not known allows nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.client.names import POD_DISRUPTION_BUDGETS
from clusterip.controllers.disruption import Scale, reconcile
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Budget
from clusterip.controllers.writes import Patch, Say
from controllers.cluster import cluster, workload

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def budget(status=None, **spec):
    meta = {"name": "b", "namespace": "ns", "generation": 2, "resourceVersion": "7"}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status or {}}, Budget)


def pod(name, ready=True, owner="rs", leaving=False):
    meta = {"name": name, "namespace": "ns", "labels": {"app": "web"}}
    if owner:
        meta["ownerReferences"] = [{"kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}]
    if leaving:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
    return msgspec.convert({"metadata": meta, "status": status}, Pod)


def told(found, pods, replicas=4):
    outcome = reconcile(found, pods, lambda pod: Scale("rs", replicas) if replicas else None, NOW)
    patches = [write.patch["status"] for write in outcome.writes if isinstance(write, Patch)]
    said = [write.said.reason for write in outcome.writes if isinstance(write, Say)]
    return (patches[0] if patches else {}), said, outcome.again


PODS = [pod("a"), pod("b"), pod("c"), pod("d", ready=False)]


@pytest.mark.parametrize(
    ("spec", "expected", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 4, 2, 1),
        ({"minAvailable": 3}, 4, 3, 0),
        ({"minAvailable": "50%"}, 4, 2, 1),
        ({"minAvailable": "51%"}, 4, 3, 0),
        ({"maxUnavailable": 2}, 4, 2, 1),
        ({"maxUnavailable": "26%"}, 4, 2, 1),
        ({"maxUnavailable": 9}, 4, 0, 3),
        ({}, 0, 0, 0),
    ],
)
def test_numbers(spec, expected, desired, allowed):
    status, said, _ = told(budget(**spec), PODS)
    assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (expected, desired, 3)
    assert status["disruptionsAllowed"] == allowed
    (condition,) = status["conditions"]
    assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")
    assert said == []


def test_what_goes_does_not_count():
    assert told(budget(minAvailable=1), [pod("a"), pod("b", leaving=True)])[0]["currentHealthy"] == 1


def test_evicted_pods_do_not_count_until_they_are_given_up():
    fresh = {"disruptedPods": {"a": "2026-01-01T11:59:00Z", "gone": "2026-01-01T11:59:00Z"}}
    status, said, again = told(budget(fresh, minAvailable=1), PODS)
    assert status["currentHealthy"] == 2
    assert status["disruptedPods"] == {"a": "2026-01-01T11:59:00Z", "gone": None}
    assert again == pytest.approx(60.01)
    old = {"disruptedPods": {"a": "2026-01-01T11:00:00Z"}}
    status, said, again = told(budget(old, minAvailable=1), PODS)
    assert (status["currentHealthy"], status["disruptedPods"], said, again) == (3, None, ["NotDeleted"], None)


def test_unknown_scales_allow_nothing():
    status, said, _ = told(budget({"disruptionsAllowed": 3}, maxUnavailable=1), PODS, replicas=0)
    assert status["disruptionsAllowed"] == 0
    assert status["conditions"][0]["message"] == 'found no controllers for pod "a"'
    assert said == ["CalculateExpectedPodCountFailed"]


def test_words():
    assert told(budget(minAvailable=1), [])[1] == ["NoPods"]
    assert told(budget(maxUnavailable=1), [pod("a", owner="")])[1] == ["UnmanagedPods"]


def test_with_the_api():
    async def scenario():
        async with cluster() as c:
            selector = {"matchLabels": {"app": "web"}}
            spec = {"selector": selector, "maxUnavailable": "50%"}
            await c.create(
                {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}
            )
            await c.create(workload("Deployment", "web", replicas=4))

            def allowed():
                return c.one(POD_DISRUPTION_BUDGETS, "b").get("status", {}).get("disruptionsAllowed")

            await c.until(lambda: allowed() == 2)

    asyncio.run(scenario())
