"""Sealed parts are handed on as they are; whoever looks into one ends the attempt, and the whole object is taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.wire import CONFIGMAPS, PODS, SERVICES, Wire, account, config_map, pod, served, service
from clusterip.api.meta import copied
from clusterip.apiserver.cache import Entry, encode, encoded
from clusterip.apiserver.sealed import PAUSE, Opened, Sealed, Sparing, is_sealed

TREE = {"metadata": {"name": "a", "labels": {}}, "spec": {"x": [1, {"y": "}\"'"}]}, "status": {}, "data": None}

LOOKS: list[Callable[[Any], object]] = [
    lambda part: part["x"],
    lambda part: part.get("x"),
    lambda part: "x" in part,
    lambda part: part or {},
    lambda part: not part,
    lambda part: list(part),
    lambda part: {**part},
    lambda part: len(part),
    lambda part: isinstance(part, dict),
    lambda part: part.__class__ is dict,
    lambda part: part == {},
    lambda part: part != Sealed(b"{}"),
    lambda part: {"spec": part} == {"spec": {}},
    lambda part: str(part),
    lambda part: f"{part}",
    lambda part: repr(part),
    lambda part: {part},
    lambda part: copy.deepcopy(part),
    lambda part: copied(part),
    lambda part: copied({"spec": part}),
]


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_into_a_part_ends_the_attempt(look: Callable[[Any], object]) -> None:
    with pytest.raises(Opened):
        look(Sealed(b'{"x":1}'))


def test_a_part_is_the_same_as_itself() -> None:
    part = Sealed(b"{}")
    assert part == part
    assert not part != part  # noqa: SIM202
    assert {"spec": part} == {"spec": part}
    assert is_sealed(part)
    assert not is_sealed({})


def entry(tree: dict[str, Any]) -> Entry:
    value, parts = encoded(tree)
    return Entry("default/a", value, 7, 5, {}, parts)


def test_the_metadata_alone_is_decoded_and_all_else_goes_back_as_it_was() -> None:
    made = entry(TREE)
    tree = made.spared()
    assert list(tree) == ["metadata", "spec", "status", "data"]
    assert tree["metadata"] == {"resourceVersion": "7", "name": "a", "labels": {}}
    assert [tree[name].raw for name in ("spec", "status", "data")] == [b'{"x":[1,{"y":"}\\"\'"}]}', b"{}", b"null"]
    assert encoded(tree) == encoded(TREE)


def test_an_entry_that_does_not_know_its_parts_shows_the_whole() -> None:
    made = Entry("default/a", encode(TREE), 7, 5)
    assert made.spared() == made.tree()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=12,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda name: name not in ("metadata", "apiVersion", "kind")
)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(st.text('ab{}":,'), VALUES, max_size=3))
def test_whatever_the_parts_are(rest: dict[str, Any], labels: dict[str, Any]) -> None:
    tree = {"metadata": {"name": "a", "labels": labels}, **rest}
    assert orjson.loads(encode(tree)) == tree
    tree_again = entry(tree).spared()
    assert encoded(tree_again) == encoded(tree)
    if rest:
        assert all(orjson.loads(tree_again[name].raw) == value for name, value in rest.items())


def test_after_a_look_the_kind_pauses() -> None:
    sparing, tried = Sparing(), []

    def attempt() -> str:
        tried.append("sealed")
        raise Opened

    answers = [sparing.made(attempt, lambda: "whole") for _ in range(PAUSE + 2)]
    assert answers == ["whole"] * (PAUSE + 2)
    assert len(tried) == 2


def test_an_attempt_that_ends_well_is_the_answer() -> None:
    assert Sparing().made(lambda: "sealed", lambda: "whole") == "sealed"


# --- over the wire ---------------------------------------------------------------------------------------------------

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LABELS = {"app": "a"}
DEPLOYMENT = {
    "metadata": {"name": "NAME"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
    },
}
KINDS: dict[str, tuple[str, Any]] = {
    "pods": (PODS, pod("NAME", volumes=[{"name": "v", "emptyDir": {}}])),
    "deployments": (DEPLOYMENTS, DEPLOYMENT),
    "services": (SERVICES, service("NAME", selector=LABELS)),
    "configmaps": (CONFIGMAPS, config_map("NAME", k='}{"')),
}
CHANGES: list[dict[str, Any]] = [
    {"annotations": {"example.com/a": "1"}},
    {"labels": {"l": "2"}, "annotations": {"example.com/a": "3", "example.com/b": '"}'}},
    {"annotations": {"example.com/a": None}, "finalizers": ["example.com/f"]},
    {"finalizers": None, "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]},
]


def without_chance(tree: Any, name: str) -> Any:
    """An object without what no two objects share."""
    tree = orjson.loads(orjson.dumps(tree).replace(name.encode(), b"NAME"))
    for field in ("uid", "resourceVersion", "creationTimestamp"):
        tree["metadata"].pop(field)
    for manager in tree["metadata"]["managedFields"]:
        manager.pop("time")
    spec = tree.get("spec") or {}
    for field in ("clusterIP", "clusterIPs", "volumes"):
        spec.pop(field, None)
    for container in spec.get("containers") or ():
        container.pop("volumeMounts", None)
    return tree


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_of_the_metadata_makes_the_same_object_as_one_that_sees_all_of_it(kind: str) -> None:
    path, tree = KINDS[kind]

    async def body(wire: Wire) -> None:
        await account(wire)
        for name in ("left-one", "right-one"):
            await wire.ok("POST", path, {**tree, "metadata": {"name": name}})
        for number, change in enumerate(CHANGES):
            before = await wire.ok("GET", f"{path}/left-one")
            media = "merge" if number % 2 else "strategic"
            left = await wire.ok("PATCH", f"{path}/left-one", {"metadata": change}, type=media)
            # the other one names its kind's data too, so that nothing is sealed
            extra: dict[str, Any] = {"spec": {}} if kind != "configmaps" else {"data": {}}
            right = await wire.ok("PATCH", f"{path}/right-one", {"metadata": change, **extra}, type=media)
            assert without_chance(left, "left-one") == without_chance(right, "right-one")
            assert {**before, "metadata": None} == {**left, "metadata": None}
            assert await wire.ok("GET", f"{path}/left-one") == left

    served(body)


def test_pods_are_not_looked_into() -> None:
    async def body(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("a"))
        for number in range(3):
            change = {"metadata": {"annotations": {"n": str(number)}}}
            await wire.ok("PATCH", f"{PODS}/a", change, type="merge")
        found = wire.api.server.core.registry.find("", "v1", "pods")
        assert found is not None
        assert found.sparing.paused == 0

    served(body)


def test_a_refusal_of_sealed_parts_is_the_usual_one() -> None:
    async def body(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", PODS, pod("a"))
        status, refused = await wire("PATCH", f"{PODS}/a", {"metadata": {"labels": {"-": "x"}}}, type="merge")
        assert (status, refused["details"]["causes"][0]["field"]) == (422, "metadata.labels")
        status, refused = await wire("PATCH", f"{PODS}/none", b"{", type="merge")
        assert status == 404
        mirrored = {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}
        status, refused = await wire("PATCH", f"{PODS}/a", mirrored, type="merge")
        assert status == 422

    served(body)


def test_a_policy_sees_all_of_an_object_whose_metadata_is_patched() -> None:
    async def body(wire: Wire) -> None:
        group = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}
        says = "object.data.k != 'no' || !('asked' in object.metadata.annotations)"
        spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": says}]}
        await wire.ok("POST", f"{group}ies", {"metadata": {"name": "p"}, "spec": spec})
        bound = {"policyName": "p", "validationActions": ["Deny"]}
        await wire.ok("POST", f"{group}ybindings", {"metadata": {"name": "b"}, "spec": bound})
        change = {"metadata": {"annotations": {"asked": "1"}}}
        for name, wanted in (("yes", 200), ("no", 422), ("yes", 200), ("no", 422)):
            await wire("POST", CONFIGMAPS, config_map(name, k=name))
            status, told = await wire("PATCH", f"{CONFIGMAPS}/{name}", change, type="merge")
            assert status == wanted, told

    served(body)
