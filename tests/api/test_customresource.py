"""From a definition to records; names and conditions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from clusterip.api.customresource import accepted, resources_of, settled, version_rank
from clusterip.api.meta import copied

NOW = "2026-01-01T00:00:00Z"


def definition(plural: str = "pools", kind: str = "Pool", **version: Any) -> dict[str, Any]:
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    one = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}, **version}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [one]}
    metadata = {"name": f"{plural}.example.com", "uid": plural, "generation": 1}
    return {"metadata": metadata, "spec": spec, "status": {"acceptedNames": names}}


def test_versions_by_stability() -> None:
    names = ["v1beta1", "foo", "v1", "v2alpha1", "v10", "v2", "v1beta2"]
    assert sorted(names, key=version_rank) == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "foo"]


def test_only_served_versions_are_served() -> None:
    crd = definition()
    crd["spec"]["versions"].append({**crd["spec"]["versions"][0], "name": "v2", "served": False})
    assert [each.version for each in resources_of(crd)] == ["v1"]


def test_names_are_free_or_taken() -> None:
    first, second = definition(), definition("basins", "Pool")
    second["status"] = {}
    problem, names = accepted(second, [first])
    assert problem == 'ListKindConflict: "PoolList" is already in use'  # the last one is told
    assert names["plural"] == "basins"
    assert accepted(definition("basins", "Basin"), [first])[0] == ""


def test_conditions_keep_their_time() -> None:
    crd = definition()
    crd["status"] = settled(crd, [], NOW)
    assert [(c["type"], c["status"]) for c in crd["status"]["conditions"]] == [
        ("NamesAccepted", "True"),
        ("Established", "True"),
    ]
    assert settled(crd, [], "2027-01-01T00:00:00Z") == crd["status"]


def test_a_kind_whose_webhook_nobody_can_believe_waits() -> None:
    crd = definition()
    client = {"url": "https://h", "caBundle": "eHg="}
    crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": {"clientConfig": client}}
    found = settled(crd, [], NOW)
    assert [(c["status"], c["reason"]) for c in found["conditions"]] == [
        ("True", "NoConflicts"),
        ("False", "InvalidCABundle"),
    ]
    del client["caBundle"]
    assert [c["status"] for c in settled({**crd, "status": found}, [], NOW)["conditions"]] == ["True", "True"]


def test_an_established_kind_stays_when_its_new_name_is_taken() -> None:
    crd = definition()
    crd["status"] = settled(crd, [], NOW)
    other = definition("lakes", "Lake")
    crd["spec"]["names"] = {**crd["spec"]["names"], "shortNames": ["lakes"]}
    found = settled(crd, [other], NOW)
    assert {c["type"]: c["status"] for c in found["conditions"]} == {"NamesAccepted": "False", "Established": "True"}


def test_columns() -> None:
    columns = [
        {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
        {"name": "When", "type": "date", "jsonPath": ".spec.when"},
        {"name": "Text", "type": "string", "jsonPath": ".spec.list"},
    ]
    (resource,) = resources_of(definition(additionalPrinterColumns=columns))
    tree = {"metadata": {"name": "a"}, "spec": {"n": 2.0, "when": "nonsense", "list": [1]}}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert [column.cell(tree, now) for column in resource.columns] == ["a", 2, "<invalid>", "[1]"]


@pytest.mark.parametrize("has_status", [True, False])
def test_generations(has_status: bool) -> None:
    (resource,) = resources_of(definition(subresources={"status": {}} if has_status else {}))
    old = {"metadata": {"name": "a", "generation": 1}, "spec": {"x": 1}, "status": {"s": 1}}
    new = copied(old)
    new["status"] = {"s": 2}
    resource.prepare_update(new, old)
    assert new["metadata"]["generation"] == (1 if has_status else 2)
    assert new["status"] == ({"s": 1} if has_status else {"s": 2})


def test_the_version_that_is_kept() -> None:
    crd = definition()
    crd["spec"]["versions"].append({**crd["spec"]["versions"][0], "name": "v2", "storage": False})
    assert {each.stored_version for each in resources_of(crd)} == {f"{crd['spec']['group']}/v1"}
