"""Who wants which frontend: what a Service asks for, and who of several has it.

Stage: snapshot.  In: Services.  Out: frontends by Service, and for each who has it.
Rules: pure but for the memory of the claims; a change of one Service costs its own frontends.
Truth: a frontend claimed twice belongs to the older Service (creationTimestamp, then namespace and name), so that every
node says the same; upstream takes whichever its map yields last.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from clusterip.api.meta import ObjectKey
from clusterip.proxy.model import Family, Frontend, FrontendKind
from clusterip.proxy.objects import Port, Service
from clusterip.proxy.texts import parsed

logger = logging.getLogger(__name__)

Claim = tuple[FrontendKind, Frontend]
Claimant = tuple[str, ObjectKey]  # age first, so that the least one is the owner
NO_AGE = "9999"  # an object without a time is younger than all


def claims_of(service: Service, port: Port, family: Family) -> Iterator[Claim]:
    """All frontends that one port of a Service asks for, in this family.

    A Service without a cluster IP of the family has nothing in it, node ports included, as upstream.
    """
    spec, protocol = service.spec, port.protocol.lower()
    cluster_ips = tuple(parsed(spec.cluster_ips or (spec.cluster_ip,), family))
    if not cluster_ips:
        return
    for address in cluster_ips:
        yield FrontendKind.CLUSTER_IP, Frontend(address, protocol, port.port)
    if spec.external_ips:
        for address in parsed(spec.external_ips, family):
            yield FrontendKind.EXTERNAL_IP, Frontend(address, protocol, port.port)
    if service.status and service.status.load_balancer and service.status.load_balancer.ingress:
        taken = (entry.ip for entry in service.status.load_balancer.ingress if entry.ip_mode in (None, "VIP"))
        for address in parsed(taken, family):
            yield FrontendKind.LOAD_BALANCER_IP, Frontend(address, protocol, port.port)
    if port.node_port:
        yield FrontendKind.NODE_PORT, Frontend(None, protocol, port.node_port)


class Claims:
    """Who wants which frontend; the oldest claimant has it."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._claimants: dict[Frontend, tuple[Claimant, ...]] = {}
        self._asked: dict[ObjectKey, tuple[tuple[Claim, ...], ...]] = {}

    def of(self, key: ObjectKey) -> tuple[tuple[Claim, ...], ...]:
        """What each port of a Service asks for."""
        return self._asked.get(key, ())

    def owner(self, frontend: Frontend) -> ObjectKey | None:
        claimants = self._claimants.get(frontend)
        return claimants[0][1] if claimants else None

    def replace(self, key: ObjectKey, new: Service | None) -> set[ObjectKey]:
        """Take the claims of a Service in place of its former ones; others that want or wanted the same."""
        before, after = self._frontends(key), set[Frontend]()
        self._asked.pop(key, None)
        if new is not None:
            self._asked[key] = tuple([tuple(claims_of(new, port, self._family)) for port in new.spec.ports or ()])
            after = self._frontends(key)
        mine = (new.metadata.creation_timestamp or NO_AGE, key) if new else None
        others: set[ObjectKey] = set()
        for frontend in before | after if before else after:
            known = self._claimants.get(frontend)
            if known is None and mine is not None:
                self._claimants[frontend] = (mine,)
                continue
            rest = tuple(claimant for claimant in known or () if claimant[1] != key)
            others.update(claimant[1] for claimant in rest)
            claimants = tuple(sorted((*rest, mine))) if mine and frontend in after else rest
            if claimants:
                self._claimants[frontend] = claimants
            else:
                del self._claimants[frontend]
        return others

    def _frontends(self, key: ObjectKey) -> set[Frontend]:
        return {frontend for claims in self.of(key) for _, frontend in claims}
