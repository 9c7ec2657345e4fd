"""IPVS in memory, for tests: the same Protocol, the same refusals.

Stage: commit and read, without a kernel.  In: Changes.  Out: the State that the kernel would list.
Rules: held to the kernel by tests/uml/inside/test_ipvs_kernel.py, which plays the same cases on both.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from clusterip.diff import Changes
from clusterip.kernel.ipvs import (
    DEL_DEST,
    DEL_SERVICE,
    SCHEDULERS,
    IpvsError,
    Key,
    Load,
    RealKey,
    RealServer,
    State,
    Timeouts,
    Value,
    VirtualKey,
    VirtualServer,
    ordered,
)

DEFAULT_TIMEOUTS = Timeouts(900, 120, 300)


class FakeIpvs:
    """Servers in a dictionary. `connections` are what real servers have; `schedulers` are those that have a module."""

    def __init__(self, schedulers: tuple[str, ...] = SCHEDULERS) -> None:
        self.state: dict[Key, Value] = {}
        self.connections: dict[RealKey, Load] = {}
        self.schedulers = schedulers
        self.commits: list[Changes[Key, Value]] = []
        self._timeouts = DEFAULT_TIMEOUTS

    def commit(self, changes: Changes[Key, Value]) -> None:
        self.commits.append(changes)
        refused = {}
        for number, key, value in ordered(changes):
            if number in (DEL_SERVICE, DEL_DEST):
                self._remove(key)
            elif code := self._put(key, value):
                refused[key] = code
        if refused:
            raise IpvsError(refused)

    def _remove(self, key: Key) -> None:
        behind = {found for found in self.state if isinstance(found, RealKey) and found.virtual == key}
        for found in (key, *behind):
            self.state.pop(found, None)

    def _put(self, key: Key, value: Value) -> int:
        if isinstance(key, RealKey) and key.virtual not in self.state:
            return errno.ESRCH
        if isinstance(value, VirtualServer) and value.scheduler not in self.schedulers:
            return errno.ENOENT
        self.state[key] = value
        return 0

    def read(self, version: int) -> State:
        return {key: value for key, value in self.state.items() if _version(key) == version}

    def virtual_servers(self, version: int) -> Mapping[VirtualKey, VirtualServer]:
        return {
            key: value
            for key, value in self.state.items()
            if isinstance(key, VirtualKey) and isinstance(value, VirtualServer) and _version(key) == version
        }

    def loads(self, virtual: VirtualKey) -> Mapping[RealKey, Load]:
        return {
            key: self.connections.get(key, Load(0, 0))
            for key, value in self.state.items()
            if isinstance(key, RealKey) and isinstance(value, RealServer) and key.virtual == virtual
        }

    def set_timeouts(self, timeouts: Timeouts) -> None:
        self._timeouts = Timeouts(*(new or old for new, old in zip(timeouts, self._timeouts, strict=True)))

    def timeouts(self) -> Timeouts:
        return self._timeouts

    def flush(self) -> None:
        self.state.clear()


def _version(key: Key) -> int:
    virtual = key.virtual if isinstance(key, RealKey) else key
    return 6 if ":" in virtual.address else 4
