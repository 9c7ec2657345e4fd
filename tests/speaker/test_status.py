"""ServiceL2Status: one a Service, of the node that announces."""

from __future__ import annotations

from typing import Any

from clusterip.speaker.status import Steps, steps

KEY = ("default", "web")


def status(name: str, node: str, interfaces: list[str] | None = None) -> dict[str, Any]:
    labels = {"metallb.io/node": node, "metallb.io/service-name": "web", "metallb.io/service-namespace": "default"}
    found: dict[str, Any] = {"node": node, "serviceName": "web", "serviceNamespace": "default"}
    if interfaces:
        found["interfaces"] = [{"name": each} for each in interfaces]
    return {"metadata": {"name": name, "labels": labels}, "status": found}


def plan(announces: frozenset[str] | None, *present: dict[str, Any]) -> Steps:
    return steps("node-1", KEY, announces, present, "metallb-system", None)


def test_the_announcer_writes_its_own_and_removes_others() -> None:
    found = plan(frozenset(), status("l2-x", "node-2"))
    assert found.delete == ("l2-x",)
    assert found.create is not None
    assert found.create["metadata"]["generateName"] == "l2-"
    assert found.create["metadata"]["labels"] == status("", "node-1")["metadata"]["labels"]
    assert found.create["status"] == status("", "node-1")["status"]


def test_what_is_right_is_left_alone() -> None:
    assert plan(frozenset(), status("l2-a", "node-1")) == Steps()
    assert plan(frozenset(), status("l2-a", "node-1"), status("l2-b", "node-1")).delete == ("l2-b",)


def test_other_interfaces_are_a_change() -> None:
    found = plan(frozenset({"eth1"}), status("l2-a", "node-1"))
    assert found.patch == ("l2-a", status("", "node-1", ["eth1"])["status"])


def test_who_announces_no_more_removes_its_own_alone() -> None:
    assert plan(None, status("l2-a", "node-1"), status("l2-b", "node-2")) == Steps(("l2-a",))
