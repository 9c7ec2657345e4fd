"""Slots: endpoints come and go without one that stays being moved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clusterip.ingress.endpoints import endpoints, fault
from clusterip.ingress.model import Endpoint, Port, Service, Slice, Target
from clusterip.ingress.slots import changes, fill, fresh

ADDRESSES = st.lists(st.integers(1, 30), unique=True, max_size=12).map(
    lambda found: tuple(("10.0.0.1", n) for n in found)
)


@given(ADDRESSES, ADDRESSES)
def test_slots_hold_what_they_should(before: tuple[tuple[str, int], ...], after: tuple[tuple[str, int], ...]) -> None:
    held = fresh(before)
    slots = fill(held, after)
    if slots is None:
        assert len(after) > len(held)
        return
    assert sorted(each for each in slots if each) == sorted(after)
    assert all(slots[held.index(each)] == each for each in before if each in after)
    told = list(held)
    for index, address in changes(held, slots):
        told[index] = address
    assert tuple(told) == slots


def test_a_freed_slot_is_taken_last() -> None:
    held = (("10.0.0.1", 1), None)
    assert fill(held, (("10.0.0.2", 1),)) == (None, ("10.0.0.2", 1))


def test_endpoints_ready_else_those_that_still_serve() -> None:
    web = Service("ns", "web", "ClusterIP", (Port("http", 80), Port("other", 81)), "10.96.0.9")

    def found(*each: Endpoint, port: str | int = 80, upstream: bool = False) -> tuple[tuple[str, int], ...]:
        return endpoints(Target("web", port), web, [Slice("ns", "web", (Port("http", 8080),), each)], upstream)

    ready, ending = Endpoint("10.0.0.1", True, True, False), Endpoint("10.0.0.2", False, True, True)
    gone = Endpoint("10.0.0.3", False, False, True)
    assert found(ready, ending, gone) == (("10.0.0.1", 8080),)
    assert found(ending, gone, port="http") == (("10.0.0.2", 8080),)
    assert found(ready, port="other") == ()
    assert found(ready, upstream=True) == (("10.96.0.9", 80),)
    assert found(ready, port=9) == ()
    assert fault(Target("web", 9), web) == "Service web has no TCP port 9"
