"""What a pod's priority class means for it, and what may not be said beside it."""

from __future__ import annotations

from typing import Any

from apiserver.wire import PODS, Wire, account, pod, served

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
SAID = "must not be provided in pod spec; priority admission controller computed"


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "value": 7, **fields}


async def refused(wire: Wire, **spec: Any) -> str:
    code, tree = await wire("POST", PODS, pod("p", **spec))
    assert (code, tree["reason"]) == (403, "Forbidden")
    return str(tree["message"])


def test_a_class_gives_its_value() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", CLASSES, named("low", preemptionPolicy="Never"))
        made = (await wire.ok("POST", PODS, pod("a", priorityClassName="low", priority=7)))["spec"]
        assert (made["priority"], made["preemptionPolicy"]) == (7, "Never")
        plain = (await wire.ok("POST", PODS, pod("b")))["spec"]
        assert (plain["priority"], plain["preemptionPolicy"]) == (0, "PreemptLowerPriority")
        assert "priorityClassName" not in plain
        await wire.ok("POST", CLASSES, named("usual", value=3, globalDefault=True))
        usual = (await wire.ok("POST", PODS, pod("c")))["spec"]
        assert (usual["priority"], usual["priorityClassName"]) == (3, "usual")

    served(run)


def test_what_the_class_does_not_say_is_refused() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", CLASSES, named("low", preemptionPolicy="Never"))
        told = await refused(wire, priority=5)
        assert (
            told
            == f'pods "p" is forbidden: the integer value of priority (5) {SAID} 0 from the given PriorityClass name'
        )
        assert "computed 7" in await refused(wire, priorityClassName="low", priority=8)
        told = await refused(wire, priorityClassName="low", preemptionPolicy="PreemptLowerPriority")
        assert f"the string value of PreemptionPolicy (PreemptLowerPriority) {SAID} Never" in told
        assert "no PriorityClass with name high was found" in await refused(wire, priorityClassName="high")

    served(run)


def test_one_class_is_the_default() -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", CLASSES, named("a", globalDefault=True))
        await wire.ok("POST", CLASSES, named("b"))
        code, tree = await wire("POST", CLASSES, named("c", globalDefault=True))
        assert code == 403
        assert tree["message"].endswith("PriorityClass a is already marked as default. Only one default can exist")
        default = {"globalDefault": True}
        assert (await wire("PATCH", f"{CLASSES}/b", default, type="merge"))[0] == 403
        await wire.ok("PATCH", f"{CLASSES}/a", {"description": "mine", **default}, type="merge")

    served(run)
