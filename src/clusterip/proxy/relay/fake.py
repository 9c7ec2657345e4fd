"""The relay in memory, for tests: listeners and ports, no packets.

Stage: commit, without a process.  In: listeners.  Out: ports that nobody listens on.
Rules: held to the real one by tests/proxy/relay/test_process.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count

from clusterip.proxy.relay.process import RelayError
from clusterip.proxy.relay.table import Listener


class FakeRelay:
    """Names in `refused` cannot be opened; `taken` are ports that are somebody else's now."""

    def __init__(self) -> None:
        self.listeners: dict[str, Listener] | None = None
        self._is_lost = False
        self.refused: set[str] = set()
        self.taken: set[int] = set()
        self._ports: dict[str, int] = {}
        self._free = count(40000)
        self._end = asyncio.Event()

    @property
    def ports(self) -> Mapping[str, int]:
        return self._ports

    async def read(self) -> Mapping[str, Listener]:
        self._is_lost = False
        return dict(self.listeners or {})

    async def put(self, listeners: Mapping[str, Listener]) -> Mapping[str, str]:
        if self.listeners is None and not self._is_lost:
            self.listeners = {}
            self._end.clear()
        known = self._known()
        good = [name for name in listeners if name not in self.refused]
        for name in good:
            if name not in known and self._ports.get(name, 0) in self.taken | {0}:
                self._ports[name] = next(port for port in self._free if port not in self.taken)
            known[name] = listeners[name]
        return {name: "Address already in use" for name in listeners if name in self.refused}

    async def remove(self, names: Sequence[str]) -> None:
        known = self._known()
        for name in names:
            known.pop(name, None)
            self._ports.pop(name, None)

    def _known(self) -> dict[str, Listener]:
        if self.listeners is None:
            raise RelayError("no relay runs")
        return self.listeners

    def die(self) -> None:
        """As by kill -9."""
        self._is_lost = self.listeners is not None
        self.listeners = None
        self._end.set()

    async def ended(self) -> None:
        if self.listeners is not None:
            await self._end.wait()

    def is_lost(self) -> bool:
        return self._is_lost

    async def close(self) -> None:
        self.die()
        self._is_lost = False
