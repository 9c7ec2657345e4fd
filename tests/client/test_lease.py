"""Heartbeats and elections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import virtualtime
from apiserver.serving import serving
from clusterip.apiserver.core import Settings
from clusterip.client.lease import Election, Heartbeat, Seen, decide
from clusterip.client.names import LEASES
from clusterip.clock import ManualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(advertise=("192.168.4.100", 6443))


def lease(holder, transitions=0):
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": 15,
        "leaseTransitions": transitions,
        "acquireTime": "then",
    }
    return {"metadata": {"resourceVersion": "1"}, "spec": spec}


def test_a_free_lease_is_taken():
    assert decide(None, None, "me", 15, NOW, 0)["holderIdentity"] == "me"
    assert decide(lease(""), None, "me", 15, NOW, 0)["holderIdentity"] == "me"


def test_a_held_lease_is_respected_until_it_was_silent_for_long():
    assert decide(lease("you"), None, "me", 15, NOW, 100) is None
    assert decide(lease("you"), Seen("1", 100), "me", 15, NOW, 114) is None
    taken = decide(lease("you", 3), Seen("1", 100), "me", 15, NOW, 116)
    assert (taken["holderIdentity"], taken["leaseTransitions"]) == ("me", 4)


def test_the_holder_renews():
    renewed = decide(lease("me", 3), None, "me", 15, NOW, 0)
    assert (renewed["acquireTime"], renewed["leaseTransitions"]) == ("then", 3)


def test_a_heartbeat_makes_then_renews():
    async def go():
        async with serving(settings=SETTINGS) as api, api.client() as client:
            clock = ManualClock()
            beat = Heartbeat(client, "kube-node-lease", "node-1", clock=clock)
            await beat.beat()
            first = await client.get(LEASES, "node-1", "kube-node-lease")
            clock.advance(10)
            await beat.beat()
            second = await client.get(LEASES, "node-1", "kube-node-lease")
            assert first["spec"]["renewTime"] < second["spec"]["renewTime"]
            assert second["spec"]["holderIdentity"] == "node-1"

    asyncio.run(go())


def test_one_of_two_candidates():
    async def go():
        async with serving(settings=SETTINGS) as api, api.client() as client:
            clock = ManualClock()
            one = Election(client, "kube-system", "x", "one", clock=clock)
            two = Election(client, "kube-system", "x", "two", clock=clock)
            assert await one.attempt()
            assert not await two.attempt()
            clock.advance(10)
            assert await one.attempt()
            clock.advance(10)
            assert not await two.attempt()
            clock.advance(16)
            assert await two.attempt()
            assert not await one.attempt()

    asyncio.run(go())


class Silent:
    """An API server that takes requests and answers none."""

    async def get(self, *_):
        await asyncio.Event().wait()


def test_a_leader_whom_nobody_answers_steps_down_before_others_may_follow():
    async def go():
        election = Election(Silent(), "kube-system", "x", "one", duration_seconds=15, clock=virtualtime.LoopClock())
        await election.keep()
        return asyncio.get_running_loop().time()

    assert virtualtime.run(go()) == 10
