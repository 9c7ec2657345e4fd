"""After a sync, make the kernel forget UDP flows that lead where no endpoint serves any more.

Stage: commit, after the rules.  In: the plan before and now, flows.  Out: flows to forget.
Rules: `stale` is pure; only UDP: a TCP client notices by itself.  Unlike upstream a Service without endpoints is
settled too, and one that is gone: its clients see the refusal at once, and a Service made anew under the address is
not haunted by old flows.
Truth: features 2.113-2.118; k8s.io/kubernetes pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from clusterip.api.meta import ObjectKey
from clusterip.kernel.conntrack import Conntrack, Flow
from clusterip.proxy.model import Flows, Frontend, Node, Plan, ServicePlan


class Settler:
    """Remembers what was settled, and looks at flows only when UDP frontends changed."""

    def __init__(self, conntrack: Conntrack) -> None:
        self._conntrack = conntrack
        self._settled: Mapping[ObjectKey, ServicePlan] = {}

    def prepare(self, plan: Plan) -> Callable[[], int] | None:
        """The work that a new plan brings, to be run in any thread; None when there is none."""
        allowed = changed_flows(self._settled, plan.services)
        if not allowed:
            self._settled = plan.services
            return None

        def settle() -> int:
            deleted = self._conntrack.delete(stale(allowed, plan.node, self._conntrack.udp_flows()))
            self._settled = plan.services
            return deleted

        return settle


def changed_flows(before: Mapping[ObjectKey, ServicePlan], now: Mapping[ObjectKey, ServicePlan]) -> Flows:
    """The UDP frontends of Services that changed, and where their flows may go; nowhere for those that are gone."""
    found: dict[Frontend, frozenset[tuple[object, int]]] = {}
    for key, service in before.items():
        if now.get(key) is not service:
            found |= dict.fromkeys(service.flows, frozenset())
    for key, service in now.items():
        if before.get(key) is not service:
            found |= service.flows
    return found


def stale(allowed: Flows, node: Node, flows: Iterable[Flow]) -> list[Flow]:
    """Flows to one of the frontends whose answers would come from none of the places allowed."""
    found = []
    for flow in flows:
        frontend = Frontend(flow.original.destination, "udp", flow.original.port)
        places = allowed.get(frontend)
        if places is None and node.takes_node_ports(flow.original.destination):
            places = allowed.get(frontend._replace(address=None))
        if places is not None and (flow.reply.source, flow.reply.source_port) not in places:
            found.append(flow)
    return found
