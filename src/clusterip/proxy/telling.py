"""What is told of the proxy's work: health, metrics, log lines.

Stage: status.  In: reports of the families.  Out: Health, Metrics, the log.
Rules: nothing here decides; a report never waits.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable

from clusterip.clock import Clock
from clusterip.proxy.events import ServiceEvents
from clusterip.proxy.family import Programmed
from clusterip.proxy.health import Health
from clusterip.proxy.metrics import ip_family
from clusterip.proxy.model import Family

logger = logging.getLogger(__name__)


class Telling:
    """The reports of all families, as readers want them."""

    def __init__(self, health: Health, mode: str, clock: Clock, events: ServiceEvents) -> None:
        self._health, self._mode, self._clock, self._events = health, mode, clock, events

    def queued(self, family: Family) -> None:
        self._health.queued(family)

    def programmed(self, programmed: Programmed) -> None:
        self._health.updated(programmed.family, queued_again=programmed.more_waits)
        synced, metrics = programmed.synced, self._health.metrics
        kind, family = "full" if synced.was_full else "partial", ip_family(programmed.family)
        metrics.observe("sync_proxy_rules_duration_seconds", synced.seconds, ip_family=family)
        metrics.observe(f"sync_{kind}_proxy_rules_duration_seconds", synced.seconds, ip_family=family)
        now = self._clock.now().timestamp()
        for moment in programmed.triggers:
            metrics.observe("network_programming_duration_seconds", max(0.0, now - moment), ip_family=family)
        self._events.conflicts(programmed.snapshot)
        self._log(programmed)

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

    def failed(self, family: Family) -> None:
        if self._mode == "nftables":
            self._health.metrics.count("sync_proxy_rules_nftables_sync_failures_total", ip_family=ip_family(family))

    def refused(self, part: Hashable, why: str) -> None:
        self._events.refused(part, why)

    def settled(self, family: Family, deleted: int, seconds: float) -> None:
        self._health.metrics.count("conntrack_reconciler_deleted_entries_total", deleted, ip_family=ip_family(family))
        name = "conntrack_reconciler_sync_duration_seconds"
        self._health.metrics.observe(name, seconds, ip_family=ip_family(family))
        if deleted:
            logger.info("Deleted conntrack entries of UDP endpoints that are gone", extra={"kv": {"count": deleted}})
