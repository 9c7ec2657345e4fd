import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api import patch
from clusterip.api.errors import ApiError
from clusterip.api.meta import copied

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~-0", max_size=2), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("ab/~", max_size=2), JSON, max_size=4)


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def merge_diff(old, new):
    """The merge patch that turns old into new; both without nulls."""
    out = {key: None for key in old if key not in new}
    for key, value in new.items():
        have = old.get(key)
        if isinstance(have, dict) and isinstance(value, dict):
            out[key] = merge_diff(have, value)
        elif key not in old or not patch.same(have, value):
            out[key] = value
    return out


def json_diff(old, new, path=""):
    """The JSON patch that turns old into new."""
    if patch.same(old, new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        at = {key: f"{path}/{key.replace('~', '~0').replace('/', '~1')}" for key in {**old, **new}}
        gone = [{"op": "remove", "path": at[key]} for key in old if key not in new]
        added = [{"op": "add", "path": at[key], "value": new[key]} for key in new if key not in old]
        return gone + added + [op for key in new if key in old for op in json_diff(old[key], new[key], at[key])]
    if isinstance(old, list) and isinstance(new, list) and old[: len(new)] == new[: len(old)] and len(new) > len(old):
        return [{"op": "add", "path": f"{path}/-", "value": item} for item in new[len(old) :]]
    return [{"op": "replace", "path": path, "value": new}]


@given(OBJECTS.map(without_nulls), OBJECTS.map(without_nulls))
def test_merge_patches_turn_anything_into_anything(old, new):
    before, change = copied(old), merge_diff(old, new)
    assert patch.merge_patch(old, change) == new
    assert old == before
    assert patch.merge_patch(new, merge_diff(new, new)) == new


@given(OBJECTS, OBJECTS)
def test_json_patches_turn_anything_into_anything(old, new):
    before = copied(old)
    assert patch.same(patch.json_patch(old, json_diff(old, new)), new)
    assert patch.same(old, before)


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_idempotent_and_leaves_no_null_in_maps(old, change):
    once = patch.merge_patch(without_nulls(old), change)
    assert patch.merge_patch(once, change) == once


# The examples of RFC 7386, appendix A, of objects.
@pytest.mark.parametrize(
    ("old", "change", "new"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(old, change, new):
    assert patch.merge_patch(old, change) == new


# The examples of RFC 6902, appendix A.
@pytest.mark.parametrize(
    ("old", "operations", "new"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "q"}], {"foo": ["bar", "q", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"baz": 1}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        ({"foo": [1, 2, 3, 4]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}], {"foo": [1, 3, 4, 2]}),
        ({"baz": "q", "foo": ["a", 2]}, [{"op": "test", "path": "/foo/1", "value": 2}], {"baz": "q", "foo": ["a", 2]}),
        ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"x": {}}}], {"foo": "bar", "child": {"x": {}}}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["a"]}], {"foo": ["bar", ["a"]]}),
        ({"foo": {"a": 1}}, [{"op": "copy", "from": "/foo", "path": "/bar"}], {"foo": {"a": 1}, "bar": {"a": 1}}),
        ({"foo": [1, 2]}, [{"op": "replace", "path": "/foo/-1", "value": 3}], {"foo": [1, 3]}),
        ({"foo": 1}, [{"op": "replace", "path": "/new", "value": 3}], {"foo": 1, "new": 3}),
        ({"foo": 1}, [{"op": "test", "path": "/none", "value": None}], {"foo": 1}),
    ],
)
def test_json_patch(old, operations, new):
    before = copied(old)
    assert patch.json_patch(old, operations) == new
    assert old == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/n", "value": True},
        {"op": "test", "path": "/n", "value": 1.0},
        {"op": "test", "path": "/a/5", "value": 1},
        {"op": "remove", "path": "/nothing"},
        {"op": "remove", "path": "/a/2"},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/a/3", "value": 1},
        {"op": "add", "path": "/n/x", "value": 1},
        {"op": "add", "path": "/a/one", "value": 1},
        {"op": "add", "path": "", "value": {}},
        {"op": "replace", "path": "", "value": 7},
        {"op": "move", "path": "/b", "from": "/nothing"},
        {"op": "copy", "path": "/b"},
        {"op": "merge", "path": "/b"},
        {"path": "/b"},
        {"op": "add"},
    ],
)
def test_an_operation_that_fails_is_a_422_and_changes_nothing(operation):
    tree = {"n": 1, "a": [1, 2]}
    with pytest.raises(ApiError) as raised:
        patch.json_patch(tree, [{"op": "add", "path": "/first", "value": 1}, operation])
    assert (raised.value.code, raised.value.reason, raised.value.details) == (422, "Invalid", {})
    assert raised.value.message == "the server rejected our request due to an error in our request"
    assert tree == {"n": 1, "a": [1, 2]}


