"""After a sync, make the kernel forget UDP flows that lead where no endpoint serves any more.

Stage: commit, after the rules.  In: the plan before and now, flows.  Out: flows to forget.
Rules: `stale` is pure; only UDP: a TCP client notices by itself, and its connection may outlive its Service.  A flow is
old when it answers from a place where the Service has no serving endpoint: one that is gone, or the address that was
asked itself (it began before there were rules for it).  Unlike upstream a Service without endpoints is settled too,
and one that is gone: its clients see the refusal at once, and a Service made anew under the address is not haunted by
old flows.  Traffic policies do not end flows.
Truth: k8s.io/kubernetes pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from clusterip.api.meta import ObjectKey
from clusterip.clock import Clock
from clusterip.kernel.conntrack import Conntrack, Flow
from clusterip.proxy.model import Flows, Frontend, Node, Plan, ServicePlan

logger = logging.getLogger(__name__)

FEW_PORTS = 3  # so many dumps of one port are cheaper than one of all
AGAIN_SECONDS = 0.5  # a packet that was on its way through the old rules is tracked a moment after the new ones
RETRY_SECONDS = (0.2, 1.0, 5.0, 30.0)


class Settler:
    """Remembers what was settled, and looks at flows only when UDP frontends changed."""

    def __init__(self, conntrack: Conntrack) -> None:
        self._conntrack = conntrack
        self._settled: Plan | None = None
        self._recent: Flows = {}

    def prepare(self, plan: Plan) -> Callable[[], int] | None:
        """The work that a new plan brings, to be run in any thread; None when there is none."""
        if self._settled is None:
            return lambda: self._settle_all(plan)
        allowed = self._changed(self._settled, plan)
        if not allowed:
            self._settled = plan
            return None
        return lambda: self._settle(plan, allowed)

    @property
    def is_recent(self) -> bool:
        """Whether there is something to look at again."""
        return bool(self._recent)

    def again(self) -> Callable[[], int] | None:
        """What was settled since the last time that this was asked, once more; None when there is nothing."""
        plan, recent = self._settled, self._recent
        self._recent = {}
        return (lambda: self._look(plan, recent)) if plan and recent else None

    @staticmethod
    def _changed(before: Plan, plan: Plan) -> Flows:
        keys = plan.changed_since(before.revision) if before.revision else None
        return changed_flows(before.services, plan.services, keys)

    def _settle(self, plan: Plan, allowed: Flows) -> int:
        deleted = self._look(plan, allowed)
        self._settled, self._recent = plan, {**self._recent, **allowed}
        return deleted

    def _look(self, plan: Plan, allowed: Flows) -> int:
        ports = {frontend.port for frontend in allowed}
        wanted = ports if len(ports) <= FEW_PORTS else {0}
        flows = [flow for port in wanted for flow in self._conntrack.udp_flows(plan.node.family, port)]
        return self._forget(stale(allowed, plan.node, flows))

    def _settle_all(self, plan: Plan) -> int:
        """The first time nobody knows what was before: another mode, or Services that are gone by now."""
        allowed = changed_flows({}, plan.services)
        flows = self._conntrack.udp_flows(plan.node.family)
        found = stale(allowed, plan.node, flows, relay_is_new=True)
        deleted = self._forget([*found, *orphans(allowed, plan.node, flows)])
        self._settled, self._recent = plan, allowed
        return deleted

    def _forget(self, flows: list[Flow]) -> int:
        return self._conntrack.delete(flows) if flows else 0


class Settling:
    """Settles after each plan, beside the next sync; `programmed` may be called at any time from the loop.

    What fails is tried again, whether or not there is a next sync; in a burst half of the time is left to others.
    """

    def __init__(self, conntrack: Conntrack, clock: Clock, told: Callable[[int, float], None]) -> None:
        self._settler, self._clock, self._told = Settler(conntrack), clock, told
        self._plan: Plan | None = None
        self._news = asyncio.Event()

    def programmed(self, plan: Plan) -> None:
        """The kernel has this plan now."""
        self._plan = plan
        self._news.set()

    async def run(self) -> NoReturn:
        failures = 0
        while True:
            is_new = await self._wait(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1] if failures else None)
            wants_all = is_new or failures
            work = self._settler.prepare(self._plan) if wants_all and self._plan else self._settler.again()
            if work is None:
                failures = 0
                continue
            started = self._clock.monotonic()
            try:
                deleted = await asyncio.to_thread(work)
            except OSError as error:
                failures += 1
                logger.error("Cannot settle conntrack entries, trying again", extra={"kv": {"err": error}})
                continue
            failures = 0
            seconds = self._clock.monotonic() - started
            self._told(deleted, seconds)
            await asyncio.sleep(seconds)

    async def _wait(self, retry_seconds: float | None) -> bool:
        """Whether there is a new plan; else it is time to look again."""
        seconds = retry_seconds or (AGAIN_SECONDS if self._settler.is_recent else None)
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


def changed_flows(
    before: Mapping[ObjectKey, ServicePlan],
    now: Mapping[ObjectKey, ServicePlan],
    keys: Iterable[ObjectKey] | None = None,
) -> Flows:
    """The UDP frontends of Services that changed, and where their flows may go; nowhere for those that are gone."""
    found: dict[Frontend, frozenset[tuple[object, int]]] = {}
    wanted = tuple(before.keys() | now.keys() if keys is None else keys)
    pairs = [(before.get(key), now.get(key)) for key in wanted]
    changed = [(old, new) for old, new in pairs if old is not new]
    for old, _ in changed:
        if old is not None:
            found |= dict.fromkeys(old.flows, frozenset())
    for _, new in changed:
        if new is not None:
            found |= new.flows
    return found


def stale(allowed: Flows, node: Node, flows: Iterable[Flow], *, relay_is_new: bool = False) -> list[Flow]:
    """Flows to one of the frontends whose answers would come from none of the places allowed.

    Those that go to a relay stay, unless it is the one of an earlier proxy, which ends.
    """
    found = []
    for flow in flows:
        places = _places(allowed, node, flow)
        if places is None or (flow.reply.source, flow.reply.source_port) in places:
            continue
        if relay_is_new or not (places and _is_relayed(node, flow)):
            found.append(flow)
    return found


def orphans(allowed: Flows, node: Node, flows: Iterable[Flow]) -> list[Flow]:
    """Flows that were translated for an address of the Services' networks that no Service has any more."""
    return [
        flow
        for flow in flows
        if flow.reply.source != flow.original.destination
        and any(flow.original.destination in network for network in node.service_networks)
        and _places(allowed, node, flow) is None
    ]


def _places(allowed: Flows, node: Node, flow: Flow) -> frozenset[tuple[object, int]] | None:
    """Where the flow may go; None when it is none of our business."""
    frontend = Frontend(flow.original.destination, "udp", flow.original.port)
    places = allowed.get(frontend)
    if places is None and node.takes_node_ports(flow.original.destination):
        return allowed.get(frontend._replace(address=None))
    return places


def _is_relayed(node: Node, flow: Flow) -> bool:
    """Whether the flow goes to a relay on this node, which knows by itself where to go on."""
    source = flow.reply.source
    was_redirected = (source, flow.reply.source_port) != (flow.original.destination, flow.original.port)
    return node.traits.hides_sender and was_redirected and (source in node.addresses or source.is_loopback)
