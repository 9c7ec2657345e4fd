"""What is told: each report reaches those who tell it on."""

from __future__ import annotations

from typing import cast

import pytest

from clusterip.api.meta import ObjectKey
from clusterip.client.rest import Client
from clusterip.clock import ManualClock
from clusterip.proxy.events import Recorder, ServiceEvents
from clusterip.proxy.family import Programmed
from clusterip.proxy.health import Health
from clusterip.proxy.healthchecks import HealthChecks
from clusterip.proxy.model import Conflict, Family, Frontend, HealthCheck, Node, Plan, ServicePlan, Snapshot
from clusterip.proxy.programmed import ProgrammedLease
from clusterip.proxy.runner import Synced
from clusterip.proxy.telling import Telling

WEB, OTHER = ObjectKey("default", "web"), ObjectKey("default", "other")


class Told:
    """A recorder that keeps reasons."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def event(self, involved: object, type: str, reason: str, message: str, *, key: str = "") -> None:
        self.reasons.append(reason)


class Listening:
    """Everybody who is told."""

    def __init__(self, mode: str = "nftables") -> None:
        clock, self.told = ManualClock(), Told()
        self.health = Health(clock)
        self.checks = HealthChecks(lambda: True)
        self.lease = ProgrammedLease(cast(Client, None), "node-1", lambda: "9", clock)
        events = ServiceEvents(cast(Recorder, self.told), "node-1", lambda key: "")
        self.telling = Telling(mode, clock, self.health, events, self.checks, self.lease)

    def count(self, name: str, **labels: str) -> float:
        return self.health.metrics.value(name, **labels)


def programmed(*, more_waits: bool = False, triggers: tuple[float, ...] = ()) -> Programmed:
    node = Node("node-1")
    conflict = {OTHER: (Conflict(Frontend(None, "tcp", 30080), WEB),)}
    plan = Plan(node, {WEB: ServicePlan({}, health=HealthCheck(31000, 2))}, revision=1)
    synced = Synced(plan, 3, 0.002, was_full=True)
    return Programmed(Family.IPV4, synced, Snapshot(node, {}, conflict, revision=1), "7", triggers, more_waits)


def test_what_is_programmed_is_told_to_all() -> None:
    found = Listening()
    found.telling.queued(Family.IPV4)
    assert found.lease.progress.passed == 0
    found.telling.programmed(programmed(triggers=(0.0,)))
    assert found.health.is_ready
    assert found.lease.progress.passed == 9
    assert found.checks.local_endpoints(WEB) == 2
    assert found.told.reasons == ["FrontendConflict"]
    assert "sync_full_proxy_rules_duration_seconds_count" in found.health.metrics.render()


def test_what_waits_is_not_passed() -> None:
    found = Listening()
    found.telling.programmed(programmed(more_waits=True))
    assert found.lease.progress.passed == 7


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("nftables", "sync_proxy_rules_nftables_sync_failures_total"),
        ("iptables", "sync_proxy_rules_iptables_restore_failures_total"),
    ],
)
def test_failures_are_counted_by_mode(mode: str, name: str) -> None:
    found = Listening(mode)
    found.telling.failed(Family.IPV4)
    assert found.count(name, ip_family="IPv4") == 1


def test_refusals_and_flows_are_told() -> None:
    found = Listening("userspace")
    found.telling.failed(Family.IPV4)
    found.telling.refused(WEB, "too large")
    found.telling.refused("shared", "too large")
    found.telling.settled(Family.IPV6, 3, 0.1)
    assert found.told.reasons == ["FailedToProgramService"]
    assert found.count("conntrack_reconciler_deleted_entries_total", ip_family="IPv6") == 3


def test_a_look_that_finds_nothing_wrong_counts_as_a_sync() -> None:
    found = Listening()
    found.telling.intact(Family.IPV4)
    assert found.health.is_ready


class Backend:
    """One that wants something that does not exist."""

    family = Family.IPV4
    unknown_schedulers = ((WEB, "best", "rr"),)


def test_a_scheduler_that_nobody_knows_is_told_once() -> None:
    found = Listening("ipvs")
    found.telling.follow({Family.IPV4: Backend()})
    for _ in range(2):
        found.telling.programmed(programmed())
    assert found.told.reasons == ["FrontendConflict", "UnknownIPVSScheduler"]
