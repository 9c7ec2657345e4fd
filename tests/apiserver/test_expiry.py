"""Events are forgotten an hour after they were last written, whatever the wall clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apiserver.wire import Wire, served
from clusterip.apiserver.expiry import Ages, forget_events
from clusterip.clock import ManualClock, rfc3339

EVENTS = "/api/v1/namespaces/default/events"
NOON = datetime(2026, 5, 1, tzinfo=UTC)


class Jumping(ManualClock):
    """A clock whose wall may be set."""

    def jump(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def event(name: str, when: datetime) -> dict:
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    return {"metadata": {"name": name}, "involvedObject": involved, "lastTimestamp": rfc3339(when)}


async def names(wire: Wire) -> list[str]:
    return [item["metadata"]["name"] for item in (await wire.ok("GET", EVENTS))["items"]]


@pytest.mark.parametrize("jump", [0, 86_400, -86_400])
def test_old_events_go_and_fresh_ones_stay(jump: int) -> None:
    clock = Jumping(NOON)

    async def body(wire: Wire) -> None:
        core = wire.api.server.core
        ages = Ages(core.store.revision)

        async def passes(seconds: int) -> int:
            gone = 0
            for _ in range(0, seconds, 300):
                ages.note(clock.monotonic(), core.store.revision)
                clock.advance(300)
                gone += await forget_events(core, ages)
            return gone

        await wire.ok("POST", EVENTS, event("old", clock.now()))
        await wire.ok("POST", EVENTS, event("again", clock.now()))
        assert await passes(2700) == 0
        clock.jump(jump)
        assert await passes(300) == 0
        await wire.ok("PATCH", f"{EVENTS}/again", {"lastTimestamp": rfc3339(clock.now())}, type="merge")
        await wire.ok("POST", EVENTS, event("later", clock.now()))
        assert await passes(900) == 1
        assert await names(wire) == ["again", "later"]
        assert await passes(3600) == 2

    served(body, clock=clock)


def test_events_of_a_former_start_are_judged_by_their_dates() -> None:
    clock = Jumping(NOON)

    async def body(wire: Wire) -> None:
        core = wire.api.server.core
        await wire.ok("POST", EVENTS, event("old", NOON - timedelta(hours=2)))
        await wire.ok("POST", EVENTS, event("fresh", NOON))
        clock.advance(10)
        tree = await wire.ok("GET", f"{EVENTS}/old")
        tree["metadata"].pop("creationTimestamp")
        ages = Ages(core.store.revision)
        clock.advance(3000)
        assert await forget_events(core, ages) == 0  # both were made an hour ago at most
        clock.advance(1000)
        assert await forget_events(core, ages) == 2

    served(body, clock=clock)


def test_ages_are_known_to_a_mark() -> None:
    ages = Ages(0)
    for minute in range(0, 200, 5):
        ages.note(minute * 60.0, minute)
    assert ages.older(30 * 60.0, timedelta(hours=1)) == 0
    assert ages.older(62 * 60.0, timedelta(hours=1)) == 0
    assert ages.older(65 * 60.0, timedelta(hours=1)) == 5
    assert ages.older(65 * 60.0, timedelta(hours=1)) == 5
    assert ages.older(180 * 60.0, timedelta(hours=1)) == 120
