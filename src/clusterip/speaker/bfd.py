"""This node's BFD: a session beside every BGP session that has a profile.

Stage: shell.  In: peers with profiles, datagrams.  Out: datagrams, numbers; whoever watches is told of loss and return.
Rules: what is said is bfd_session.py's.  Before a silence counts, everything that already came is read: a process that
was stopped itself for a while blames no router.  A port that is taken costs BFD alone, and is tried again.
Truth: RFC 5881 (one hop: port 3784, TTL 255 and no other), RFC 5883 (several: port 4784, the profile's minimumTtl).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
from contextlib import suppress
from typing import Protocol

from clusterip.api.metallb import Address, BfdProfile, BgpPeer
from clusterip.clock import Clock
from clusterip.kernel.bfd_sockets import FARTHEST, Datagram, Door, hear
from clusterip.speaker import bfd_metrics as metrics
from clusterip.speaker.bfd_packets import Dropped, Packet, State, read, write
from clusterip.speaker.bfd_session import NEVER, Dice, Session, pace_of
from clusterip.transport.exposition import Registry

logger = logging.getLogger(__name__)

ONE_HOP, HOPS = 3784, 4784
LEAST_TTL = 254  # of several hops, unless the profile says otherwise
AGAIN_SECONDS = 5.0
DICE = secrets.SystemRandom().random
HARMLESS = {errno.ECONNREFUSED, errno.EAGAIN}  # nobody listens yet; the queue is full


class Sockets(Protocol):
    """Where datagrams come and go."""

    def ear(self, version: int, port: int) -> Door: ...

    def mouth(self, peer: BgpPeer, port: int) -> Door: ...

    def is_near(self, peer: BgpPeer) -> bool:
        """Whether the router is one hop away."""
        ...


class Watcher(Protocol):
    """Who wants to know."""

    def lost(self, why: str) -> None: ...

    def found(self) -> None: ...


class Watch:
    """One router under watch."""

    def __init__(self, peer: BgpPeer, profile: BfdProfile, watcher: Watcher, session: Session, hops: int) -> None:
        self.peer, self.profile, self.watcher, self.session, self.port = peer, profile, watcher, session, hops
        self.mouth: Door | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._state = State.DOWN

    @property
    def labels(self) -> dict[str, str]:
        return {"peer": str(self.peer.address), "vrf": self.peer.vrf or metrics.NO_VRF}

    def takes(self, came: Datagram) -> bool:
        """Whether it came from the router, and from no farther than it may."""
        least = FARTHEST if self.port == ONE_HOP else (self.profile.minimum_ttl or LEAST_TTL)
        return came.source == self.peer.address and came.ttl >= least

    def follow(self) -> None:
        """Tell of what happened."""
        before, self._state = self._state, self.session.state
        if State.UP not in (before, self._state) or before is self._state:
            return
        values = {"peer": self.peer.name, "address": self.peer.address}
        if self._state is State.UP:
            logger.info("BFD session is up", extra={"kv": values})
            self.watcher.found()
            return
        why = self.session.lost
        logger.warning("BFD session is down", extra={"kv": {**values, "err": why or "shut down by an operator"}})
        if why:
            self.watcher.lost(why)


class Bfd:
    """All sessions of this node."""

    def __init__(self, sockets: Sockets, registry: Registry, clock: Clock, dice: Dice = DICE) -> None:
        self._sockets, self._registry, self._clock, self._dice = sockets, registry, clock, dice
        self.watches: dict[str, Watch] = {}
        self._ears: dict[tuple[int, int], Door] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def watch(self, peer: BgpPeer, profile: BfdProfile, watcher: Watcher) -> None:
        """From now on, or at another pace."""
        known = self.watches.get(peer.name)
        if known is not None:
            if known.profile != profile:
                _tell_of_echo(peer, profile)
                known.profile = profile
                known.session.retime(pace_of(profile))
                self._due(known)
            return
        if peer.address is None:
            logger.warning("No BFD by interface alone", extra={"kv": {"peer": peer.name}})
            return
        _tell_of_echo(peer, profile)
        session = Session(secrets.randbelow((1 << 32) - 1) + 1, pace_of(profile), self._clock.monotonic(), self._dice)
        port = ONE_HOP if self._sockets.is_near(peer) else HOPS
        made = self.watches[peer.name] = Watch(peer, profile, watcher, session, port)
        self._listen(peer.address.version, port)
        self._show(made)
        self._due(made)

    def forget(self, name: str) -> None:
        """Shut down, as an operator does."""
        known = self.watches.pop(name, None)
        if known is None:
            return
        self._send(known, known.session.stop())
        self._show(known)
        if known.timer is not None:
            known.timer.cancel()
        if known.mouth is not None:
            known.mouth.close()

    def close(self) -> None:
        for name in list(self.watches):
            self.forget(name)
        for timer in self._timers:
            timer.cancel()
        for door in self._ears.values():
            asyncio.get_running_loop().remove_reader(door.fileno())
            door.close()
        self._ears.clear()

    # -- what comes ---------------------------------------------------------------------------------------------------

    def _listen(self, version: int, port: int) -> None:
        if (version, port) in self._ears:
            return
        loop = asyncio.get_running_loop()
        try:
            door = self._sockets.ear(version, port)
        except OSError as error:
            values = {"port": port, "err": error.strerror, "again": f"{AGAIN_SECONDS:g}s"}
            logger.warning("BFD cannot listen", extra={"kv": values})
            self._timers = {timer for timer in self._timers if timer.when() > loop.time()}
            self._timers.add(loop.call_later(AGAIN_SECONDS, self._listen, version, port))
            return
        self._ears[version, port] = door
        loop.add_reader(door.fileno(), self._drain, door, port)

    def _drain(self, door: Door, port: int) -> None:
        while (came := self._heard(door)) is not None:
            with suppress(Dropped):
                self._take(came, read(came.octets), port)

    def _heard(self, door: Door) -> Datagram | None:
        try:
            return hear(door)
        except OSError:
            return None

    def _take(self, came: Datagram, said: Packet, port: int) -> None:
        known = self._watch_of(came.source, said, port)
        if known is None or not known.takes(came):
            return
        self._send(known, known.session.feed(said, self._clock.monotonic()))
        self._followed(known)

    def _watch_of(self, source: Address, said: Packet, port: int) -> Watch | None:
        for each in self.watches.values():
            is_ours = each.session.mine == said.yours if said.yours else each.peer.address == source
            if is_ours and each.port == port:
                return each
        return None

    # -- what goes ----------------------------------------------------------------------------------------------------

    def _due(self, known: Watch) -> None:
        if known.timer is not None:
            known.timer.cancel()
        known.timer, due = None, known.session.next_due()
        if due != NEVER:
            after = max(due - self._clock.monotonic(), 0.0)
            known.timer = asyncio.get_running_loop().call_later(after, self._tick, known)

    def _tick(self, known: Watch) -> None:
        for (_, port), door in self._ears.items():
            self._drain(door, port)
        self._send(known, known.session.tick(self._clock.monotonic()))
        self._followed(known)

    def _followed(self, known: Watch) -> None:
        """What came of it."""
        if self.watches.get(known.peer.name) is known:
            self._due(known)
            self._show(known)
            known.follow()

    def _send(self, known: Watch, packets: list[Packet]) -> None:
        for packet in packets:
            try:
                if known.mouth is None:
                    known.mouth = self._sockets.mouth(known.peer, known.port)
                known.mouth.send(write(packet))
            except OSError as error:
                if known.mouth is not None and error.errno not in HARMLESS:
                    known.mouth.close()  # our address went: another way next time
                    known.mouth = None

    def _show(self, known: Watch) -> None:
        session, labels = known.session, known.labels
        self._registry.put(metrics.UP, float(session.state is State.UP), **labels)
        for name, number in session.counts.items():
            self._registry.count(metrics.BFD + name, number, **labels)
        session.counts.clear()


def _tell_of_echo(peer: BgpPeer, profile: BfdProfile) -> None:
    if profile.echo_mode:
        values = {"peer": peer.name, "profile": profile.name}
        logger.warning("BFD echo is not spoken (echoMode, echoInterval): control packets alone", extra={"kv": values})
