"""managedFields beside those that kube-apiserver 1.36 recorded, and the rules behind them."""

import json

import pytest
import yaml

from api.answered import FOLDER, unmasked
from clusterip.api import managedfields, schema
from clusterip.api.completion import complete
from clusterip.api.decoding import decode
from clusterip.api.managedfields import update_managed
from clusterip.api.meta import Tree, copied, gvk_of
from clusterip.api.patch import json_patch, merge_patch, strategic_merge
from clusterip.api.resources import RESOURCES

NOW = "2026-01-02T03:04:05Z"
LATER = "2026-01-02T03:05:00Z"
GROUPS = ("services", "objects", "networking", "workloads", "forms")


def resource_of(path: str):
    """The record of a path, and its subresource."""
    parts = path.partition("?")[0].strip("/").split("/")
    head, rest = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
    rest = rest[2:] if rest[:1] == ["namespaces"] and len(rest) > 2 else rest
    version = head[1] if parts[0] == "api" else "/".join(head[1:])
    found = [r for r in RESOURCES if r.api_version == version and rest and r.plural == rest[0]]
    return (found[0] if found else None), (rest[2] if len(rest) > 2 else "")


EDITS = {
    "merge": lambda live, body, schema: merge_patch(live, body),
    "jsonpatch": lambda live, body, schema: json_patch(live, body),
    "strategic": strategic_merge,
}


def writes(group: str):
    """Every recorded write that went well: (label, record, subresource, object before or None, object sent, answer)."""
    scenarios = yaml.safe_load((FOLDER / "scenarios" / f"{group}.yaml").read_text())
    answers = json.loads((FOLDER / "answers" / f"{group}.json").read_text())
    for scenario in scenarios:
        stored: dict[tuple[str, str], Tree] = {}
        for number, (step, answer) in enumerate(zip(scenario["steps"], answers[scenario["name"]], strict=True), 1):
            method, path = step["do"].split(" ", 1)
            resource, subresource = resource_of(path)
            body = answer.get("body")
            if resource is None or not isinstance(body, dict) or answer["status"] not in (200, 201):
                continue
            if body.get("kind") != resource.kind or "name" not in body.get("metadata", {}):
                stored.clear()  # something else was written (a binding, a scale): what is stored is no longer known
                continue
            key = (resource.kind, body["metadata"]["name"])
            if method in ("POST", "PUT", "PATCH") and isinstance(step.get("body"), (dict, list)):
                live = stored.get(key)
                if method == "PATCH" and live is not None:
                    sent = EDITS[step["type"]](live, step["body"], resource.schema)
                else:
                    sent = copied(step["body"])
                if method == "POST" or live is not None:
                    yield f"{scenario['name']} {number}", resource, subresource, live, sent, body
            if "dryRun" not in path:
                stored[key] = unmasked(body)


def comparable(entries):
    return sorted(({k: v for k, v in e.items() if k != "time"} for e in entries or ()), key=json.dumps)


@pytest.mark.parametrize("group", GROUPS)
def test_entries_are_those_that_kube_apiserver_keeps(group):
    judged = 0
    for label, resource, subresource, live, sent, answer in writes(group):
        tree = decode({"kind": resource.kind, "apiVersion": resource.api_version, **sent}, resource.schema).tree
        resource.default(tree)
        got = update_managed(
            live, tree, "Python-urllib", "Update", subresource, resource.api_version, NOW, resource.schema
        )
        want = [{key: e[key] for key in sorted(e)} for e in answer["metadata"].get("managedFields", [])]
        assert comparable([{key: e[key] for key in sorted(e)} for e in got]) == comparable(want), label
        judged += 1
    assert judged


def config_map(data=None, **metadata) -> Tree:
    tree: Tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}}
    return {**tree, "data": data} if data else tree


