"""ServiceL2Status: one a Service, of the node that announces; ServiceBGPStatus: one a node."""

from __future__ import annotations

from typing import Any

from clusterip.speaker.status import BGP, LAYER2, Steps, by_interfaces, by_peers, steps

KEY = ("default", "web")


def status(name: str, node: str, interfaces: list[str] | None = None) -> dict[str, Any]:
    labels = {"metallb.io/node": node, "metallb.io/service-name": "web", "metallb.io/service-namespace": "default"}
    found: dict[str, Any] = {"node": node, "serviceName": "web", "serviceNamespace": "default"}
    if interfaces:
        found["interfaces"] = [{"name": each} for each in interfaces]
    return {"metadata": {"name": name, "labels": labels}, "status": found}


def plan(announces: frozenset[str] | None, *present: dict[str, Any]) -> Steps:
    return steps(LAYER2, "node-1", KEY, by_interfaces(announces), present, "metallb-system", None)


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


def test_every_node_says_which_routers_it_tells() -> None:
    def told(peers: frozenset[str] | None, *present: dict[str, Any]) -> Steps:
        return steps(BGP, "node-1", KEY, by_peers(peers), present, "metallb-system", None)

    other = status("bgp-b", "node-2")
    made = told(frozenset({"tor-2", "tor-1"}), other)
    assert made.delete == ()
    assert made.create is not None
    assert made.create["kind"] == "ServiceBGPStatus"
    assert made.create["metadata"]["generateName"] == "bgp-"
    assert made.create["status"]["peers"] == ["tor-1", "tor-2"]
    assert told(None, status("bgp-a", "node-1"), other) == Steps(("bgp-a",))
    assert told(frozenset({"t"}), status("bgp-a", "node-1"), status("bgp-c", "node-1"), other).delete == ("bgp-c",)