@pytest.mark.parametrize(
    ("apply", "body", "why"),
    [
        (patch.merge_patch, [], "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (patch.json_patch, {}, "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (patch.json_patch, ["x"], "json: cannot unmarshal string into Go value of type handlers.jsonPatchOp"),
        (
            patch.json_patch,
            [{"op": 1}],
            "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
        ),
    ],
)
def test_a_patch_of_the_wrong_form(apply, body, why):
    with pytest.raises(ApiError) as raised:
        apply({}, body)
    assert (raised.value.code, raised.value.message) == (400, f"error decoding patch: {why}")


def test_a_small_patch_cannot_make_a_huge_object():
    double = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(40)]
    with pytest.raises(ApiError):
        patch.json_patch({"a": {"x": "y" * 1000}}, double)


def test_what_a_patch_made_is_told():
    error = patch.refused({"spec": {"ports": [{"port": "x"}]}}, {}, True, "why")
    assert error.message == ' "" is invalid: patch: Invalid value: "map[spec:map[ports:[map[port:x]]]]": why'
    assert (
        patch.refused({}, {"a": 1}, False, "why").message == ' "" is invalid: patch: Invalid value: "{\\"a\\":1}": why'
    )


# --- what is shared with the old tree ---------------------------------------------------------------------------------

KEPT = {
    "metadata": {"name": "x", "labels": {"a": "1"}, "managedFields": [{"manager": "m"}]},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
    "status": {"phase": "Running"},
}
POD = "io.k8s.api.core.v1.Pod"


@pytest.mark.parametrize(
    ("make", "document"),
    [
        (patch.merge_patch, {"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "2"}}}),
        (patch.json_patch, [{"op": "replace", "path": "/status/phase", "value": "Failed"}]),
        (patch.json_patch, [{"op": "add", "path": "/metadata/labels/b", "value": "2"}]),
        (lambda tree, change, shares: patch.strategic_merge(tree, change, POD, shares=shares), {"status": {"x": "y"}}),
    ],
)
def test_what_a_patch_does_not_speak_of_is_shared_when_asked(make, document):
    before = copied(KEPT)
    old = copied(KEPT)
    new = make(old, document, shares=True)
    assert new["spec"] is old["spec"]
    assert new["metadata"]["managedFields"] is old["metadata"]["managedFields"]
    assert old == before, "the old tree stays as it was"
    assert new == make(old, document, shares=False)
    assert make(old, document, shares=False)["spec"] is not old["spec"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/metadata/managedFields/0"},
        {"op": "add", "path": "/spec/containers/0/image", "value": "j"},
        {"op": "move", "from": "/spec/containers/0/image", "path": "/status/phase"},
        {"op": "replace", "path": "", "value": {"metadata": {}}},
    ],
)
def test_what_a_json_patch_speaks_of_is_its_own(operation):
    old = copied(KEPT)
    patch.json_patch(old, [operation], shares=True)
    assert old == KEPT


@given(OBJECTS, OBJECTS)
def test_sharing_changes_no_result(old, change):
    old = {key: value for key, value in old.items() if key != "metadata"} | {"metadata": {}}
    before = copied(old)
    assert patch.merge_patch(old, change, shares=True) == patch.merge_patch(old, change)
    assert old == before
