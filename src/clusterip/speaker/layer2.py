"""Answers on the LAN for the addresses that are this node's: ARP and neighbour discovery.

Stage: shell.  In: views, frames.  Out: frames, events, changes of status.
Rules: elections are election.py's, frames are frames.py's.  Ports follow the interfaces as they come and go; one that
cannot be used harms no other.
Truth: MetalLB 0.16's layer 2 mode.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from clusterip.api.metallb import LAYER2, Address
from clusterip.clock import Clock
from clusterip.kernel.packet import InterfaceMonitor, Lan, LanInterface, Port
from clusterip.speaker import frames, metrics
from clusterip.speaker.announcements import Announcements
from clusterip.speaker.election import elect, interfaces
from clusterip.speaker.frames import Claim, Question
from clusterip.speaker.model import Key, Service
from clusterip.speaker.view import View
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)


class Voice(Protocol):
    """Where layer 2 tells what it does."""

    def assigned(self, service: Service, protocol: str) -> None: ...

    def failed(self, service: Service, addresses: Iterable[Address], protocol: str) -> None: ...

    def changed(self, key: Key) -> None: ...


@dataclass(slots=True)
class _Open:
    interface: LanInterface
    port: Port


class Layer2:
    """This node's part in layer 2."""

    name = LAYER2

    def __init__(self, lan: Lan, voice: Voice, registry: Registry, clock: Clock, excluded: re.Pattern[str]) -> None:
        self._lan, self._voice, self._registry, self._clock = lan, voice, registry, clock
        self._excluded = excluded
        self.table = Announcements()
        self._open: dict[str, _Open] = {}
        self._alive: frozenset[str] | None = None
        self._wake = asyncio.Event()

    # -- what is announced --------------------------------------------------------------------------------------------

    def settle(self, view: View, keys: Iterable[Key]) -> None:
        if view.alive is not None and self._alive is not None and view.alive - self._alive:
            self.table.say_all(self._clock.monotonic())  # who was away may have been told otherwise
        self._alive = view.alive
        for key in keys:
            self._settle(view, key)
        self._speak()

    def _settle(self, view: View, key: Key) -> None:
        service, pool = view.services.get(key), view.pools.get(key)
        if service is None or pool is None:
            self._drop(key)
            return
        if elect(service, pool, view.endpoints_of(key), view.surroundings).node != view.me:
            self._drop(key)
            return
        where = interfaces(pool, service, view.me)
        if where is not None and not where & set(self._open):
            self._voice.failed(service, service.addresses, LAYER2)
            self._drop(key)
            return
        self._take(service, where)

    def _take(self, service: Service, where: frozenset[str] | None) -> None:
        is_new = service.key not in self.table.services()
        addresses = frozenset(service.addresses)
        before = set(self.table.addresses())
        self.table.set(service.key, addresses, where, self._clock.monotonic())
        self._follow_groups(before)
        if is_new:
            logger.info("Announcing", extra={"kv": {"service": service.name, "protocol": LAYER2}})
            self._voice.assigned(service, LAYER2)
        self._voice.changed(service.key)

    def _drop(self, key: Key) -> None:
        if key in self.table.services():
            before = set(self.table.addresses())
            self.table.drop(key)
            self._follow_groups(before)
            logger.info("Not announcing any more", extra={"kv": {"service": "/".join(key), "protocol": LAYER2}})
            self._voice.changed(key)

    def announced(self) -> Mapping[Key, Iterable[str]]:
        return {key: sorted(map(str, addresses)) for key, (addresses, _) in self.table.services().items()}

    # -- interfaces ---------------------------------------------------------------------------------------------------

    def look_around(self) -> None:
        """Open the ports that there should be."""
        found = {each.name: each for each in self._lan.interfaces() if not self._excluded.search(each.name)}
        for name, known in list(self._open.items()):
            if found.get(name) != known.interface:
                self._close(name)
        for name, interface in found.items():
            if name not in self._open:
                self._open_one(interface)

    def _open_one(self, interface: LanInterface) -> None:
        try:
            port = self._lan.open(interface)
        except OSError as error:
            logger.error("Cannot listen", extra={"kv": {"interface": interface.name, "err": error}})
            return
        self._open[interface.name] = _Open(interface, port)
        self._listen(interface.name, port)
        for group in _groups(self.table.addresses()):
            port.join(group)
        logger.info("Answering on interface", extra={"kv": {"interface": interface.name}})
        self.table.say_all(self._clock.monotonic())
        self._wake.set()

    def _listen(self, name: str, port: Port) -> None:
        if port.fileno() >= 0:
            asyncio.get_running_loop().add_reader(port.fileno(), self._hear, name)

    def _close(self, name: str) -> None:
        port = self._open.pop(name).port
        if port.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(port.fileno())
        port.close()

    def _follow_groups(self, before: set[Address]) -> None:
        after = set(self.table.addresses())
        joined, left = _groups(after) - _groups(before), _groups(before) - _groups(after)
        for each in self._open.values():
            for group in joined:
                each.port.join(group)
            for group in left:
                each.port.leave(group)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _hear(self, name: str) -> None:
        known = self._open.get(name)
        for frame in known.port.receive() if known is not None else ():
            self.take(name, frame)

    def take(self, name: str, frame: bytes) -> None:
        """What an interface heard."""
        known = self._open[name]
        said = frames.read(frame, known.interface.mac)
        if isinstance(said, Question) and self.table.answers(said.target, name):
            self._answer(known, said)
        elif isinstance(said, Claim) and self.table.answers(said.address, name):
            self._defend(name, said)

    def _defend(self, name: str, claim: Claim) -> None:
        """Somebody else says that an address of ours is his; so do we."""
        if self.table.contradicts(claim.address, self._clock.monotonic()):
            values = {"ip": claim.address, "mac": claim.mac.hex(":"), "interface": name}
            logger.warning("Somebody else claims an address of ours", extra={"kv": values})
            self._say(claim.address)

    def _answer(self, known: _Open, question: Question) -> None:
        interface, text = known.interface, str(question.target)
        self._registry.count(metrics.RECEIVED, ip=text)
        if isinstance(question.target, IPv4Address):
            frame = frames.arp_reply(question, interface.mac)
        elif interface.link_local is not None:
            frame = frames.advertisement(question.target, interface.mac, interface.link_local, question)
        else:
            return
        if _sent(known, frame):
            self._registry.count(metrics.SENT, ip=text)

    def _say(self, address: Address) -> None:
        """Say an address unasked, wherever it is announced."""
        for known in self._open.values():
            if self.table.answers(address, known.interface.name):
                for frame in _unasked(address, known.interface):
                    if _sent(known, frame):
                        self._registry.count(metrics.GRATUITOUS, ip=str(address))

    def _speak(self) -> None:
        """Say what is due; the rest is run's."""
        for address in self.table.due(self._clock.monotonic()):
            self._say(address)
        self._wake.set()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        monitor = InterfaceMonitor(self.look_around)
        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), monitor.drain)
        self.look_around()
        try:
            await self._keep_saying()
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()
            for name in list(self._open):
                self._close(name)

    async def _keep_saying(self) -> None:
        while True:
            due = self.table.next_due()
            await wait_until(self._wake, None if due is None else due - self._clock.monotonic())
            self._wake.clear()
            for address in self.table.due(self._clock.monotonic()):
                self._say(address)

    def repeat(self) -> None:
        """Say everything again."""
        self.table.say_all(self._clock.monotonic())
        self._speak()

    def withdraw(self) -> None:
        """Answer no more; whoever is elected then says so himself."""
        for key in list(self.table.services()):
            self._drop(key)

    async def leave(self) -> None:
        """There is nothing more to say."""


def _groups(addresses: Iterable[Address]) -> set[IPv6Address]:
    return {frames.solicited_group(address) for address in addresses if isinstance(address, IPv6Address)}


def _unasked(address: Address, interface: LanInterface) -> list[bytes]:
    if isinstance(address, IPv4Address):
        return frames.arp_announcements(address, interface.mac) if interface.broadcast else []
    if interface.link_local is None:
        return []
    return [frames.advertisement(address, interface.mac, interface.link_local)]


def _sent(known: _Open, frame: bytes) -> bool:
    try:
        known.port.send(frame)
    except OSError as error:
        logger.debug("Cannot send", extra={"kv": {"interface": known.interface.name, "err": error}})
        return False
    return True


async def wait_until(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, at most so long."""
    if seconds is not None and seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
