"""What is told of the proxy's work: health, metrics, events, health checks of Services, the Lease, log lines.

Stage: status.  In: reports of the families.  Out: calls to those who tell it on.
Rules: nothing here decides; a report never waits.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

from clusterip.clock import Clock
from clusterip.proxy.census import Census
from clusterip.proxy.events import ServiceEvents
from clusterip.proxy.family import Programmed
from clusterip.proxy.health import Health
from clusterip.proxy.healthchecks import HealthChecks
from clusterip.proxy.metrics import ip_family
from clusterip.proxy.model import Family
from clusterip.proxy.programmed import ProgrammedLease

logger = logging.getLogger(__name__)

FAILURES = {
    "nftables": "sync_proxy_rules_nftables_sync_failures_total",
    "iptables": "sync_proxy_rules_iptables_restore_failures_total",
}


class Telling:
    """The reports of all families, as readers want them."""

    def __init__(
        self,
        mode: str,
        clock: Clock,
        health: Health,
        events: ServiceEvents,
        checks: HealthChecks,
        lease: ProgrammedLease,
    ) -> None:
        self._mode, self._clock = mode, clock
        self._health, self._events, self._checks, self._lease = health, events, checks, lease
        self.census = Census(health.metrics)
        self._backends: Mapping[Family, Any] = {}

    def follow(self, backends: Mapping[Family, Any]) -> None:
        """Tell also what backends know by themselves."""
        self._backends = backends
        self.census.follow(backends.values())

    def queued(self, family: Family) -> None:
        self._health.queued(family)
        self._lease.queued(family)

    def programmed(self, programmed: Programmed) -> None:
        family, more = programmed.family, programmed.more_waits
        self._health.updated(family, queued_again=more)
        self._lease.programmed(family, programmed.slices_revision, more_waits=more)
        self._checks.programmed(programmed.synced.plan)
        self._events.conflicts(programmed.snapshot)
        for key, scheduler, instead in getattr(self._backends.get(family), "unknown_schedulers", ()):
            self._events.unknown_scheduler(key, scheduler, instead)
        self.census.programmed(programmed.snapshot, more_waits=more)
        self._measure(programmed)
        self._log(programmed)

    def _measure(self, programmed: Programmed) -> None:
        synced, metrics = programmed.synced, self._health.metrics
        kind, family = "full" if synced.was_full else "partial", ip_family(programmed.family)
        metrics.observe("sync_proxy_rules_duration_seconds", synced.seconds, ip_family=family)
        metrics.observe(f"sync_{kind}_proxy_rules_duration_seconds", synced.seconds, ip_family=family)
        now = self._clock.now().timestamp()
        for moment in programmed.triggers:
            metrics.observe("network_programming_duration_seconds", max(0.0, now - moment), ip_family=family)

    def _log(self, programmed: Programmed) -> None:
        synced = programmed.synced
        values = {
            "ipFamily": ip_family(programmed.family),
            "changes": synced.changes,
            "services": len(synced.plan.services),
            "seconds": f"{synced.seconds:.4f}",
        }
        if synced.was_full:
            logger.info("Full sync", extra={"kv": values})
        logger.debug("Synced", extra={"kv": values})

    def intact(self, family: Family) -> None:
        """A look that found nothing wrong is as good as a sync."""
        self._health.updated(family)

    def failed(self, family: Family) -> None:
        if name := FAILURES.get(self._mode):
            self._health.metrics.count(name, ip_family=ip_family(family))

    def refused(self, part: Hashable, why: str) -> None:
        self._events.refused(part, why)

    def settled(self, family: Family, deleted: int, seconds: float) -> None:
        name, metrics = ip_family(family), self._health.metrics
        metrics.count("conntrack_reconciler_deleted_entries_total", deleted, ip_family=name)
        metrics.observe("conntrack_reconciler_sync_duration_seconds", seconds, ip_family=name)
        if deleted:
            logger.info("Deleted conntrack entries of UDP endpoints that are gone", extra={"kv": {"count": deleted}})
