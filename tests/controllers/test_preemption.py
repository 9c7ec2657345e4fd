"""Less important pods make room: as few as possible, where it harms least."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from clusterip.controllers.ledger import Ledger
from clusterip.controllers.model import Node, Pod
from clusterip.controllers.model_workloads import Budget
from clusterip.controllers.preemption import Place, Plan, executed, is_waited_for, nominated, plan
from clusterip.controllers.scheduling import fits
from clusterip.controllers.writes import Delete, Patch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def node(name: str) -> Node:
    room = {"cpu": "4", "pods": "10"}
    return msgspec.convert({"metadata": {"name": name}, "status": {"allocatable": room}}, Node)


def pod(name: str, priority: int, cpu: str = "1", on: str = "", started: str = "", **meta: object) -> Pod:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    spec = {"containers": [container], "priority": priority, "nodeName": on}
    status = {"startTime": started or None}
    metadata = {"name": name, "namespace": "ns", "uid": name, "labels": {"app": name}, **meta}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, Pod)


def place(name: str, *pods: Pod) -> Place:
    ledger = Ledger()
    for one in pods:
        ledger.put(one, name)
    return Place(node(name), ledger.load(name), pods)


def planned(one: Pod, *places: Place, budgets: tuple[Budget, ...] = ()) -> tuple[str, list[str]] | None:
    found = plan(one, places, budgets, lambda node, load, gone: fits(one, node, load))
    return None if found is None else (found.node, [victim.metadata.name for victim in found.victims])


def test_nobody_goes_for_an_equal() -> None:
    assert planned(pod("new", 5, "2"), place("n", pod("a", 5, "3"), pod("b", 9, "1"))) is None


def test_nobody_goes_in_vain() -> None:
    assert planned(pod("new", 5, "2"), place("n", pod("a", 1, "1"), pod("b", 9, "3"))) is None


def test_the_least_important_go_and_only_as_many_as_must() -> None:
    there = place("n", pod("a", 1, "1"), pod("b", 2, "1"), pod("c", 3, "2"))
    assert planned(pod("new", 5, "2"), there) == ("n", ["b", "a"])
    assert planned(pod("new", 5, "1"), there) == ("n", ["a"])


def test_of_equals_the_youngest_goes() -> None:
    old, young = (pod(name, 1, "2", started=f"2026-01-0{day}T00:00:00Z") for name, day in (("old", 1), ("young", 2)))
    assert planned(pod("new", 5, "2"), place("n", old, young)) == ("n", ["young"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([pod("a", 2, "4")], [pod("b", 1, "4")]),  # the lower priority
        ([pod("a", 1, "2"), pod("c", 1, "2")], [pod("b", 1, "4")]),  # the fewer
        ([pod("a", 1, "4", started="2026-01-01T00:00:00Z")], [pod("b", 1, "4", started="2026-01-02T00:00:00Z")]),
    ],
)
def test_the_node_with_the_least_harm(one: list[Pod], other: list[Pod]) -> None:
    assert planned(pod("new", 5, "4"), place("n1", *one), place("n2", *other)) == ("n2", ["b"])


def test_whom_a_budget_protects_goes_last() -> None:
    budget = msgspec.convert(
        {
            "metadata": {"name": "b", "namespace": "ns"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}},
            "status": {"disruptionsAllowed": 0},
        },
        Budget,
    )
    there = place("n", pod("a", 1, "2"), pod("b", 2, "2"))
    assert planned(pod("new", 5, "2"), there) == ("n", ["a"])
    assert planned(pod("new", 5, "2"), there, budgets=(budget,)) == ("n", ["b"])
    assert planned(pod("new", 5, "4"), there, budgets=(budget,)) == ("n", ["b", "a"])


def test_a_pod_that_never_preempts() -> None:
    polite = msgspec.structs.replace(
        pod("new", 5, "2"), spec=msgspec.structs.replace(pod("new", 5, "2").spec, preemption_policy="Never")
    )
    assert planned(polite, place("n", pod("a", 1, "4"))) is None


def test_victims_are_told_and_the_pod_is_promised_their_node() -> None:
    new = pod("new", 5)
    told, gone, promised = executed(new, Plan("n", (pod("a", 1),)), NOW)
    assert isinstance(told, Patch)
    assert isinstance(gone, Delete)
    assert isinstance(told.patch, dict)
    (condition,) = told.patch["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "PreemptionByScheduler")
    assert gone.uid == "a"
    assert gone.said is not None
    assert gone.said.message == "Preempted by pod new on node n"
    assert promised == nominated(new, "n")


def test_who_is_going_already_is_waited_for() -> None:
    going = pod("a", 1, on="n", deletionTimestamp="2026-01-01T00:00:00Z")
    assert is_waited_for(pod("new", 5), "n", [going])
    assert not is_waited_for(pod("new", 5), "", [going])
    assert not is_waited_for(pod("new", 1), "n", [going])
    assert executed(pod("new", 5), Plan("n", (going,)), NOW)
    assert [type(write) for write in executed(pod("new", 5), Plan("n", (going,)), NOW)] == [Patch]
