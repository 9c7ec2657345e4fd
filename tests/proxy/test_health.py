"""What the probes say."""

from __future__ import annotations

import json

from clusterip.clock import ManualClock
from clusterip.proxy.health import Health
from clusterip.proxy.model import Family

BEGIN = "2026-01-01T00:00:00.000000Z"
BOTH = (Family.IPV4, Family.IPV6)


def report(health: Health, *, node: bool = True) -> tuple[int, dict[str, object]]:
    answer = health.report(health.is_ready if node else health.is_live, node)
    assert answer.headers == (("X-Content-Type-Options", "nosniff"),)
    return answer.status, json.loads(answer.body)


def test_ready_after_the_first_sync() -> None:
    clock = ManualClock()
    health = Health(clock)
    assert (health.is_live, health.is_ready) == (True, False)
    assert report(health) == (
        503,
        {"lastUpdated": "0001-01-01T00:00:00Z", "currentTime": BEGIN, "nodeEligible": True, "healthy": True},
    )
    health.queued(Family.IPV4)
    health.updated(Family.IPV4)
    clock.advance(5)
    now = "2026-01-01T00:00:05.000000Z"
    assert report(health) == (
        200,
        {
            "lastUpdated": now,
            "currentTime": now,
            "nodeEligible": True,
            "healthy": True,
            "status": {"IPv4": {"lastUpdated": BEGIN, "healthy": True}},
        },
    )


def test_unhealthy_when_a_change_waits_too_long() -> None:
    clock = ManualClock()
    health = Health(clock, patience_seconds=60)
    health.queued(Family.IPV4)
    health.updated(Family.IPV4)
    clock.advance(1000)
    assert health.is_ready, "nothing to do is healthy"
    health.queued(Family.IPV4)
    clock.advance(59)
    health.queued(Family.IPV4)
    assert health.is_ready
    clock.advance(2)
    assert (health.is_live, health.is_ready) == (False, False)
    status, body = report(health)
    assert (status, body["healthy"], body["lastUpdated"]) == (503, False, BEGIN)
    health.updated(Family.IPV4, queued_again=True)
    assert health.is_ready


def test_one_family_that_hangs_is_enough_and_is_named() -> None:
    clock = ManualClock()
    health = Health(clock, families=BOTH)
    health.updated(Family.IPV4)
    assert not health.is_ready, "the other one was never programmed"
    health.updated(Family.IPV6)
    assert health.is_ready
    health.queued(Family.IPV6)
    clock.advance(61)
    health.updated(Family.IPV4)
    status, body = report(health)
    assert status == 503
    assert body["status"] == {
        "IPv4": {"lastUpdated": "2026-01-01T00:01:01.000000Z", "healthy": True},
        "IPv6": {"lastUpdated": BEGIN, "healthy": False},
    }


def test_a_node_that_leaves_takes_no_more_traffic_but_lives() -> None:
    health = Health(ManualClock())
    health.updated(Family.IPV4)
    health.is_node_eligible = False
    assert report(health)[0] == 503
    status, body = report(health, node=False)
    assert status == 200
    assert "nodeEligible" not in body


def test_moments_are_metrics() -> None:
    health = Health(ManualClock())
    health.queued(Family.IPV6)
    health.updated(Family.IPV6)
    for name in ("last_queued", "last"):
        assert health.metrics.value(f"sync_proxy_rules_{name}_timestamp_seconds", ip_family="IPv6") == 1767225600
