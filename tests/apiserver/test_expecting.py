"""What is on its way is waited for, once; what does not come is missing as before."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.wire import PODS, Wire, account, pod, served
from clusterip.apiserver import admission

LONG = 60.0


def test_a_pod_waits_for_its_namespaces_default_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespace and pod in one file: the controller makes the account a moment after the namespace."""
    monkeypatch.setattr(admission, "ACCOUNT_SECONDS", LONG)

    async def play(wire: Wire) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}}
        await wire.ok("POST", "/api/v1/namespaces", namespace)
        async with asyncio.TaskGroup() as group:
            made = [
                group.create_task(wire.ok("POST", "/api/v1/namespaces/fresh/pods", pod(name))) for name in ("a", "b")
            ]
            await account(wire, "other", "fresh")
            assert not any(each.done() for each in made)
            await account(wire, "default", "fresh")
        assert [each.result()["spec"]["serviceAccountName"] for each in made] == ["default", "default"]

    served(play)


def test_an_account_that_does_not_come_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "ACCOUNT_SECONDS", 0.01)

    async def play(wire: Wire) -> None:
        status, tree = await wire("POST", PODS, pod("a"))
        assert (status, tree["reason"]) == (403, "Forbidden")
        assert "error looking up service account default/default" in tree["message"]

    served(play)


def test_only_the_default_account_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "ACCOUNT_SECONDS", LONG)

    async def play(wire: Wire) -> None:
        wanted = pod("a")
        wanted["spec"]["serviceAccountName"] = "robot"
        async with asyncio.timeout(LONG / 2):
            status, _ = await wire("POST", PODS, wanted)
        assert status == 403

    served(play)
