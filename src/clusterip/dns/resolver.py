"""Packets in, replies out: each name by its server block, the cluster's from the zone, the rest asked of others.

Stage: edge, above sockets.  In: packets.  Out: a reply at once; or a promise of one, when others must be asked.
Rules: nothing here raises, whatever a packet holds.  The cluster's names are never asked of others, unless the
configuration passes on those that do not exist; before the zone is complete they are SERVFAIL, never NXDOMAIN.
What the world does not answer in time is SERVFAIL; an alias into the world is then told alone, as CoreDNS does.
Differs from CoreDNS: the cluster's own answers are never older than the zone.
Truth: the README of CoreDNS's plugins kubernetes, forward and cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field

from clusterip.dns import message, relayed
from clusterip.dns.corefile import Block, Kubernetes
from clusterip.dns.forward import Busy, Forwarder
from clusterip.dns.message import BADVERS, NXDOMAIN, REFUSED, SERVFAIL, Query, Refusal, Sections
from clusterip.dns.zone import OUTSIDE, Zone

LARGEST = 65535
NOT_READY = Sections(SERVFAIL, authoritative=False)
OTHER_CLASS = Sections(REFUSED, authoritative=False)
OTHER_EDNS = Sections(BADVERS, authoritative=False)
NOBODY = Sections(SERVFAIL, authoritative=False)
NOT_HERE = Sections(REFUSED, authoritative=False)
TOO_BUSY = Sections(REFUSED, authoritative=False)
ADDRESSES = frozenset({message.A, message.AAAA})


@dataclass(frozen=True)
class Way:
    """A server block with what it needs to answer."""

    block: Block
    forwarders: tuple[Forwarder, ...] = ()

    def forwarder(self, name: bytes) -> Forwarder | None:
        """Whom to ask about a name: the one of the longest zone that has it."""
        fitting = [
            each
            for each in self.forwarders
            if is_below(name, each.settings.zone) and not any(is_below(name, but) for but in each.settings.but)
        ]
        return max(fitting, key=lambda each: len(each.settings.zone), default=None)


@dataclass(slots=True)
class Resolver:
    """All ways to an answer, and what was asked."""

    zone: Zone | None  # None: no cluster's names are answered here
    ways: tuple[Way, ...] = (Way(Block((b"\0",), Kubernetes())),)
    ready: bool = False
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)

    def reply(self, packet: bytes, *, stream: bool) -> bytes | Awaitable[bytes] | None:
        """The reply to a packet; a promise of it when others are asked; None when it deserves none."""
        if self.zone is not None and self.ready and not stream:
            known = self.zone.reply(packet)
            if known is not None:
                self.counts["udp", known[3] & 15] += 1
                return known
        query = message.parse(packet)
        if query is None:
            return None
        if isinstance(query, Refusal):
            return self._counted(message.refuse(query), stream=stream)
        return self._answered(query, packet, stream=stream)

    def _answered(self, query: Query, packet: bytes, *, stream: bool) -> bytes | Awaitable[bytes]:
        found = self._sections(query)
        if isinstance(found, Sections):
            asked = self._forwarder(found.target) if found.target and query.type in ADDRESSES else None
            if asked is not None:
                return self._followed(asked, query, found, stream=stream)
            if self.zone is not None and not stream:
                self.zone.keep(query, packet, found)
            return self._told(query, found, stream=stream)
        kept = found.kept(query)
        if kept is not None:
            limit = LARGEST if stream else query.size
            return self._counted(relayed.reply(query, *kept, limit), stream=stream)
        return self._forwarded(found, query, stream=stream)

    def _sections(self, query: Query) -> Sections | Forwarder:
        """What is known here of a question, or who is asked."""
        if query.edns and query.edns_version != 0:
            return OTHER_EDNS
        if query.class_ != message.IN:
            return OTHER_CLASS
        way = self._way(query.name)
        if way is None:
            return NOT_HERE
        own = self._own(way, query)
        if own is not None:
            return own
        return way.forwarder(query.name) or NOBODY

    def _own(self, way: Way, query: Query) -> Sections | None:
        """The cluster's answer; None for what is passed on."""
        cluster = way.block.kubernetes
        if self.zone is None or cluster is None:
            return None
        if not self.ready:
            return NOT_READY if self.zone.has(query.name) or is_reverse(query.name) else None
        found = self.zone.answer(query.name, query.type)
        passed_on = found is OUTSIDE or (
            found.rcode == NXDOMAIN and any(is_below(query.name, zone) for zone in cluster.fallthrough)
        )
        return None if passed_on else found

    def _way(self, name: bytes) -> Way | None:
        """The block of the longest zone that has the name."""
        fitting = [(len(zone), way) for way in self.ways for zone in way.block.zones if is_below(name, zone)]
        return max(fitting, key=lambda each: each[0])[1] if fitting else None

    def _forwarder(self, name: bytes) -> Forwarder | None:
        lower = name.lower()
        way = self._way(lower)
        return way.forwarder(lower) if way else None

    async def _forwarded(self, forwarder: Forwarder, query: Query, *, stream: bool) -> bytes:
        """Another server's answer."""
        try:
            found = await forwarder.ask(query, stream=stream)
        except Busy:
            return self._told(query, TOO_BUSY, stream=stream)
        if found is None:
            return self._told(query, NOBODY, stream=stream)
        ttl = found.lifetime(forwarder.cache_seconds or relayed.LONGEST)
        return self._counted(relayed.reply(query, found, ttl, LARGEST if stream else query.size), stream=stream)

    async def _followed(self, forwarder: Forwarder, query: Query, alias: Sections, *, stream: bool) -> bytes:
        """A name of the cluster that stands for one of the world, with that one's addresses."""
        question = query.about(alias.target)
        kept = forwarder.kept(question)
        try:
            found = kept[0] if kept else await forwarder.ask(question, stream=True)
        except Busy:
            return self._told(query, TOO_BUSY, stream=stream)
        if found is None:
            return self._told(query, alias, stream=stream)
        most = kept[1] if kept else forwarder.cache_seconds or relayed.LONGEST
        return self._told(query, relayed.followed(alias, found, most), stream=stream)

    def _told(self, query: Query, sections: Sections, *, stream: bool) -> bytes:
        return self._counted(message.reply(query, sections, LARGEST if stream else query.size), stream=stream)

    def _counted(self, reply: bytes, *, stream: bool) -> bytes:
        self.counts["tcp" if stream else "udp", reply[3] & 15] += 1
        return reply


def is_below(name: bytes, zone: bytes) -> bool:
    """Whether a name (wire form, lower case) is the zone or in it."""
    if not name.endswith(zone):
        return False
    at = 0
    while at < len(name) - len(zone):
        at += name[at] + 1
    return at == len(name) - len(zone)


def is_reverse(name: bytes) -> bool:
    return name.endswith(b"\4arpa\0")
