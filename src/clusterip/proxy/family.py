"""One IP family of a node: objects are collected, planned, programmed, and old flows are settled.

Stage: snapshot to commit.  In: objects, by the informers' calls.  Out: the kernel, through one backend; reports.
Rules: nothing is written before `run`; both families of a node have their own, and share nothing but the informers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from clusterip.clock import Clock
from clusterip.kernel.conntrack import Conntrack
from clusterip.proxy.backends import Backend
from clusterip.proxy.conntrack import Settling
from clusterip.proxy.endpoints import ADDRESS_TYPES
from clusterip.proxy.model import Family, Node, Plan, Snapshot
from clusterip.proxy.objects import EndpointSlice, Service
from clusterip.proxy.pace import Periods
from clusterip.proxy.plan import Planner
from clusterip.proxy.repairs import Repairs
from clusterip.proxy.runner import Runner, Synced
from clusterip.proxy.snapshot import Collector

logger = logging.getLogger(__name__)

ObjectName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Programmed:
    """What the kernel has now, and when the pods changed that brought it about."""

    family: Family
    synced: Synced
    snapshot: Snapshot
    slices_revision: str
    triggers: tuple[float, ...]
    more_waits: bool


class Reports(Protocol):
    """Who is told what a family does."""

    def queued(self, family: Family) -> None: ...

    def programmed(self, programmed: Programmed) -> None: ...

    def intact(self, family: Family) -> None: ...

    def failed(self, family: Family) -> None: ...

    def refused(self, part: Hashable, why: str) -> None: ...

    def settled(self, family: Family, deleted: int, seconds: float) -> None: ...


class FamilyProxy:
    """A collector, a planner, a backend, its runner and a settler."""

    def __init__(
        self,
        backend: Backend[Any, Any],
        node: Node,
        periods: Periods,
        reports: Reports,
        clock: Clock,
        *,
        conntrack: Conntrack,
        slices_revision: Callable[[], str],
    ) -> None:
        self.backend, self.family = backend, backend.family
        self._reports, self._clock = reports, clock
        self._slices_revision = slices_revision
        self._collector, self._planner = Collector(node), Planner()
        self.runner: Runner[Any, Any] = Runner(
            backend,
            self._make_plan,
            clock,
            periods=periods,
            on_synced=self._on_synced,
            on_intact=lambda: reports.intact(self.family),
            on_failed=lambda: reports.failed(self.family),
            on_refused=reports.refused,
        )
        self._repairs = Repairs(backend.mode, self._repair)
        self._settling = Settling(conntrack, clock, partial(reports.settled, self.family))
        self._started = False
        self._triggers: list[float] = []  # of changes that no plan has yet
        self._planned_triggers: list[float] = []  # of those that a plan has, not yet the kernel
        self._began = 0.0
        self._planned_revision = ""
        self._snapshot = Snapshot(node)
        self.programmed_once = asyncio.Event()

    @property
    def node(self) -> Node:
        return self._collector.node

    # -- what comes in -------------------------------------------------------------------------------------------------

    def on_service(self, key: ObjectName, old: Service | None, new: Service | None) -> None:
        self._collector.on_service(key, old, new)
        self._changed()

    def on_slice(self, key: ObjectName, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """Slices of the other family and of names are none of ours."""
        before, now = (
            found if found and found.address_type == ADDRESS_TYPES[self.family] else None for found in (old, new)
        )
        if before is None and now is None:
            return
        self._collector.on_slice(key, before, now)
        if self._started and now and (moment := trigger_time(now)) and moment >= self._began:
            self._triggers.append(moment)
        self._changed()

    def on_node(self, node: Node) -> None:
        if self._collector.on_node(node):
            self._changed()

    def _changed(self) -> None:
        self._reports.queued(self.family)
        if self._started:
            self.runner.wake()

    def _repair(self) -> None:
        self._reports.queued(self.family)
        self.runner.doubt()

    # -- what goes out -------------------------------------------------------------------------------------------------

    def _make_plan(self) -> Plan:
        self._planned_revision = self._slices_revision()
        self._planned_triggers += self._triggers
        self._triggers.clear()
        self._snapshot = self._collector.snapshot()
        return self._planner.plan(self._snapshot)

    def _on_synced(self, synced: Synced) -> None:
        triggers, self._planned_triggers = tuple(self._planned_triggers), []
        more = self.runner.is_awake
        self._reports.programmed(
            Programmed(self.family, synced, self._snapshot, self._planned_revision, triggers, more)
        )
        self._settling.programmed(synced.plan)
        self.programmed_once.set()

    async def run(self) -> None:
        """Program and settle until cancelled; all that was collected so far is the first plan."""
        async with self.backend.watch(self._repairs.on_foreign), asyncio.TaskGroup() as group:
            group.create_task(self._settling.run(), name=f"conntrack {self.family.name}")
            self._started, self._began = True, self._clock.now().timestamp()
            self.runner.wake()
            await self.runner.run()


def trigger_time(found: EndpointSlice) -> float | None:
    """When the pod changed that made this slice change."""
    annotations = found.metadata.annotations
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(annotations.trigger_time).timestamp() if annotations else None
    return None
