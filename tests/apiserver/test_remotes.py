"""What an APIService says of another server, and what that server's discovery and schemas become here."""

from __future__ import annotations

from typing import Any

from clusterip.apiserver.remotes import from_aggregated, from_list, merged_schema, remote_of

SPEC = {"group": "g.io", "version": "v1", "groupPriorityMinimum": 7, "versionPriority": 9, "caBundle": "YQ=="}
SERVICE = {"namespace": "ns", "name": "s", "port": 444}


def test_an_apiservice_with_a_service_is_a_remote() -> None:
    tree: dict[str, Any] = {"metadata": {"name": "v1.g.io"}, "spec": SPEC}
    assert remote_of(tree) is None
    found = remote_of({**tree, "spec": {**SPEC, "service": SERVICE}})
    assert found is not None
    assert (found.key, found.host, found.port, found.place) == (("g.io", "v1"), "s.ns.svc", 444, "apis/g.io/v1")
    assert (found.priority, found.bundle, found.freshness) == ((7, 9), "YQ==", "Stale")
    said = {"conditions": [{"type": "Available", "status": "True"}]}
    found = remote_of({**tree, "spec": {**SPEC, "service": SERVICE}, "status": said})
    assert found is not None
    assert found.available


def test_the_old_form_of_discovery_is_shown_in_the_new_one() -> None:
    entries = [
        {"name": "lamps/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        {"name": "lamps", "singularName": "lamp", "namespaced": True, "kind": "Lamp", "verbs": ["list"]},
        {"name": "orphans/status", "kind": "Orphan", "verbs": ["get"]},
    ]
    lamps, orphans = from_list(entries, "g.io", "v1")
    assert lamps["responseKind"] == {"group": "g.io", "version": "v1", "kind": "Lamp"}
    assert (lamps["scope"], lamps["singularResource"], lamps["verbs"]) == ("Namespaced", "lamp", ["list"])
    scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert lamps["subresources"] == [{"subresource": "scale", "responseKind": scale, "verbs": ["get"]}]
    assert (orphans["resource"], orphans["subresources"][0]["subresource"]) == ("orphans", "status")


def test_the_new_form_is_taken_as_it_is_but_for_missing_kinds() -> None:
    nothing = {"group": "", "version": "", "kind": ""}
    lamp = {"resource": "lamps", "scope": "Cluster", "verbs": ["get"], "subresources": [{"subresource": "status"}]}
    whole = {"items": [{"metadata": {"name": "g.io"}, "versions": [{"version": "v1", "resources": [lamp]}]}]}
    found = from_aggregated(whole, "g.io", "v1")
    assert found is not None
    assert (found[0]["responseKind"], found[0]["subresources"][0]["responseKind"]) == (nothing, nothing)
    assert from_aggregated(whole, "g.io", "v2") is None
    assert from_aggregated(whole, "other", "v1") is None


def test_of_another_schema_its_own_paths_count_and_our_definitions_stand() -> None:
    ours = {"swagger": "2.0", "paths": {"/api/": 1}, "definitions": {"A": 1}}
    theirs = {"paths": {"/api/": 2, "/apis/g.io/v1": 3, "/apis/g.io/v1/x": 4, "/apis/g.io/v11": 5}}
    merged = merged_schema(ours, [("apis/g.io/v1", {**theirs, "definitions": {"A": 2, "B": 3}})])
    assert merged["paths"] == {"/api/": 1, "/apis/g.io/v1": 3, "/apis/g.io/v1/x": 4}
    assert merged["definitions"] == {"A": 1, "B": 3}
    assert ours["paths"] == {"/api/": 1}
