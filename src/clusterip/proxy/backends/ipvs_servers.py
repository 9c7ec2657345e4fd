"""Servers of ipvs mode on their way in and out: schedulers that the kernel lacks, real servers that have connections.

Stage: commit.  In: Changes of servers.  Out: the kernel's table.
Rules: a virtual server whose scheduler this kernel does not have gets the configured one, which is told once.  UDP real
servers go at once, there is no end to wait for; all others get weight 0 first and are looked at afterwards, so that no
connection slips in between.  One that is wanted again before it is gone gets its weight back.
Truth: kube-proxy 1.36, pkg/proxy/ipvs/graceful_termination.go; the kernel tells no event when a connection ends, so
that those who leave are looked at once a sync period.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from clusterip.diff import Changes
from clusterip.kernel.ipvs import Ipvs, IpvsError, Key, RealKey, RealServer, Value, VirtualKey, VirtualServer

logger = logging.getLogger(__name__)

NOTHING_NEW = RealServer(0)
AT_ONCE = ("udp",)
PORT_HASHING = ("mh",)  # kube-proxy has this scheduler look at the sender's port too


class Servers:
    """The table, with what is not as wanted for a while: `leaving`, and schedulers that are `lacking`."""

    def __init__(self, ipvs: Ipvs, scheduler: str) -> None:
        self._ipvs, self._scheduler = ipvs, scheduler
        self.leaving: set[RealKey] = set()
        self.lacking: set[str] = set()

    # -- schedulers ----------------------------------------------------------------------------------------------------

    def commit(self, changes: Changes[Key, Value]) -> None:
        """Make the changes; IpvsError tells what the kernel did not take."""
        wanted = Changes(self.known(changes.put), changes.remove)
        try:
            self._commit(wanted)
        except IpvsError as error:
            refused = [key for key, code in error.refused.items() if code == errno.ENOENT and self._is_own(wanted, key)]
            if not refused:
                raise
            self._tell(wanted, refused)
            self._commit(Changes(self.known({key: wanted.put[key] for key in error.refused if key in wanted.put})))

    def _is_own(self, wanted: Changes[Key, Value], key: Key) -> bool:
        value = wanted.put.get(key)
        return isinstance(value, VirtualServer) and value.scheduler != self._scheduler

    def _tell(self, wanted: Changes[Key, Value], refused: Iterable[Key]) -> None:
        for key in refused:
            server = wanted.put[key]
            if isinstance(server, VirtualServer) and server.scheduler not in self.lacking:
                self.lacking.add(server.scheduler)
                values = {"scheduler": server.scheduler, "used": self._scheduler, "virtualServer": str(key)}
                logger.warning("This kernel lacks a scheduler, using the configured one", extra={"kv": values})

    def known(self, servers: Mapping[Key, Value]) -> Mapping[Key, Value]:
        """The servers with the configured scheduler in place of those that the kernel lacks."""
        if not self.lacking:
            return servers
        hashes = self._scheduler in PORT_HASHING
        replaced: dict[Key, Value] = {
            key: replace(value, scheduler=self._scheduler, hashes_ports=hashes)
            for key, value in servers.items()
            if isinstance(value, VirtualServer) and value.scheduler in self.lacking
        }
        return {**servers, **replaced}

    # -- leaving -------------------------------------------------------------------------------------------------------

    def _commit(self, changes: Changes[Key, Value]) -> None:
        gone = {key for key in changes.remove if isinstance(key, VirtualKey) and key not in changes.put}
        starting = {
            key
            for key in changes.remove
            if isinstance(key, RealKey) and key not in changes.put and _waits(key) and key.virtual not in gone
        }
        back = self.leaving & set(changes.put) if self.leaving else set()
        self.leaving = {key for key in self.leaving - back if key.virtual not in gone} | starting
        weightless: dict[Key, Value] = dict.fromkeys(starting, NOTHING_NEW)
        changed: dict[Key, Value] = dict.fromkeys(starting | back, NOTHING_NEW)
        try:
            self._ipvs.commit(Changes({**changes.put, **weightless}, {**changes.remove, **changed}))
        finally:
            self.sweep(starting)

    def sweep(self, among: Iterable[RealKey] | None = None) -> int:
        """Remove those that leave and have no connections; how many there were."""
        found = self.leaving if among is None else self.leaving.intersection(among)
        idle: set[RealKey] = set()
        for virtual in {key.virtual for key in found}:
            loads = self._ipvs.loads(virtual)
            behind = {key for key in found if key.virtual == virtual}
            idle |= {key for key in behind if key in loads and loads[key].is_idle}
            self.leaving -= behind - set(loads)  # somebody else removed them
        if idle:
            removed: dict[Key, Value] = dict.fromkeys(idle, NOTHING_NEW)
            self._ipvs.commit(Changes(remove=removed))
            self.leaving -= idle
        return len(idle)

    def hidden(self, found: Mapping[Key, Value]) -> dict[Key, Value]:
        """A state without those that are on their way out already."""
        return {key: value for key, value in found.items() if not (value == NOTHING_NEW and key in self.leaving)}


def _waits(key: RealKey) -> bool:
    return key.virtual.protocol not in AT_ONCE