def written(live, new, manager, now=NOW, subresource=""):
    entries = update_managed(live, new, manager, "Update", subresource, "v1", now)
    stored = {**copied(new), "metadata": {**new["metadata"], "managedFields": entries}}
    name = schema.kinds().get(gvk_of(new))
    return (complete(stored, name) if name else stored), entries


def test_an_update_takes_over_what_it_changes():
    first, _ = written(None, config_map({"a": "1", "b": "1"}), "one")
    _, entries = written(first, config_map({"a": "1", "b": "2", "c": "3"}), "two", LATER)
    assert {e["manager"]: e["fieldsV1"] for e in entries} == {
        "one": {"f:data": {".": {}, "f:a": {}}},
        "two": {"f:data": {"f:b": {}, "f:c": {}}},
    }
    assert [(e["manager"], e["time"]) for e in entries] == [("one", NOW), ("two", LATER)]


def test_what_is_removed_is_nobodys_and_an_empty_entry_goes():
    first, _ = written(None, config_map({"a": "1"}), "one")
    second, entries = written(first, config_map(labels={"x": "y"}), "two")
    assert entries == [
        {
            "manager": "two",
            "operation": "Update",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}},
        }
    ]
    _, entries = written(second, config_map(), "three")
    assert entries == []


def test_an_update_that_changes_nothing_changes_no_entry():
    first, before = written(None, config_map({"a": "1"}), "one")
    _, after = written(first, config_map({"a": "1"}), "two", LATER)
    assert after == before


def test_identity_is_nobodys():
    _, entries = written(None, config_map(uid="u", resourceVersion="1", generation=2, creationTimestamp=NOW), "one")
    assert entries == []


def test_each_subresource_has_its_own_entry():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "n"}}
    first, _ = written(None, pod, "one")
    _, entries = written(first, {**pod, "status": {"phase": "Running"}}, "one", LATER, "status")
    assert [(e["manager"], e.get("subresource")) for e in entries] == [("one", None), ("one", "status")]
    assert entries[1]["fieldsV1"] == {"f:status": {"f:phase": {}}}


def test_a_status_sent_to_the_object_itself_is_not_owned():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"phase": "Running"}}
    assert written(None, pod, "one")[1] == []


def test_a_request_may_clear_all_entries_but_not_by_leaving_them_out():
    first, before = written(None, config_map({"a": "1"}), "one")
    _, kept = written(first, config_map({"a": "1"}, managedFields=[]), "two")
    assert kept == before
    _, cleared = written(first, config_map({"a": "1"}, managedFields=[{}]), "two")
    assert cleared == []


def test_entries_that_no_server_wrote_are_not_taken():
    first, before = written(None, config_map({"a": "1"}), "one")
    _, kept = written(first, config_map({"a": "1"}, managedFields=[{"manager": "x", "operation": "Guess"}]), "two")
    assert kept == before


def test_the_oldest_of_many_updaters_become_one():
    tree, entries = written(None, config_map({"k0": "0"}), "m0")
    for n in range(1, 13):
        data = {f"k{i}": str(i) for i in range(n + 1)}
        tree, entries = written(tree, config_map(data), f"m{n}", f"2026-01-02T03:05:{n:02}Z")
    assert len(entries) == managedfields.MOST_UPDATERS
    ancient = next(e for e in entries if e["manager"] == managedfields.ANCIENT)
    assert {"f:k0", "f:k1"} <= ancient["fieldsV1"]["f:data"].keys()


def test_a_kind_without_structure_is_managed_too():
    tree = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"n": 1, "l": [1]}}
    _, entries = written(None, tree, "one")
    assert entries[0]["fieldsV1"] == {"f:spec": {".": {}, "f:l": {}, "f:n": {}}}


def test_a_definition_of_ones_own():
    known = schema.definition("io.k8s.api.core.v1.ConfigMap")
    entries = update_managed(None, config_map({"a": "1"}), "", "Update", "", "v1", NOW, known)
    assert (entries[0]["manager"], entries[0]["fieldsV1"]) == ("unknown", {"f:data": {".": {}, "f:a": {}}})
