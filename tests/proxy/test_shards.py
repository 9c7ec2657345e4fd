"""A mapping that shares what did not change is a mapping like others, and never changes itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.proxy.shards import Shards

CHANGES = st.lists(
    st.tuples(st.dictionaries(st.integers(0, 999), st.text(max_size=2)), st.lists(st.integers(0, 999))), max_size=6
)


@given(CHANGES)
def test_it_holds_what_a_dict_would(changes: list[tuple[dict[int, str], list[int]]]) -> None:
    shards: Shards[int, str] = Shards()
    for put, remove in changes:
        before, copied = shards, dict(shards.items())
        shards = shards.changed(put, remove)
        expected = {key: value for key, value in copied.items() if key not in remove} | put
        assert dict(before.items()) == copied
        assert (dict(shards.items()), len(shards)) == (expected, len(expected))
        assert sorted(shards) == sorted(shards.keys()) == sorted(expected)
        assert sorted(shards.values()) == sorted(expected.values())
        assert shards == expected
        assert all(key in shards and shards[key] == shards.get(key) == value for key, value in expected.items())


def test_what_is_not_there() -> None:
    shards: Shards[str, int] = Shards[str, int]().changed({"a": 1})
    assert (shards.get("b"), shards.get("b", 2), "b" in shards) == (None, 2, False)
    with pytest.raises(KeyError):
        shards["b"]


def test_values_that_did_not_change_are_the_same_objects() -> None:
    values = {number: [number] for number in range(1000)}
    before = Shards[int, list[int]]().changed(values)
    after = before.changed({5: [6]}, [7])
    assert [key for key in range(1000) if after.get(key) is not before[key]] == [5, 7]
