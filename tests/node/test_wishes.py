"""Wishes of a pod: granted, put off, weighed again; what is told of them."""

from __future__ import annotations

import json
from typing import Any

from clusterip.node.admission import Refusal
from clusterip.node.model import Pod, PodSeen, Seen
from clusterip.node.record import PodRecord
from clusterip.node.wishes import Wishes
from node.pods import pod

SHORT = Refusal("OutOfcpu", "Node didn't have enough resource: cpu")


def asking(cpu: str, generation: int = 1) -> Pod:
    return pod({"name": "c", "resources": {"requests": {"cpu": cpu}}}, meta={"generation": generation})


def runs_with(cpu: str, **more: Any) -> PodSeen:
    return PodSeen(containers={"c": Seen(state="running", resources={"requests": {"cpu": cpu}}, **more)})


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.wishes = Wishes(asking("1"), record())

    def say(self, kind: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    def weigh(self, why: Refusal | None = None) -> bool:
        return self.wishes.weigh(lambda _: why, self.say)

    @property
    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]

    @property
    def cpu(self) -> str:
        return str(self.wishes.pod.app_containers[0].tree["resources"]["requests"]["cpu"])


def record(granted: dict[str, Any] | None = None) -> PodRecord:
    return PodRecord(uid="u-1", namespace="ns", name="p", tree=asking("1").tree, started_at="", granted=granted)


def test_a_wish_is_granted_and_its_end_is_told() -> None:
    told = Told()
    assert not told.weigh()
    told.wishes.hear(asking("2", 2))
    assert told.cpu == "1"
    assert told.weigh()
    assert told.cpu == "2"
    told.wishes.look(runs_with("1"), told.say)
    told.wishes.look(runs_with("2"), told.say)
    told.wishes.look(runs_with("2"), told.say)
    assert told.reasons == ["ResizeStarted", "ResizeCompleted"]
    assert json.loads(told.events[0][1].removeprefix("Pod resize started: ")) == {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}],
        "generation": 2,
    }


def test_a_wish_that_cannot_be_granted_waits_and_may_be_taken_back() -> None:
    told = Told()
    told.wishes.hear(asking("2", 2))
    assert not told.weigh(SHORT)
    assert not told.weigh(SHORT)
    assert told.reasons == ["ResizeDeferred"]
    assert told.wishes.pending == ("Deferred", SHORT.message)
    assert told.cpu == "1"
    told.wishes.hear(asking("1", 3))
    assert not told.weigh(SHORT)
    assert told.wishes.pending == ("", "")


def test_a_wish_that_fails_is_told_once() -> None:
    told = Told()
    told.wishes.hear(asking("2", 2))
    told.weigh()
    for _ in range(2):
        told.wishes.look(runs_with("1", resize_error="EBUSY"), told.say)
    assert told.reasons == ["ResizeStarted", "ResizeError"]
    told.wishes.look(runs_with("2"), told.say)
    assert told.reasons[-1] == "ResizeCompleted"


def test_an_agent_that_starts_again_knows_what_was_granted() -> None:
    wishes = Wishes(asking("3", 3), record({"c": {"requests": {"cpu": "2"}}}))
    assert wishes.pod.app_containers[0].tree["resources"] == {"requests": {"cpu": "2"}}
    before = Wishes(asking("3", 3), record())  # written by an agent that knew nothing of this
    assert before.pod.app_containers[0].tree["resources"] == {"requests": {"cpu": "1"}}
