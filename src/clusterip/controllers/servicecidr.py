"""ServiceCIDRs are said to be ready, and wait for their last cluster IP before they go.

Stage: plan and shell.  In: ServiceCIDRs, IPAddresses.  Out: the finalizer, the Ready condition, at last their removal.
Rules: reconcile is pure.  An address needs a range that no other range reaches; one that is being deleted gives no new
       addresses, and waits a while so that every API server has heard of it.
Truth: kube-controller-manager's service-cidr-controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from msgspec import field

from clusterip.api.meta import Tree
from clusterip.api.resources.networking import ALLOCATOR, MANAGED_LABEL, RANGE_IS_READY
from clusterip.client.names import IP_ADDRESSES, SERVICE_CIDRS
from clusterip.clock import rfc3339
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Condition, Frozen, Meta
from clusterip.controllers.pods import parse_time
from clusterip.controllers.writes import NOTHING, Key, Outcome, Patch

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE_SECONDS = 10.0
TERMINATING = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


class RangeSpec(Frozen, frozen=True):
    cidrs: tuple[str, ...] = ()


class RangeStatus(Frozen, frozen=True):
    conditions: tuple[Condition, ...] = ()


class ServiceCIDR(Frozen, frozen=True):
    metadata: Meta
    spec: RangeSpec = RangeSpec()
    status: RangeStatus = field(default=RangeStatus())

    @property
    def networks(self) -> list[Any]:
        return [ip_network(cidr, strict=False) for cidr in self.spec.cidrs]


class IPAddress(Frozen, frozen=True):
    metadata: Meta

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """None of those that the allocator did not make."""
        if self.metadata.labels.get(MANAGED_LABEL) != ALLOCATOR:
            return None
        return ip_address(self.metadata.name)


def reconcile(
    it: ServiceCIDR, all_ranges: Iterable[ServiceCIDR], addresses: Iterable[IPAddress], now: datetime
) -> Outcome:
    """What is to be done about one ServiceCIDR."""
    meta = it.metadata
    if not meta.is_terminating:
        kept = () if FINALIZER in meta.finalizers else (_finalizers([*meta.finalizers, FINALIZER], meta),)
        return Outcome((*kept, *_condition(it, "True", "", RANGE_IS_READY, now)))
    others = [other for other in all_ranges if other.metadata.name != meta.name]
    if not _is_covered(it, others) and _is_needed(it, others, addresses):
        return Outcome(_condition(it, "False", "Terminating", TERMINATING, now))
    begun = parse_time(meta.deletion_timestamp) or now
    left = GRACE_SECONDS - (now - begun).total_seconds()
    if left > 0:
        return Outcome(again=left)
    if FINALIZER not in meta.finalizers:
        return NOTHING
    return Outcome((_finalizers([name for name in meta.finalizers if name != FINALIZER], meta),))


def _is_covered(it: ServiceCIDR, others: list[ServiceCIDR]) -> bool:
    """Whether each of its networks lies within one of another range."""
    wider = [network for other in others for network in other.networks]
    return all(any(_within(network, each) for each in wider) for network in it.networks)


def _within(inner: Any, outer: Any) -> bool:
    return inner.version == outer.version and bool(inner.subnet_of(outer))


def _is_needed(it: ServiceCIDR, others: list[ServiceCIDR], addresses: Iterable[IPAddress]) -> bool:
    """Whether a cluster IP lies in its networks and in nobody else's."""
    wider = [network for other in others for network in other.networks]
    for each in addresses:
        address = each.address
        if address is None or not any(address in network for network in it.networks):
            continue
        if not any(address in network for network in wider):
            return True
    return False


def _finalizers(names: list[str], meta: Meta) -> Patch:
    """The revision makes sure that nobody else's finalizer is lost."""
    patch: Tree = {"metadata": {"finalizers": names, "resourceVersion": meta.resource_version}}
    return Patch(SERVICE_CIDRS, "", meta.name, patch)


def _condition(it: ServiceCIDR, status: str, reason: str, message: str, now: datetime) -> tuple[Patch, ...]:
    known = next((each for each in it.status.conditions if each.type == "Ready"), None)
    if known is not None and (known.status, known.reason, known.message) == (status, reason, message):
        return ()
    ready = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }
    patch: Tree = {"status": {"conditions": [ready]}}
    return (Patch(SERVICE_CIDRS, "", it.metadata.name, patch, "status", "strategic"),)


def start(world: World) -> list[Loop]:
    ranges, addresses = world.follow(SERVICE_CIDRS, ServiceCIDR), world.follow(IP_ADDRESSES, IPAddress)

    def look(key: Key) -> Outcome:
        it = ranges.get(*key)
        return (
            NOTHING
            if it is None
            else reconcile(it, ranges.items().values(), addresses.items().values(), world.clock.now())
        )

    def address_changed(key: Key, old: IPAddress | None, new: IPAddress | None) -> Iterable[Key]:
        """Only those that wait to go care."""
        waiting = (it for it in ranges.items().values() if it.metadata.is_terminating)
        return [("", it.metadata.name) for it in waiting]

    def range_changed(key: Key, old: ServiceCIDR | None, new: ServiceCIDR | None) -> Iterable[Key]:
        """One that comes may let another go."""
        return [key, *address_changed(key, None, None)]

    loop = Loop("servicecidr", world, look, workers=1)
    loop.follow(ranges, range_changed)
    loop.follow(addresses, address_changed)
    return [loop]
