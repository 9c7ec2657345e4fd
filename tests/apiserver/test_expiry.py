"""Events are forgotten an hour after the last time they happened."""

from __future__ import annotations

from datetime import UTC, datetime

from apiserver.wire import Wire, served
from clusterip.apiserver.expiry import forget_events
from clusterip.clock import ManualClock, rfc3339

EVENTS = "/api/v1/namespaces/default/events"


def test_old_events_go_and_fresh_ones_stay() -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))

    def event(name: str) -> dict:
        involved = {"kind": "Pod", "name": "p", "namespace": "default"}
        return {"metadata": {"name": name}, "involvedObject": involved, "lastTimestamp": rfc3339(clock.now())}

    async def body(wire: Wire) -> None:
        await wire.ok("POST", EVENTS, event("old"))
        await wire.ok("POST", EVENTS, event("again"))
        clock.advance(3000)
        again = {"lastTimestamp": rfc3339(clock.now()), "count": 2}
        await wire.ok("PATCH", f"{EVENTS}/again", again, type="merge")
        clock.advance(1000)
        assert await forget_events(wire.api.server.core) == 1
        left = await wire.ok("GET", EVENTS)
        assert [item["metadata"]["name"] for item in left["items"]] == ["again"]

    served(body, clock=clock)
