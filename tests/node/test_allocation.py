"""What was granted to a pod, beside what it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.node.allocation import as_granted, asks_for_other, changed, grant, restarts_for, unfinished
from clusterip.node.model import Container, PodSeen, Seen
from node.pods import pod


def amounts(cpu: str, memory: str, limits: dict[str, str] | None = None) -> dict[str, Any]:
    requests = {"cpu": cpu, "memory": memory}
    return {"requests": requests, **({"limits": limits} if limits else {})}


SMALL, LARGE = amounts("100m", "20Mi"), amounts("300m", "20Mi")


def test_a_pod_has_what_it_was_granted_not_what_it_asks_for() -> None:
    former = pod({"name": "c", "resources": SMALL}, initContainers=[{"name": "i", "restartPolicy": "Always"}])
    granted = grant(former)
    assert granted == {"c": SMALL, "i": {}}
    wanted = pod({"name": "c", "resources": LARGE}, initContainers=[{"name": "i", "restartPolicy": "Always"}])
    assert asks_for_other(wanted, granted)
    held = as_granted(wanted, granted)
    assert held.app_containers[0].tree["resources"] == SMALL
    assert wanted.app_containers[0].tree["resources"] == LARGE
    assert as_granted(former, granted) is former
    assert not asks_for_other(former, granted)


@pytest.mark.parametrize(
    ("former", "wanted", "names"),
    [
        (SMALL, amounts("0.1", "20480Ki"), set()),
        (SMALL, LARGE, {"cpu"}),
        (SMALL, amounts("100m", "30Mi", {"cpu": "1"}), {"cpu", "memory"}),
        (None, LARGE, set()),  # an attempt of before: nobody knows
        ({}, LARGE, {"cpu", "memory"}),
    ],
)
def test_what_differs(former: dict[str, Any] | None, wanted: dict[str, Any], names: set[str]) -> None:
    assert changed(former, wanted) == names


def test_a_container_says_what_it_begins_anew_for() -> None:
    policies = [
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
    ]
    container = Container({"name": "c", "resizePolicy": policies})
    assert not restarts_for(container, frozenset({"cpu"}))
    assert restarts_for(container, frozenset({"cpu", "memory"}))
    assert not restarts_for(Container({"name": "c"}), frozenset({"memory"}))


def test_only_what_runs_otherwise_is_unfinished() -> None:
    held = pod(*({"name": name, "resources": LARGE} for name in "abc"))
    seen = PodSeen(
        containers={
            "a": Seen(state="running", resources=SMALL),
            "b": Seen(state="running", resources=LARGE),
            "c": Seen(state="exited", resources=SMALL),
        }
    )
    assert unfinished(held, seen) == ["a"]
