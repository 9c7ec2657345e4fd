"""Watchers of one selection share their frames and get all of them in order; who takes nothing is left out."""

from __future__ import annotations

import asyncio
from typing import Any

from clusterip.apiserver.cache import Change, Collection, Entry
from clusterip.apiserver.fanout import AT_ONCE, SLOW, Fan, Frame, fan_of


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.sizes: list[int] = []
        self.buffered = 0
        self.is_cut = False

    def give(self, framed: bytes) -> int:
        if self.is_cut:
            raise ConnectionResetError
        self.got.append(framed)
        return self.buffered

    def abort(self) -> None:
        self.is_cut = True


def change(number: int) -> Change:
    return Change("ADDED", Entry(f"default/{number}", b'{"metadata":{}}', number, number), None)


def frame(heard: Change) -> bytes:
    return b"%d," % heard.revision


def join(fan: Fan, key: str, number: int, telling: Frame, sink: Any) -> None:
    def fell_behind() -> None:
        fan.leave(key, number)
        sink.is_cut = True

    fan.join(key, number, telling, sink, sink.sizes, fell_behind)


def made(count: int) -> tuple[Collection, Fan, list[Any]]:
    collection = Collection("/registry//things/", {})
    fan = fan_of(collection)
    sinks: list[Any] = [Told() for _ in range(count)]
    for number, sink in enumerate(sinks):
        join(fan, "all", number, frame, sink)
    return collection, fan, sinks


async def settle(sinks: list[Any], wanted: bytes) -> None:
    async with asyncio.timeout(30):
        while any(b"".join(sink.got) != wanted for sink in sinks if not sink.is_cut):  # noqa: ASYNC110 - every turn
            await asyncio.sleep(0)


def test_everyone_is_told_everything_in_order() -> None:
    async def run() -> None:
        collection, _, sinks = made(3 * AT_ONCE)
        for number in range(1, 6):
            collection.apply(change(number))
            await asyncio.sleep(0)  # some of a round
        await settle(sinks, b"1,2,3,4,5,")
        assert len({id(sink.got[0]) for sink in sinks}) < len(sinks), "buffers are shared"

    asyncio.run(run())


def test_what_comes_at_once_is_written_at_once() -> None:
    async def run() -> None:
        collection, _, sinks = made(2)
        for number in range(1, 4):
            collection.apply(change(number))
        await settle(sinks, b"1,2,3,")
        assert [sink.got for sink in sinks] == [[b"1,2,3,"]] * 2
        assert sinks[0].sizes == [2, 2, 2]

    asyncio.run(run())


def test_who_joins_in_the_middle_of_a_round_hears_what_comes_later() -> None:
    async def run() -> None:
        collection, fan, sinks = made(2 * AT_ONCE)
        collection.apply(change(1))
        await asyncio.sleep(0)
        late: Any = Told()
        join(fan, "all", 1000, frame, late)
        collection.apply(change(2))
        await settle(sinks, b"1,2,")
        await settle([late], b"2,")

    asyncio.run(run())


def test_who_leaves_is_told_no_more_and_takes_nothing_from_the_others() -> None:
    async def run() -> None:
        collection, fan, sinks = made(3)
        collection.apply(change(1))
        await settle(sinks, b"1,")
        fan.leave("all", 1)
        collection.apply(change(2))
        await settle([sinks[0], sinks[2]], b"1,2,")
        assert sinks[1].got == [b"1,"]

    asyncio.run(run())


def test_selections_are_judged_once_for_all_their_watchers() -> None:
    async def run() -> None:
        collection, fan, sinks = made(2)
        judged = []
        others: list[Any] = [Told() for _ in range(50)]

        def even(heard: Change) -> bytes:
            judged.append(heard.revision)
            return b"" if heard.revision % 2 else frame(heard)

        for number, sink in enumerate(others):
            join(fan, "even", 100 + number, even, sink)
        for number in range(1, 5):
            collection.apply(change(number))
        await settle(sinks, b"1,2,3,4,")
        await settle(others, b"2,4,")
        assert judged == [1, 2, 3, 4]

    asyncio.run(run())


def test_who_falls_behind_leaves_and_the_others_go_on() -> None:
    async def run() -> None:
        collection, _, sinks = made(3)
        sinks[0].buffered = SLOW + 1
        for number in range(1, 4):
            collection.apply(change(number))
            await asyncio.sleep(0)
        await settle(sinks, b"1,2,3,")
        assert sinks[0].got == [b"1,"]
        assert not sinks[1].is_cut

    asyncio.run(run())


def test_what_cannot_be_told_ends_those_who_asked_for_it_so() -> None:
    def unable(heard: Change) -> bytes:
        raise ValueError(heard.revision)

    async def run() -> None:
        collection, fan, sinks = made(2)
        lost: Any = Told()
        join(fan, "other form", 7, unable, lost)
        collection.apply(change(1))
        await settle(sinks, b"1,")
        assert lost.is_cut

    asyncio.run(run())
