import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.api.meta import (
    GroupVersionKind,
    ObjectKey,
    controller_of,
    copied,
    group_version,
    gvk_of,
    key_of,
    labels_of,
)


def test_names_print_as_upstream_prints_them():
    assert str(ObjectKey("default", "web")) == "default/web"
    assert str(ObjectKey("", "node-1")) == "node-1"
    assert str(GroupVersionKind("", "v1", "Service")) == "/v1, Kind=Service"
    assert gvk_of({"apiVersion": "apps/v1", "kind": "Deployment"}).api_version == "apps/v1"


@pytest.mark.parametrize("text", ["v1", "apps/v1", "discovery.k8s.io/v1"])
def test_api_version_round_trip(text):
    assert str(group_version(text)) == text


def test_an_api_version_with_two_slashes_is_refused():
    with pytest.raises(ValueError, match="unexpected GroupVersion string: a/b/c"):
        group_version("a/b/c")


def test_readers_stand_absent_metadata():
    assert key_of({}) == ObjectKey("", "")
    assert labels_of({"metadata": {"labels": None}}) == {}
    assert controller_of({"metadata": {"ownerReferences": [{"name": "a"}, {"name": "b", "controller": True}]}}) == {
        "name": "b",
        "controller": True,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_a_copy_is_equal_and_shares_nothing(tree):
    twin = copied(tree)
    assert twin == tree
    if isinstance(tree, (dict, list)):
        assert twin is not tree
