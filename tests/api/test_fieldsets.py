from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.fieldsets import compare, difference, ordered, union, without_subtrees
from clusterip.api.schema import definition

SERVICE = definition("io.k8s.api.core.v1.Service")
POD = definition("io.k8s.api.core.v1.Pod")


def paths(fields, before=()):
    """A set as the paths that are in it: the slow, plain form that the fast one must agree with."""
    out = set()
    for element, node in fields.items():
        if element == ".":
            continue
        if not node or "." in node:
            out.add((*before, element))
        out |= paths(node, (*before, element))
    return out


def from_paths(found):
    out = {}
    for path in sorted(found):
        one = {}
        for element in reversed(path):
            one = {element: one}
        out = union(out, one)
    return out


PATHS = st.sets(st.lists(st.sampled_from(["f:a", "f:b", "f:c"]), min_size=1, max_size=3).map(tuple), max_size=6)


@given(PATHS, PATHS)
def test_sets_of_fields_are_sets(left, right):
    one, other = from_paths(left), from_paths(right)
    assert paths(one) == left
    assert paths(union(one, other)) == left | right
    assert paths(difference(one, other)) == left - right
    assert ordered(one) == one


@given(PATHS)
def test_whole_subtrees_go(found):
    left = paths(without_subtrees(from_paths(found), (("a",), ("b", "c"))))
    assert left == {p for p in found if p[0] != "f:a" and p[:2] != ("f:b", "f:c")}


def test_list_items_are_known_by_their_keys():
    old = {"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "a"}]}}
    new = {"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "b"}, {"port": 81}]}}
    got = compare(old, new, SERVICE)
    assert got.modified == {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:name": {}}}}}
    assert got.added == {"f:spec": {"f:ports": {'k:{"port":81,"protocol":"TCP"}': {".": {}, "f:port": {}}}}}
    assert got.removed == {}


def test_what_is_atomic_is_one_field():
    got = compare({"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"b": "2"}, "clusterIPs": ["x"]}}, SERVICE)
    assert got.modified == {"f:spec": {"f:selector": {}}}
    assert got.added == {"f:spec": {"f:clusterIPs": {}}}


def test_sets_of_texts():
    got = compare({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}, SERVICE)
    assert got.added == {"f:metadata": {"f:finalizers": {'v:"b"': {}}}}
    assert got.removed == {"f:metadata": {"f:finalizers": {'v:"a"': {}}}}


def test_maps_come_and_go_whole():
    got = compare({"metadata": {}}, {"metadata": {"labels": {"a": "1"}, "annotations": {}}}, SERVICE)
    assert got.added == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:annotations": {}}}
    back = compare({"metadata": {"labels": {"a": "1"}}}, {"metadata": {}}, SERVICE)
    assert back.removed == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}


def test_items_with_the_same_key_are_one():
    old = {"spec": {"containers": [{"name": "c"}, {"name": "c", "image": "x"}]}}
    got = compare(old, {"spec": {"containers": [{"name": "c"}]}}, POD)
    assert got.modified == {"f:spec": {"f:containers": {'k:{"name":"c"}': {}}}}


def test_without_a_definition_maps_are_granular_and_lists_atomic():
    got = compare({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2, "c": [2], "d": {"e": 1}}}, None)
    assert got.modified == {"f:a": {"f:b": {}, "f:c": {}}}
    assert got.added == {"f:a": {"f:d": {".": {}, "f:e": {}}}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["spec", "ports", "port", "selector", "name"]), inner, max_size=3)
    ),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from(["spec", "metadata", "status"]), JSON)


@given(TREES, TREES)
def test_what_one_way_adds_the_other_removes(old, new):
    there, back = compare(old, new, SERVICE), compare(new, old, SERVICE)
    assert there.added == back.removed
    assert there.removed == back.added
    assert there.modified == back.modified
    assert compare(old, old, SERVICE) == ({}, {}, {})


@given(st.sampled_from(["spec", "status"]), st.text("ab", max_size=2))
def test_a_set_that_loses_nothing_stays_the_very_same(field, name):
    left = {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {".": {}, "f:x": {}}}
    assert difference(left, {f"f:{field}": {f"f:not-{name}": {}}}) is left
    assert difference(left, {"f:spec": {"f:x": {}}}) == {"f:metadata": left["f:metadata"], "f:spec": {}}


def test_sets_in_order_have_a_union_in_order():
    left, right = {"f:b": {}, "f:d": {"f:x": {}}}, {"f:a": {}, "f:d": {".": {}, "f:a": {}}}
    both = union(left, right)
    assert list(both) == ["f:a", "f:b", "f:d"]
    assert list(both["f:d"]) == [".", "f:a", "f:x"]
