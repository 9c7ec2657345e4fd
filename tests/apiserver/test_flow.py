"""Fair turns: a greedy flow waits in its own hand of queues, and a modest one goes past it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.apiserver import flow
from clusterip.apiserver.flow import Gate, Lane, Level, Queue, TooMany, deal, seats_of


def level(name: str = "low", seats: int = 2, queues: int = 8, length: int = 50, **more: int) -> Level:
    return Level(name, nominal=seats, queues=[Queue() for _ in range(queues)], hand=2, length=length, **more)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 120))


class Moment:
    """A clock that moves when told."""

    now = 1.0

    def __call__(self) -> float:
        return self.now


async def worked(gate: Gate, lane: Lane, done: list[str], name: str, seats: int = 1) -> None:
    if not gate.enter(lane, seats):
        await gate.wait(lane, seats)
    done.append(name)
    await asyncio.sleep(0)
    gate.leave(lane, seats)


def test_seats_are_taken_and_given_back() -> None:
    async def body() -> None:
        gate, lane = Gate(Moment()), Lane(level(), "s", cards=(0, 1))
        gate.use([lane.level])
        assert gate.enter(lane)
        assert gate.enter(lane)
        assert not gate.enter(lane)
        gate.leave(lane)
        assert gate.enter(lane)
        assert (lane.seats, lane.requests, lane.dispatched) == (2, 2, 3)

    run(body)


def test_a_modest_flow_goes_past_a_greedy_one() -> None:
    async def body() -> None:
        low = level(seats=1)
        gate, greedy, modest = Gate(Moment()), Lane(low, "s", cards=(0, 1)), Lane(low, "s", cards=(2, 3))
        gate.use([low])
        done: list[str] = []
        tasks = [asyncio.ensure_future(worked(gate, greedy, done, "greedy")) for _ in range(60)]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(worked(gate, modest, done, "modest")))
        await asyncio.gather(*tasks)
        assert done.index("modest") <= 4, done
        assert len(done) == 61
        assert (low.seats, low.waiting) == (0, 0)

    run(body)


def test_wide_requests_cost_their_flow_more() -> None:
    async def body() -> None:
        low = level(seats=10)
        gate, lists, gets = Gate(Moment()), Lane(low, "s", cards=(0,)), Lane(low, "s", cards=(1,))
        gate.use([low])
        done: list[str] = []
        tasks = [asyncio.ensure_future(worked(gate, lists, done, "list", 10)) for _ in range(20)]
        tasks += [asyncio.ensure_future(worked(gate, gets, done, "get")) for _ in range(40)]
        await asyncio.gather(*tasks)
        assert done[:30].count("get") >= 20, done

    run(body)


def test_who_finds_its_queues_full_is_refused_and_others_are_not() -> None:
    async def body() -> None:
        low = level(seats=1, length=2)
        gate, greedy, modest = Gate(Moment()), Lane(low, "s", cards=(0, 1)), Lane(low, "s", cards=(2, 3))
        gate.use([low])
        done: list[str] = []
        tasks = [asyncio.ensure_future(worked(gate, greedy, done, "greedy")) for _ in range(20)]
        tasks.append(asyncio.ensure_future(worked(gate, modest, done, "modest")))
        outcome = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [error for error in outcome if isinstance(error, TooMany)]
        assert {error.reason for error in refused} == {"queue-full"}
        assert len(refused) + len(done) == 21
        assert "modest" in done
        assert low.waiting == 0

    run(body)


def test_a_level_without_queues_refuses_at_once() -> None:
    async def body() -> None:
        low = level(seats=1, queues=0)
        gate, lane = Gate(Moment()), Lane(low, "s")
        gate.use([low])
        assert gate.enter(lane)
        with pytest.raises(TooMany, match="concurrency-limit"):
            await gate.wait(lane)

    run(body)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "WAIT_SECONDS", 0.05)

    async def body() -> None:
        low = level(seats=1)
        gate, lane = Gate(Moment()), Lane(low, "s", cards=(0, 1))
        gate.use([low])
        assert gate.enter(lane)
        with pytest.raises(TooMany, match="time-out"):
            await gate.wait(lane)
        assert (low.seats, low.waiting, lane.waiting_seats) == (1, 0, 0)

    run(body)


def test_whoever_leaves_gives_its_place_up() -> None:
    async def body() -> None:
        low = level(seats=1)
        gate, lane = Gate(Moment()), Lane(low, "s", cards=(0, 1))
        gate.use([low])
        assert gate.enter(lane)
        waiting = [asyncio.ensure_future(gate.wait(lane)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert low.waiting == 0
        gate.leave(lane)
        assert low.seats == 0
        assert gate.enter(lane)

    run(body)


def test_the_exempt_never_wait() -> None:
    async def body() -> None:
        gate, lane = Gate(Moment()), Lane(Level("exempt", exempt=True, nominal=0), "exempt")
        gate.use([lane.level])
        assert all(gate.enter(lane) for _ in range(10_000))

    run(body)


def test_a_turn_of_the_loop_that_lasts_long_makes_others_wait_for_the_next() -> None:
    async def body() -> None:
        moment, low = Moment(), level(seats=1000)
        gate, greedy, modest = Gate(moment), Lane(low, "s", cards=(0, 1)), Lane(low, "s", cards=(2, 3))
        gate.use([low])
        done: list[str] = []

        async def slow(lane: Lane, name: str) -> None:
            if not gate.enter(lane):
                await gate.wait(lane)
            moment.now += 0.004  # work that keeps the processor
            done.append(name)
            gate.leave(lane)

        tasks = [asyncio.ensure_future(slow(greedy, "greedy")) for _ in range(300)]
        tasks.append(asyncio.ensure_future(slow(modest, "modest")))
        await asyncio.gather(*tasks)
        assert len(done) == 301
        assert done.index("modest") < 80

    run(body)


def test_idle_seats_are_borrowed_as_far_as_they_are_lent() -> None:
    async def body() -> None:
        lender = level("lender", seats=10, lendable=6)
        busy, strict = level("busy", seats=2), level("strict", seats=2, borrowable=1)
        gate = Gate(Moment())
        gate.use([lender, busy, strict])
        assert gate.limit(busy) == 8
        assert gate.limit(strict) == 3
        lane = Lane(busy, "s", cards=(0,))
        assert sum(gate.enter(lane) for _ in range(20)) == 8
        own = Lane(lender, "s", cards=(0,))
        assert sum(gate.enter(own) for _ in range(20)) >= 10  # what is lent is not lost

    run(body)


@given(st.integers(0, 2**64 - 1), st.integers(1, 200), st.integers(1, 10))
def test_a_hand_holds_different_cards_of_the_deck(number: int, deck: int, hand: int) -> None:
    cards = deal(number, deck, min(hand, deck))
    assert len(set(cards)) == len(cards) == min(hand, deck)
    assert all(0 <= card < deck for card in cards)


def test_seats_are_shared_out() -> None:
    assert seats_of(600, 100, 245) == 245
    assert seats_of(600, 5, 245) == 13
    assert seats_of(600, 0, 0) == 1
