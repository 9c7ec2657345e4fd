"""ServiceCIDRs: the finalizer, the condition, and what keeps one from going."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from clusterip.client.names import SERVICE_CIDRS
from clusterip.controllers.servicecidr import FINALIZER, IPAddress, ServiceCIDR, reconcile
from clusterip.controllers.writes import NOTHING, Patch
from controllers.cluster import cluster

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY = {"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"}


def cidr(name: str, *cidrs: str, deleted: float | None = None, conditions: Any = (READY,), **more: Any) -> ServiceCIDR:
    meta: dict[str, Any] = {"name": name, "finalizers": [FINALIZER], **more}
    if deleted is not None:
        meta["deletionTimestamp"] = (NOW - timedelta(seconds=deleted)).strftime("%Y-%m-%dT%H:%M:%SZ")
    tree = {"metadata": meta, "spec": {"cidrs": cidrs}, "status": {"conditions": conditions}}
    return msgspec.convert(tree, ServiceCIDR)


def address(name: str, by: str = "ipallocator.k8s.io") -> IPAddress:
    labels = {"ipaddress.kubernetes.io/managed-by": by}
    return msgspec.convert({"metadata": {"name": name, "labels": labels}}, IPAddress)


def test_a_new_one_gets_its_finalizer_and_is_ready() -> None:
    it = cidr("a", "10.1.0.0/24", conditions=(), finalizers=["example.com/mine"])
    first, second = reconcile(it, [it], [], NOW).writes
    assert isinstance(first, Patch)
    assert first.patch["metadata"]["finalizers"] == ["example.com/mine", FINALIZER]  # type: ignore[call-overload]
    assert isinstance(second, Patch)
    assert second.patch["status"]["conditions"][0]["status"] == "True"  # type: ignore[call-overload]


def test_one_that_is_as_it_should_be_is_left_alone() -> None:
    it = cidr("a", "10.1.0.0/24")
    assert reconcile(it, [it], [], NOW) == NOTHING


@pytest.mark.parametrize("held", ["10.1.0.9", "fd00::9"])
def test_the_last_range_of_an_address_waits(held: str) -> None:
    it = cidr("a", "10.1.0.0/24", "fd00::/120", deleted=60)
    outcome = reconcile(it, [it], [address(held)], NOW)
    (said,) = outcome.writes
    assert isinstance(said, Patch)
    assert said.patch["status"]["conditions"][0]["reason"] == "Terminating"  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("others", "addresses"),
    [
        ([], []),
        ([], [address("10.2.0.1")]),
        ([], [address("10.1.0.9", by="somebody")]),
        ([cidr("wider", "10.0.0.0/8")], [address("10.1.0.9")]),
        ([cidr("half", "10.1.0.0/28")], [address("10.1.0.9")]),
    ],
)
def test_one_that_nobody_needs_goes_after_a_while(others: list[ServiceCIDR], addresses: list[IPAddress]) -> None:
    early, late = cidr("a", "10.1.0.0/24", deleted=4), cidr("a", "10.1.0.0/24", deleted=11)
    assert reconcile(early, [early, *others], addresses, NOW).again == pytest.approx(6)
    (freed,) = reconcile(late, [late, *others], addresses, NOW).writes
    assert isinstance(freed, Patch)
    assert freed.patch["metadata"]["finalizers"] == []  # type: ignore[call-overload]


async def _lives() -> None:
    async with cluster() as c:
        path = "networking.k8s.io/v1"
        tree = {
            "apiVersion": path,
            "kind": "ServiceCIDR",
            "metadata": {"name": "more"},
            "spec": {"cidrs": ["10.9.0.0/29"]},
        }
        await c.client.create(SERVICE_CIDRS, tree)

        async def ready() -> bool:
            found = await c.client.get(SERVICE_CIDRS, "more")
            conditions = (found.get("status") or {}).get("conditions") or ()
            return found["metadata"].get("finalizers") == [FINALIZER] and any(c["status"] == "True" for c in conditions)

        await _until(ready)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(90):
        while not await condition():  # noqa: ASYNC110 - asked over the wire
            await asyncio.sleep(0.02)


def test_with_the_api() -> None:
    asyncio.run(_lives())
