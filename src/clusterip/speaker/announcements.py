"""Which addresses this node answers for, on which interfaces, and when it says so unasked.

Stage: plan.  In: Services with their addresses, the time.  Out: whether to answer; what is due to be said.
Rules: no frame, socket or clock here.  An address belongs to this node as long as any Service here has it.
Truth: MetalLB 0.16: unasked at once, then every 1.1 s for 5 s; RFC 5227 2.4 for the defence, at most once a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clusterip.api.metallb import Address
from clusterip.speaker.model import Key

EVERY_SECONDS = 1.1
FOR_SECONDS = 5.0
DEFENCE_SECONDS = 1.0

Interfaces = frozenset[str] | None  # None: all


@dataclass(slots=True)
class _Burst:
    next: float
    until: float


class Announcements:
    """The addresses of one node."""

    def __init__(self) -> None:
        self._services: dict[Key, tuple[frozenset[Address], Interfaces]] = {}
        self._addresses: dict[Address, dict[Key, Interfaces]] = {}
        self._bursts: dict[Address, _Burst] = {}
        self._defended: dict[Address, float] = {}

    def addresses(self) -> list[Address]:
        return list(self._addresses)

    def services(self) -> Mapping[Key, tuple[frozenset[Address], Interfaces]]:
        return self._services

    def set(self, key: Key, addresses: frozenset[Address], interfaces: Interfaces, now: float) -> list[Address]:
        """The Service is this node's; the addresses that are new here."""
        if self._services.get(key) == (addresses, interfaces):
            return []
        known = set(self._addresses)
        self.drop(key)
        self._services[key] = (addresses, interfaces)
        for address in addresses:
            self._addresses.setdefault(address, {})[key] = interfaces
            self.say(address, now)
        return [address for address in addresses if address not in known]

    def drop(self, key: Key) -> list[Address]:
        """The Service is not, any more; the addresses that are nobody's here now."""
        addresses, _ = self._services.pop(key, (frozenset[Address](), None))
        gone = []
        for address in addresses:
            del self._addresses[address][key]
            if not self._addresses[address]:
                del self._addresses[address]
                self._bursts.pop(address, None)
                self._defended.pop(address, None)
                gone.append(address)
        return gone

    def answers(self, address: Address, interface: str) -> bool:
        """Whether this node answers for the address there."""
        choices = self._addresses.get(address, {}).values()
        return any(choice is None or interface in choice for choice in choices)

    # -- unasked ------------------------------------------------------------------------------------------------------

    def say(self, address: Address, now: float) -> None:
        """Say the address unasked, now and for a while."""
        self._bursts[address] = _Burst(now, now + FOR_SECONDS)

    def say_all(self, now: float) -> None:
        """Others may have been told otherwise."""
        for address in self._addresses:
            self.say(address, now)

    def due(self, now: float) -> list[Address]:
        """The addresses to be said now."""
        found = [address for address, burst in self._bursts.items() if burst.next <= now]
        for address in found:
            burst = self._bursts[address]
            burst.next = now + EVERY_SECONDS
            if burst.next > burst.until:
                del self._bursts[address]
        return found

    def next_due(self) -> float | None:
        return min((burst.next for burst in self._bursts.values()), default=None)

    def contradicts(self, address: Address, now: float) -> bool:
        """Somebody else claims an address: whether to say that it is ours."""
        if address not in self._addresses or now - self._defended.get(address, -DEFENCE_SECONDS) < DEFENCE_SECONDS:
            return False
        self._defended[address] = now
        return True
