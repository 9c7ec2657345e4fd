"""What Services hold: cluster IPs and node ports, as the stored and the pending Services say.

Stage: cache.  In: each Service as it becomes pending.  Out: the sets that allocation chooses around.
Rules: the sets follow from the Services alone, so nothing leaks: a rolled-back group or a restart counts them anew.
"""

from __future__ import annotations

from clusterip.api.allocation import Address, Taken, held
from clusterip.apiserver.cache import Collection, Entry


class Holdings:
    """Addresses and node ports in use."""

    def __init__(self, services: Collection) -> None:
        self._services = services
        self.addresses: set[Address] = set()
        self.ports: set[int] = set()
        self.count()

    @property
    def taken(self) -> Taken:
        return Taken(self.addresses, self.ports)

    def count(self) -> None:
        """From the committed Services."""
        self.addresses.clear()
        self.ports.clear()
        for entry in self._services.select():
            self._add(entry)

    def observe(self, collection: Collection, old: Entry | None, new: Entry | None) -> None:
        """A Service becomes another, or comes, or goes."""
        if collection is not self._services:
            return
        if old is not None:
            addresses, ports = held(old.tree())
            self.addresses -= addresses
            self.ports -= ports
        if new is not None:
            self._add(new)

    def _add(self, entry: Entry) -> None:
        addresses, ports = held(entry.tree())
        self.addresses |= addresses
        self.ports |= ports
