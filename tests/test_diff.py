"""One diff: what it says turns the old state into the new one, and nothing is said twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clusterip.diff import Changes, diff, diff_parts, patched, with_due

STATES = st.dictionaries(st.integers(0, 5), st.integers(0, 2))


@given(STATES, STATES)
def test_the_changes_lead_from_old_to_new(old: dict[int, int], new: dict[int, int]) -> None:
    changes = diff(old, new)
    assert patched(old, changes) == new
    assert bool(changes) == (old != new)
    assert not any(old.get(key) == value for key, value in changes.put.items())


def test_a_changed_value_is_removed_and_put() -> None:
    assert diff({"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "d": 1}) == Changes({"b": 2, "d": 1}, {"b": 1, "c": 1})
    assert len(diff({"a": 1}, {"a": 2})) == 2


def test_parts_that_are_the_same_object_are_not_looked_at() -> None:
    class Untouchable(dict[str, int]):
        def items(self) -> object:  # type: ignore[override]
            raise AssertionError

    same = Untouchable(a=1)
    assert diff_parts({"p": same, "q": {"b": 1}}, {"p": same, "q": {"b": 2}}) == Changes({"b": 2}, {"b": 1})


def test_a_key_that_moves_between_parts_stays() -> None:
    assert not diff_parts({"p": {"a": 1}, "q": {}}, {"p": {}, "q": {"a": 1}})
    assert diff_parts({"p": {"a": 1}}, {"q": {"a": 2}}) == Changes({"a": 2}, {"a": 1})
    assert with_due(Changes({"a": 1}), {"a": 1, "b": 2}) == Changes({}, {"b": 2})
