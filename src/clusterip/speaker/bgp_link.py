"""Keep a session with one router: call, speak, and call again after a while.

Stage: shell.  In: a peer, the routes it is to hear.  Out: packets, numbers.
Rules: what is said is bgp_session.py's.  Every end is logged with its reason; calls become rarer while they fail.
Truth: RFC 4271 8; MetalLB's waits between calls, but half a minute at most.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol, cast

from clusterip.api.metallb import Address, BgpPeer
from clusterip.clock import Clock
from clusterip.kernel import bfd_sockets, netns
from clusterip.kernel.handover import handed_over
from clusterip.kernel.link import LinkAddress, Netlink
from clusterip.kernel.tcp_options import Connection, connection_to
from clusterip.speaker import bgp_metrics as metrics
from clusterip.speaker.bgp_routes import Routes, Way
from clusterip.speaker.bgp_session import BFD_DOWN, DECONFIGURED, HOLD_SECONDS, Conversation, State, Terms
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT, CALL_SECONDS, FLUSH_SECONDS = 0.5, 30.0, 10.0, 1.0


class Place(Protocol):
    """Where a speaker stands: its sockets, its addresses."""

    def socket(self, peer: BgpPeer) -> Connection: ...

    def addresses(self) -> Iterable[LinkAddress]: ...


@dataclass(frozen=True, slots=True)
class KernelPlace:
    """This namespace, or another."""

    namespace: int | None = None

    def socket(self, peer: BgpPeer) -> Connection:
        if peer.address is None:
            raise OSError(f"a session by interface alone ({peer.interface}) is not supported")
        address, one_hop = peer.address, _is_external(peer) and not peer.multi_hop
        return self._here(
            lambda: connection_to(address, source=peer.source, password=peer.password, one_hop=one_hop, device=peer.vrf)
        )

    def addresses(self) -> Iterable[LinkAddress]:
        with Netlink(self.namespace) as net:
            return net.addresses()

    def ear(self, version: int, port: int) -> Connection:
        return self._here(lambda: bfd_sockets.ear(version, port))

    def mouth(self, peer: BgpPeer, port: int) -> Connection:
        address = peer.address
        if address is None:
            raise OSError(f"no datagrams by interface alone ({peer.interface})")
        return self._here(lambda: bfd_sockets.mouth(address, port, peer.source, peer.vrf))

    def is_near(self, peer: BgpPeer) -> bool:
        """One hop: declared so, or a router of our own system on one of our networks."""
        if peer.multi_hop:
            return False
        if _is_external(peer):
            return True
        return any(peer.address in each.address.network for each in self.addresses())

    def _here(self, make: Callable[[], Connection]) -> Connection:
        return make() if self.namespace is None else netns.inside(self.namespace, make)


def _is_external(peer: BgpPeer) -> bool:
    return peer.peer_asn != asn_of(peer) and peer.dynamic_asn != "internal"


def asn_of(peer: BgpPeer) -> int:
    return peer.local_asn or peer.my_asn


def terms_for(peer: BgpPeer, node: str, local: Address, known: Iterable[LinkAddress]) -> Terms:
    """What to ask of the router, given the address of ours that it is called from."""
    hop4, hop6 = _next_hops(local, known)
    families = {1, 2} if peer.dual_stack else {1 if local.version == 4 else 2}
    way = Way(asn_of(peer), families=frozenset(families), hop4=hop4, hop6=hop6, v6_next_hops=local.version == 6)
    return Terms(
        asn_of(peer),
        peer.peer_asn,
        peer.dynamic_asn,
        peer.router_id if isinstance(peer.router_id, IPv4Address) else hop4 or _named(node),
        HOLD_SECONDS if peer.hold_seconds is None else int(peer.hold_seconds),
        peer.keepalive_seconds,
        peer.graceful_restart,
        way,
    )


def _next_hops(local: Address, known: Iterable[LinkAddress]) -> tuple[IPv4Address | None, IPv6Address | None]:
    """Our address for each family: the one that calls, and the other family's on its interface."""
    found = [(each.dev, each.address.ip) for each in known]
    device = next((dev for dev, address in found if address == local), "")
    here = [local, *(address for dev, address in found if dev == device and not address.is_link_local)]
    return (
        next((each for each in here if isinstance(each, IPv4Address)), None),
        next((each for each in here if isinstance(each, IPv6Address)), None),
    )


def _named(node: str) -> IPv4Address:
    """A router ID out of a name, where there is no IPv4 address."""
    return IPv4Address(zlib.crc32(node.encode()).to_bytes(4, "little"))


class Waits:
    """How long until the next call."""

    def __init__(self, fixed: float | None) -> None:
        self._fixed, self._next = fixed, FIRST_WAIT

    def next(self) -> float:
        found, self._next = self._fixed or self._next, min(self._next * 2, LONGEST_WAIT)
        return found

    def reset(self) -> None:
        self._next = FIRST_WAIT


