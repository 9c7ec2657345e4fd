"""What is to become of one Service: its addresses, what is written into it, what is said about it.

Stage: plan.  In: a Service, the Ledger (changed in place).  Out: an Outcome.
Rules: no API here; what a Service has is kept as long as the pools allow it and it does not ask for something else.
Truth: MetalLB 0.16's controller: its order of checks, its events' reasons and words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterip.api.errors import quoted
from clusterip.api.metallb import ADDRESS_POOL, DEPRECATED_PREFIX, Address, annotation
from clusterip.api.names import parse_address
from clusterip.client.events import NORMAL, WARNING
from clusterip.loadbalancer.allocate import additional, allocate, wanted_addresses
from clusterip.loadbalancer.ledger import Holding, Ledger, Refusal, listed
from clusterip.loadbalancer.model import PREFER_DUAL, REQUIRE_DUAL, Service


@dataclass(frozen=True, slots=True)
class Saying:
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the Service is to show, and what is said. made_room: others may now get what they could not."""

    holding: Holding | None = None
    sayings: tuple[Saying, ...] = ()
    made_room: bool = False

    @property
    def ingress(self) -> tuple[str, ...]:
        return tuple(map(str, self.holding.addresses)) if self.holding else ()

    @property
    def pool(self) -> str | None:
        return self.holding.pool if self.holding else None

    def is_shown_by(self, service: Service) -> bool:
        return service.ingress == self.ingress and service.allocated_from == self.pool


def is_ours(service: Service, balancer_class: str) -> bool:
    """Whether this controller speaks for Services of that class; those of other types may have been ours."""
    return not service.is_balancer or (service.balancer_class or "") == balancer_class


def converge(ledger: Ledger, service: Service) -> Outcome:
    """Settle one Service."""
    before = ledger.holding(service.key)
    turn = _Turn(ledger, service)
    turn.settle()
    after = ledger.holding(service.key)
    made_room = before is not None and (after is None or set(before.addresses) - set(after.addresses) != set())
    changed_claim = before is not None and after is not None and before.claim != after.claim
    return Outcome(after, tuple(turn.sayings), made_room or changed_claim)


@dataclass(slots=True)
class _Turn:
    """One Service on its way to its end state."""

    ledger: Ledger
    service: Service
    sayings: list[Saying] = field(default_factory=list)

    def say(self, type: str, reason: str, message: str) -> None:
        self.sayings.append(Saying(type, reason, message))

    def settle(self) -> None:
        service = self.service
        if not service.is_balancer or not self.ledger.pools or not service.cluster_ips:
            self._clear()
        elif service.family_policy == REQUIRE_DUAL and len(service.cluster_ips) < 2:
            shown = "[" + " ".join(map(str, service.cluster_ips)) + "]"
            self.say(WARNING, "not enough clusterips", f"Service requires dual stack but not enough clusterips {shown}")
            self._clear()
        elif not self._keep():
            self._clear()
            self._allocate()

    def _clear(self) -> None:
        self.ledger.release(self.service.key)

    def _keep(self) -> bool:
        """Whether what the Service shows can stay."""
        shown = _shown(self.service) or self._given()
        if not shown or not self._fits_family(shown):
            return False
        try:
            holding = self.ledger.assign(self.service, shown)
        except Refusal as refusal:
            name = quoted(self.service.name)
            text = f"current IP for {name} not allowed by config, will attempt for new IP assignment: {refusal}"
            self.say(NORMAL, "ClearAssignment", text)
            return False
        if not self._is_wanted(holding):
            return False
        if len(shown) == 1 and self.service.family == 0 and self.service.family_policy == PREFER_DUAL:
            self._add(holding)
        return True

    def _given(self) -> tuple[Address, ...]:
        """What was given and is not shown yet: the write is on its way, or was undone by hand."""
        holding = self.ledger.holding(self.service.key)
        return () if self.service.ingress or holding is None else holding.addresses

    def _fits_family(self, shown: tuple[Address, ...]) -> bool:
        family = 0 if len({each.version for each in shown}) > 1 else shown[0].version
        service = self.service
        return family == service.family or (service.family == 0 and service.family_policy == PREFER_DUAL)

    def _is_wanted(self, holding: Holding) -> bool:
        """Whether the Service does not ask for other addresses, or another pool, than it has."""
        pool = annotation(self.service.annotations, ADDRESS_POOL)
        if pool and holding.pool != pool:
            return False
        try:
            wanted = wanted_addresses(self.service)
        except Refusal as refusal:
            self.say(WARNING, "LoadBalancerFailed", f"invalid requested loadbalancer IPs: {refusal}")
            return True  # a slip of the pen takes no address away
        return not wanted or set(wanted) == set(holding.addresses)

    def _add(self, holding: Holding) -> None:
        try:
            found = additional(self.ledger, self.service, holding)
        except Refusal as refusal:
            text = f"cannot assign additional IP in PreferDualStack: {refusal}"
            self.say(NORMAL, "AdditionalAssignFailed", text)
            return
        self.say(NORMAL, "IPAllocated", f'Assigned additional IP "{found}"')

    def _allocate(self) -> None:
        try:
            holding = allocate(self.ledger, self.service)
        except Refusal as refusal:
            name = quoted(self.service.name)
            self.say(WARNING, "AllocationFailed", f"Failed to allocate IP for {name}: {refusal}")
            return
        self.say(NORMAL, "IPAllocated", f"Assigned IP {listed(holding.addresses)}")


def _shown(service: Service) -> tuple[Address, ...] | None:
    """The addresses that the Service shows; None when one of them is none."""
    found = tuple(parse_address(text) for text in service.ingress)
    known = tuple(each for each in found if each is not None)
    return known if len(known) == len(found) else None


def deprecations(service: Service) -> list[Saying]:
    """What is said once an old annotation takes part in a change."""
    found = [key for key in sorted(service.annotations) if key.startswith(DEPRECATED_PREFIX)]
    return [Saying(WARNING, "deprecatedAnnotation", f"Service uses deprecated annotation {key}") for key in found]


def adopt(ledger: Ledger, service: Service) -> None:
    """At start: what a Service shows is its own before anybody asks for anything new."""
    shown = _shown(service)
    if not service.is_balancer or not shown:
        return
    try:
        ledger.assign(service, shown)
    except Refusal:
        return  # its turn comes, and says why
