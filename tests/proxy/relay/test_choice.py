"""Who gets which endpoint: rotation, memory, and never an endpoint that is not allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clusterip.proxy.relay import choice
from clusterip.proxy.relay.choice import Choice, Sessions
from clusterip.proxy.relay.table import Place

A, B, C = (Place(f"10.244.1.{number}", 8080) for number in (1, 2, 3))


def chooser(*targets: Place, seconds: int = 0, sessions: Sessions | None = None, first: int = 0) -> Choice:
    made = Choice(targets, sessions or Sessions(), first=first)
    made.update(targets, seconds)
    return made


def test_in_turn_from_any_place() -> None:
    for first in (0, 1, 5, 65535):
        made = chooser(A, B, C, first=first)
        found = [made.pick("x", 0) for _ in range(6)]
        assert sorted(map(str, found[:3])) == [str(A), str(B), str(C)]
        assert found[3:] == found[:3]


def test_the_rotation_goes_on_when_endpoints_change() -> None:
    made = chooser(A, B)
    assert made.pick("x", 0) == B
    made.update((A, B, C), 0)
    assert [made.pick("x", 0) for _ in range(3)] == [C, A, B]
    made.update((), 0)
    assert made.pick("x", 0) is None


def test_affinity_is_refreshed_and_ends() -> None:
    made = chooser(A, B, seconds=10)
    first = made.pick("x", 0)
    assert made.pick("y", 0) != first
    assert {made.pick("x", moment) for moment in (5, 14, 23)} == {first}
    made.pick("z", 33)  # the rotation would give x its first endpoint again
    assert made.pick("x", 33.5) != first


def test_affinity_is_shared_in_a_group_as_far_as_allowed() -> None:
    sessions = Sessions()
    wide, local = chooser(A, B, C, seconds=10, sessions=sessions), chooser(B, seconds=10, sessions=sessions)
    assert local.pick("x", 0) == B
    assert wide.pick("x", 1) == B
    assert wide.pick("y", 0) == C
    assert local.pick("y", 1) == B


def test_an_endpoint_that_failed_is_not_given_again_at_once() -> None:
    made = chooser(A, B, seconds=10)
    first = made.pick("x", 0)
    other = made.pick("x", 0, again=True)
    assert other != first
    assert made.pick("x", 1) == other


def test_memory_is_bounded(monkeypatch: object) -> None:
    made = chooser(A, B, seconds=10)
    limit, choice.CLIENTS_REMEMBERED = choice.CLIENTS_REMEMBERED, 8
    try:
        for number in range(100):
            made.pick(f"client {number}", 0)
        assert len(made._sessions) == 8
        made.pick("late", 100)
        assert len(made._sessions) == 1
    finally:
        choice.CLIENTS_REMEMBERED = limit


targets = st.lists(st.sampled_from([A, B, C]), unique=True).map(tuple)


@given(st.lists(st.tuples(targets, st.sampled_from(["x", "y"]), st.integers(0, 20), st.booleans(), st.integers(0, 15))))
def test_only_what_is_allowed_is_picked(steps: list[tuple[tuple[Place, ...], str, int, bool, int]]) -> None:
    made, now = chooser(), 0
    for allowed, client, later, again, seconds in steps:
        now += later
        made.update(allowed, seconds)
        found = made.pick(client, now, again=again)
        assert found in allowed if allowed else found is None
