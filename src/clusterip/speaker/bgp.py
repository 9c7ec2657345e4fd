"""This node's part in BGP: a session with every router that selects the node, and the routes of each.

Stage: shell.  In: views.  Out: routes told, events, changes of status.
Rules: what is told is bgp_routes.py's.  A peer whose declaration changed is another session; the rest goes on.
Truth: MetalLB 0.16's BGP mode.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from clusterip.api.metallb import BGP, BgpPeer
from clusterip.clock import Clock
from clusterip.speaker.bfd import Bfd, Sockets
from clusterip.speaker.bgp_link import Link, Place
from clusterip.speaker.bgp_routes import Advertised, advertised, hearers, routes_for
from clusterip.speaker.model import Key, Service
from clusterip.speaker.view import View
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)


class Ground(Place, Sockets, Protocol):
    """Where a speaker stands: connections and datagrams."""


class Voice(Protocol):
    """Where it is told who announces."""

    def assigned(self, service: Service, protocol: str) -> None: ...

    def changed(self, key: Key) -> None: ...


class Bgp:
    """All sessions of this node."""

    name = BGP

    def __init__(self, place: Ground, voice: Voice, registry: Registry, clock: Clock) -> None:
        self._place, self._voice, self._registry, self._clock = place, voice, registry, clock
        self._bfd = Bfd(place, registry, clock)
        self.links: dict[str, Link] = {}
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._known: dict[Key, tuple[Advertised, ...]] = {}
        self._addresses: dict[Key, tuple[str, ...]] = {}

    # -- what is announced --------------------------------------------------------------------------------------------

    def settle(self, view: View, keys: Iterable[Key]) -> None:
        before = set(self.links)
        self._settle_peers(view)
        for key in keys:
            self._settle(view, key)
        if before != set(self.links):
            for key in self._known:
                self._voice.changed(key)
        self._tell()

    def _settle(self, view: View, key: Key) -> None:
        new = advertised(view, key)
        old = self._known.pop(key, ())
        if new:
            self._known[key] = new
            self._addresses[key] = tuple(map(str, view.services[key].addresses))
        else:
            self._addresses.pop(key, None)
        if new and not old:
            self._voice.assigned(view.services[key], BGP)
        if new != old:
            self._voice.changed(key)

    def _tell(self) -> None:
        everything = [each for known in self._known.values() for each in known]
        for name, link in self.links.items():
            link.tell(routes_for(name, everything))

    def announced(self) -> Mapping[Key, Iterable[str]]:
        return self._addresses

    def peers_of(self, key: Key) -> frozenset[str] | None:
        """The routers that are to hear of a Service; None: it is not announced here."""
        return hearers(self._known.get(key, ()), self.links) or None

    # -- sessions -----------------------------------------------------------------------------------------------------

    def _settle_peers(self, view: View) -> None:
        node = view.nodes.get(view.me)
        labels = node.labels if node is not None else {}
        wanted = {name: peer for name, peer in view.config.peers.items() if peer.selects(labels)}
        for name, link in list(self.links.items()):
            if wanted.get(name) != link.peer:
                self._end(name)
        for name, peer in wanted.items():
            if name not in self.links:
                self._begin(name, peer, view.me)
            if profile := view.config.profiles.get(peer.bfd_profile):
                self._bfd.watch(peer, profile, self.links[name])

    def _begin(self, name: str, peer: BgpPeer, me: str) -> None:
        self.links[name] = Link(peer, me, self._place, self._registry, self._clock)
        self._call(name)

    def _call(self, name: str) -> None:
        if self._group is not None:
            self._calls[name] = self._group.create_task(self.links[name].run(), name=f"bgp {name}")

    def _end(self, name: str) -> None:
        self.links.pop(name).stop(is_deconfigured=True)
        self._bfd.forget(name)
        if name in self._calls:
            self._calls.pop(name).cancel()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for name in self.links:
                self._call(name)
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def repeat(self) -> None:
        """A router forgets nothing while the session stands."""

    def withdraw(self) -> None:
        for link in self.links.values():
            link.stop()

    async def leave(self) -> None:
        """Farewells are on their way."""
        await asyncio.gather(*(link.leave() for link in self.links.values()))
        self._bfd.close()
