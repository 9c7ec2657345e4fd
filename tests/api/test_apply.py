"""Server-side apply on trees: what becomes of the object, and who owns what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusterip.api.apply import LAST_APPLIED, Applied, Applier, Conflicts, apply
from clusterip.api.errors import ApiError
from clusterip.api.managedfields import update_managed

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def config(labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "a", **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def applied(live: dict[str, Any] | None, wanted: dict[str, Any], manager: str = "me", **options: Any) -> dict[str, Any]:
    return stored(apply(live, wanted, Applier(manager, "v1", "", options.pop("now", NOW), **options)))


def stored(found: Applied) -> dict[str, Any]:
    tree = {**found.tree, "metadata": {**found.tree["metadata"], "managedFields": found.managed}}
    return json.loads(json.dumps(tree))


def owners(tree: dict[str, Any]) -> dict[str, list[str]]:
    return {e["manager"]: sorted(e["fieldsV1"].get("f:data", {})) for e in tree["metadata"]["managedFields"]}


def test_what_is_no_longer_said_goes() -> None:
    live = applied(None, config(x="1", y="1"))
    assert applied(live, config(x="1"))["data"] == {"x": "1"}


def test_what_another_says_stays() -> None:
    live = applied(applied(None, config(x="1", y="1")), config(y="1"), "you")
    found = applied(live, config(x="1"))
    assert found["data"] == {"x": "1", "y": "1"}
    assert owners(found) == {"me": ["f:x"], "you": ["f:y"]}


def test_what_an_updater_set_stays() -> None:
    live = applied(None, config(x="1"))
    new = {**live, "data": {"x": "1", "z": "1"}}
    new["metadata"] = {**live["metadata"], "managedFields": update_managed(live, new, "upd", "Update", "", "v1", LATER)}
    assert applied(new, config(x="2"))["data"] == {"x": "2", "z": "1"}


def test_conflicts_name_every_manager_and_field() -> None:
    live = applied(applied(None, config(x="1", y="1")), config(z="1"), "you")
    with pytest.raises(Conflicts) as caught:
        applied(live, config(x="2", y="2", z="2"), "third")
    refusal = caught.value.refusal()
    assert refusal.message == (
        'Apply failed with 3 conflicts: conflicts with "me":\n- .data.x\n- .data.y\nconflicts with "you":\n- .data.z'
    )
    assert refusal.details is not None
    assert len(refusal.details["causes"]) == 3


def test_force_takes_over() -> None:
    live = applied(None, config(x="1", y="1"))
    assert owners(applied(live, config(x="2"), "you", is_forced=True)) == {"me": ["f:y"], "you": ["f:x"]}


def test_time_moves_only_with_the_object() -> None:
    live = applied(None, config(x="1"))
    assert applied(live, config(x="1"), now=LATER)["metadata"]["managedFields"][0]["time"] == NOW
    assert applied(live, config(x="2"), now=LATER)["metadata"]["managedFields"][0]["time"] == LATER


def test_a_new_version_is_the_same_applier() -> None:
    live = applied(None, config(x="1"))
    live["metadata"]["managedFields"][0]["apiVersion"] = "v0"
    assert [e["apiVersion"] for e in applied(live, config(x="2"))["metadata"]["managedFields"]] == ["v1"]


def test_kubectl_takes_over_what_it_applied_client_side() -> None:
    before = config(x="1")
    text = json.dumps(before)
    live = {**before, "metadata": {"name": "a", "annotations": {LAST_APPLIED: text}}}
    live["metadata"] = {
        **live["metadata"],
        "managedFields": update_managed(None, live, "kubectl-client-side-apply", "Update", "", "v1", NOW),
    }
    found = applied(live, config(x="2"), "kubectl")
    assert found["data"] == {"x": "2"}
    assert json.loads(found["metadata"]["annotations"][LAST_APPLIED])["data"] == {"x": "2"}
    with pytest.raises(Conflicts):
        applied(live, config(x="2"), "argo")


def test_kubectl_does_not_take_over_what_changed_since() -> None:
    before = config(x="1")
    live = {**before, "data": {"x": "9"}, "metadata": {"name": "a", "annotations": {LAST_APPLIED: json.dumps(before)}}}
    live["metadata"] = {
        **live["metadata"],
        "managedFields": update_managed(None, live, "hand", "Update", "", "v1", NOW),
    }
    with pytest.raises(Conflicts):
        applied(live, config(x="2"), "kubectl")


def test_a_configuration_that_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ApiError, match=r"failed to create typed patch object \(/a; /v1, Kind=ConfigMap\): \.dat: field not"
    ):
        apply(None, {**config(), "dat": {}}, Applier("me", "v1", "", NOW))


def test_neither_tree_is_changed() -> None:
    live = applied(None, config(x="1", y="1"))
    wanted = config(labels={"a": "b"}, x="2")
    before = json.dumps([live, wanted])
    applied(live, wanted)
    assert json.dumps([live, wanted]) == before
