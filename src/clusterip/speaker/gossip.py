"""Beats between speakers, over UDP.

Stage: shell.  In: the peers' addresses, datagrams.  Out: datagrams; one call whenever the living changed.
Rules: nothing is decided here (members.py).  An address that cannot be reached is no error: silence says it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from clusterip.clock import Clock
from clusterip.failure import Failure
from clusterip.speaker.members import LEAVE, Members

logger = logging.getLogger(__name__)

FAREWELLS = 3
SETTLE_SECONDS = 0.5


class Gossip(asyncio.DatagramProtocol):
    """One speaker's talk with the others."""

    def __init__(
        self,
        members: Members,
        changed: Callable[[], None],
        clock: Clock,
        port: int,
        stalled: Callable[[], None] = lambda: None,
    ) -> None:
        self.members, self._changed, self._clock, self._port = members, changed, clock, port
        self._stalled = stalled
        self._addresses: Mapping[str, str] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._settled = asyncio.Event()
        self._has_left = False

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        """node -> address."""
        if dict(addresses) == dict(self._addresses):
            return
        self._addresses = dict(addresses)
        if self.members.set_peers(set(addresses)):
            self._changed()
        self._beat()

    async def open(self, address: str) -> None:
        """Listen; the port is the same for all speakers."""
        loop = asyncio.get_running_loop()
        try:
            made, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, self._port))
        except OSError as error:
            why = error.strerror or str(error)
            raise Failure(f"cannot listen on {address}:{self._port}/udp for other speakers: {why}") from error
        self._transport = made

    async def settled(self) -> None:
        """Wait until every peer was heard, or had time to be."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settled.wait()

    async def run(self) -> NoReturn:
        """Beat, and look who is late."""
        last = self._clock.monotonic()
        while True:
            self._beat()
            interval = self.members.interval
            await asyncio.sleep(interval)
            now = self._clock.monotonic()
            if now - last > 3 * interval:  # this process was stopped; what was sent meanwhile is still to be read
                self.members.excuse(now - last)
                self._stalled()
            elif self.members.expire(now):
                self._tell()
            last = now

    def leave(self) -> None:
        """Say farewell, so that others need not wait, and nothing after it."""
        self._has_left = False
        for _ in range(FAREWELLS):
            for name in self._addresses:
                self._send(name, LEAVE)
        self._has_left = True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _beat(self) -> None:
        for name in self._addresses:
            self._send(name)

    def _send(self, name: str, *kind: int) -> None:
        if self._transport is None or self._has_left:
            return
        if name != self.members.me and name in self._addresses:
            with contextlib.suppress(OSError):  # no way there now
                self._transport.sendto(self.members.message(name, *kind), (self._addresses[name], self._port))

    def _tell(self) -> None:
        logger.info("Speakers alive", extra={"kv": {"nodes": ",".join(sorted(self.members.alive))}})
        self._changed()

    # -- DatagramProtocol ---------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        changed, answer = self.members.hear(data, self._clock.monotonic())
        if answer:
            self._send(answer)
        if self.members.all_heard:
            self._settled.set()
        if changed:
            self._tell()

    def error_received(self, exc: Exception) -> None:
        logger.debug("A speaker cannot be reached", extra={"kv": {"err": exc}})
