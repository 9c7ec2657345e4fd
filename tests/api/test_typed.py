"""Trees of a known structure: faults in upstream's words, field sets, merging, taking fields out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.schema import Node
from clusterip.api.typed import element_text, faults, fields_of, merged, paths, told, with_structures, without

SERVICE = Node(type="ref", ref="io.k8s.api.core.v1.Service")
VALUE, NUMERIC = "&value.valueUnstructured{Value:", "expected numeric (int or float), got string"


def service(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"ports": list(ports), **spec}}


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"spec": {"selectr": {}}}, ".spec.selectr: field not declared in schema"),
        ({"spec": {"ports": {}}}, f".spec.ports: expected list, got {VALUE}map[string]interface {{}}{{...}}}}"),
        ({"spec": "x"}, f'.spec: expected map, got {VALUE}"x"}}'),
        ({"spec": {"type": 1}}, f".spec.type: expected string, got {VALUE}1}}"),
        (service({"port": "x"}), '.spec.ports[port="x",protocol="TCP"].port: ' + NUMERIC),
        (service({"port": 1}, {"port": 1}), '.spec.ports: duplicate entries for key [port=1,protocol="TCP"]'),
        (service(publishNotReadyAddresses="x"), f'.spec.publishNotReadyAddresses: expected boolean, got {VALUE}"x"}}'),
        ({"metadata": {"finalizers": ["a", "a"]}}, '.metadata.finalizers: duplicate entries for key [="a"]'),
    ],
)
def test_what_a_structure_does_not_allow(tree: dict[str, Any], fault: str) -> None:
    assert faults(tree, SERVICE) == [fault]


def test_several_faults_are_told_together() -> None:
    found = faults({"spec": {"a": 1}, "b": 2}, SERVICE)
    assert told(found) == "errors:\n  .spec.a: field not declared in schema\n  .b: field not declared in schema"


def test_fields_are_leaves_items_and_entries() -> None:
    tree = {"metadata": {"labels": {"a": "b"}}, "spec": {"ports": [{"port": 80}], "selector": {"x": "y"}}}
    assert sorted(paths(fields_of(tree, SERVICE))) == [
        ".metadata.labels.a",
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=80,protocol="TCP"].port',
        ".spec.selector",
    ]


def test_an_empty_map_is_owned_and_an_empty_list_is_not() -> None:
    assert fields_of({"metadata": {"labels": {}}, "spec": {"ports": []}}, SERVICE) == {"f:metadata": {"f:labels": {}}}


def test_structures_on_the_way_become_members() -> None:
    fields = fields_of({"metadata": {"labels": {"a": "b"}}}, SERVICE)
    assert list(paths(with_structures(fields, SERVICE))) == [".metadata", ".metadata.labels", ".metadata.labels.a"]


def test_what_is_emptied_goes() -> None:
    tree = service({"port": 80}, {"port": 81}, type="ClusterIP")
    first, second = ('k:{"port":80,"protocol":"TCP"}', 'k:{"port":81,"protocol":"TCP"}')
    left = without(tree, {"f:spec": {"f:ports": {first: {}}}}, SERVICE)
    assert left == service({"port": 81}, type="ClusterIP")
    left = without(tree, {"f:spec": {"f:ports": {first: {}, second: {}}}}, SERVICE)
    assert left == {"metadata": {"name": "s"}, "spec": {"type": "ClusterIP"}}


@pytest.mark.parametrize(
    ("live", "wanted", "order"),
    [
        ("ab", "c", "abc"),
        ("abc", "ca", "bca"),
        ("axb", "ba", "xba"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
        ("axbyc", "abc", "axbyc"),
        ("abc", "axc", "abxc"),
    ],
)
def test_merged_lists_keep_what_only_the_live_one_has_in_its_place(live: str, wanted: str, order: str) -> None:
    found = merged({"metadata": {"finalizers": list(live)}}, {"metadata": {"finalizers": list(wanted)}}, SERVICE)
    assert "".join(found["metadata"]["finalizers"]) == order


def test_merging_goes_into_items_and_leaves_the_rest() -> None:
    live = service({"port": 80, "protocol": "TCP", "nodePort": 30000}, clusterIP="10.96.0.1")
    found = merged(live, service({"port": 80, "name": "x"}), SERVICE)
    assert found["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "nodePort": 30000, "name": "x"}]
    assert found["spec"]["clusterIP"] == "10.96.0.1"


LABELS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xy"), max_size=4)
PORTS = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 4), "name": st.sampled_from("xy")}),
    max_size=4,
    unique_by=lambda p: p["port"],
)
TREES = st.builds(lambda labels, ports: {"metadata": {"labels": labels}, "spec": {"ports": ports}}, LABELS, PORTS)


@given(TREES, TREES)
def test_merging_keeps_every_field_of_both_and_every_wish(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = merged(live, wanted, SERVICE)
    ours = set(paths(fields_of(found, SERVICE)))
    wishes = set(paths(fields_of(wanted, SERVICE)))
    assert {path for path in wishes if path != ".metadata.labels"} <= ours
    assert merged(found, wanted, SERVICE) == found
    assert found["metadata"]["labels"] == {**live["metadata"]["labels"], **wanted["metadata"]["labels"]}


@given(TREES)
def test_nothing_is_left_without_all_fields(tree: dict[str, Any]) -> None:
    everything = with_structures(fields_of(tree, SERVICE), SERVICE)
    left = without(tree, everything, SERVICE) or {}
    assert set(paths(fields_of(left, SERVICE))) <= {".metadata.labels"}


def test_path_elements() -> None:
    assert element_text('k:{"port":80,"protocol":"TCP"}') == '[port=80,protocol="TCP"]'
    assert element_text('v:"x"') == '[="x"]'
    assert element_text("f:spec") == ".spec"