class _Line(asyncio.Protocol):
    """A conversation on a connection."""

    def __init__(self, talk: Conversation, clock: Clock, changed: Callable[[], None]) -> None:
        self.talk, self._clock, self._changed = talk, clock, changed
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.lost = ""
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.send(self.talk.start())

    def data_received(self, data: bytes) -> None:
        self.send(self.talk.feed(data, self._clock.monotonic()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.talk.ended or (str(exc) if exc else "the router hung up")
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self.closed.set()

    def send(self, octets: bytes) -> None:
        if self._transport is None:
            return
        if octets:
            self._transport.write(octets)
        if self.talk.ended:
            self._hang_up(self._transport)
        else:
            self._arm()
        self._changed()

    def _hang_up(self, transport: asyncio.Transport) -> None:
        """Whoever does not read what was said will not read why it ends."""
        if self._timer is not None:
            self._timer.cancel()
        transport.close()
        self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, transport.abort)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        after = self.talk.next_due() - self._clock.monotonic()
        self._timer = None
        if after != float("inf"):
            self._timer = asyncio.get_running_loop().call_later(max(after, 0.0), self._tick)

    def _tick(self) -> None:
        self.send(self.talk.tick(self._clock.monotonic()))

    async def leave(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.closed.wait()
        if self._transport is not None:
            self._transport.abort()


class Link:
    """The session with one router."""

    def __init__(self, peer: BgpPeer, node: str, place: Place, registry: Registry, clock: Clock) -> None:
        self.peer, self._node, self._place, self._registry, self._clock = peer, node, place, registry, clock
        self.label = f"{peer.identifier}:{peer.port}"
        self._line: _Line | None = None
        self._wanted: Routes = {}
        self._waits = Waits(peer.connect_seconds)
        self._is_up = self._is_over = False
        self._nudge = asyncio.Event()
        self._calling: asyncio.Timeout | None = None
        self._shown()

    @property
    def is_up(self) -> bool:
        return self._is_up

    def tell(self, wanted: Routes) -> None:
        """What the router is to hear from now on."""
        self._wanted = wanted
        if self._line is not None:
            self._line.send(self._line.talk.tell(wanted))
        self._shown()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Call until cancelled; a connection that is open then is left to `stop`."""
        values = {"peer": self.peer.name, "address": self.label}
        while not self._is_over:
            self._nudge.clear()
            try:
                line = await self._call()
                await line.closed.wait()
                why = line.lost
            except Exception as error:  # whatever it is, the other sessions and layer 2 go on
                why = str(error) or type(error).__name__
            self._ended()
            after = self._waits.next()
            logger.warning("No BGP session", extra={"kv": {**values, "err": why, "again": f"{after:g}s"}})
            await self._rest(after)

    async def _rest(self, seconds: float) -> None:
        """Until the next call, or until the router is known to be there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()

    async def _call(self) -> _Line:
        made = self._place.socket(self.peer)
        try:
            async with asyncio.timeout(CALL_SECONDS) as self._calling:
                await asyncio.get_running_loop().sock_connect(made, (str(self.peer.address), self.peer.port))
            line = self._line = self._line_by(made)
        except BaseException:
            made.close()
            raise
        finally:
            self._calling = None
        beginning = asyncio.get_running_loop().create_connection(lambda: line, sock=made)
        await handed_over(beginning, lambda begun: begun[0].abort())
        return line

    def _line_by(self, made: Connection) -> _Line:
        own = ip_address(made.getsockname()[0].partition("%")[0])
        terms = terms_for(self.peer, self._node, own, self._place.addresses())
        talk = Conversation(terms, self._clock.monotonic())
        talk.tell(self._wanted)
        return _Line(talk, self._clock, self._shown)

    def _ended(self) -> None:
        self._count()
        self._line, self._is_up = None, False
        self._shown()

    def stop(self, *, is_deconfigured: bool = False) -> None:
        """Say farewell; the router drops what it was told."""
        self._is_over = True
        if self._line is not None:
            self._line.send(self._line.talk.farewell(DECONFIGURED) if is_deconfigured else self._line.talk.farewell())

    def lost(self, why: str) -> None:
        """BFD: the router is gone, whatever the hold time says."""
        if self._line is not None:
            self._line.send(self._line.talk.cut_off(f"BFD: {why}", BFD_DOWN))

    def found(self) -> None:
        """BFD: the router is there; a call from before it was would be heard late."""
        self._waits.reset()
        self._nudge.set()
        if self._line is None and self._calling is not None and not self._calling.expired():
            self._calling.reschedule(asyncio.get_running_loop().time())

    async def leave(self) -> None:
        if self._line is not None:
            await self._line.leave()

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _shown(self) -> None:
        """Follow the conversation with numbers."""
        is_up = self._line is not None and self._line.talk.state is State.ESTABLISHED and not self._line.talk.ended
        if is_up and not self._is_up:
            self._waits.reset()
            logger.info("BGP session is up", extra={"kv": {"peer": self.peer.name, "address": self.label}})
        self._is_up = is_up
        told = self._line.talk.told if self._line is not None and is_up else 0
        for name, value in ((metrics.UP, is_up), (metrics.PREFIXES, told), (metrics.PENDING, len(self._wanted))):
            self._registry.put(name, float(value), peer=self.label)
        self._count()

    def _count(self) -> None:
        if self._line is not None:
            for name, number in self._line.talk.counts.items():
                self._registry.count(metrics.BGP + name, number, peer=self.label)
            self._line.talk.counts.clear()
