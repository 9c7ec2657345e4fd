"""One conversation with a router, from OPEN to its end: what is answered, and when something is due.

Stage: plan.  In: bytes, the time, the routes wanted.  Out: bytes; `ended` says why nothing more follows.
Rules: no socket and no clock here.  A speaker only calls and never listens, so two connections cannot collide.
Truth: RFC 4271 8 (states and timers), 6 (errors); a router's routes are heard and not used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address

from clusterip.speaker.bgp_messages import (
    KEEPALIVE,
    Fault,
    Kind,
    Malformed,
    Notification,
    Open,
    cut,
    read_notification,
    read_open,
    read_update,
    write_notification,
    write_open,
)
from clusterip.speaker.bgp_routes import Routes, Way, end_of, updates

OPEN_SECONDS = 10.0
HOLD_SECONDS = 90
RESTART_SECONDS = 120
NO_ID = IPv4Address(1)
SHUTDOWN, DECONFIGURED, BFD_DOWN = 2, 3, 10  # of Fault.CEASE


class State(Enum):
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


@dataclass(frozen=True, slots=True)
class Terms:
    """What we ask of a session."""

    asn: int
    peer_asn: int = 0  # 0: any that `dynamic` allows
    dynamic: str = ""
    router_id: IPv4Address = NO_ID
    hold_seconds: int = HOLD_SECONDS
    keepalive_seconds: float | None = None
    graceful_restart: bool = False
    way: Way = field(default_factory=lambda: Way(0))

    def expects(self, asn: int) -> bool:
        if self.dynamic == "internal":
            return asn == self.asn
        return asn != self.asn if self.dynamic == "external" else asn == self.peer_asn


class Conversation:
    """The session on one connection."""

    def __init__(self, terms: Terms, now: float) -> None:
        self._terms, self._way = terms, terms.way
        self.state = State.OPEN_SENT
        self.ended = ""
        self.counts: Counter[str] = Counter()
        self._buffer = bytearray()
        self._told: Routes = {}
        self._hold = OPEN_SECONDS
        self._keepalive: float | None = None
        self._silent_until, self._next_beat = now + OPEN_SECONDS, now
        self._wanted: Routes = {}

    def start(self) -> bytes:
        """The first words."""
        terms, way = self._terms, self._terms.way
        restart = RESTART_SECONDS if terms.graceful_restart else None
        self.counts["opens_sent"] += 1
        return write_open(
            Open(
                terms.asn,
                terms.hold_seconds,
                terms.router_id,
                way.families,
                v6_next_hops=way.v6_next_hops,
                restart_seconds=restart,
            )
        )

    @property
    def told(self) -> int:
        """How many prefixes the router was told."""
        return len(self._told)

    # -- what comes ---------------------------------------------------------------------------------------------------

    def feed(self, octets: bytes, now: float) -> bytes:
        """What to answer."""
        if self.ended:
            return b""
        self._buffer += octets
        out = bytearray()
        try:
            for kind, body in cut(self._buffer):
                out += self._take(kind, body, now)
                if self.ended:
                    break
        except Malformed as error:
            out += self._end(str(error), Notification(error.code, error.subcode, error.rest))
        return bytes(out)

    def _take(self, kind: Kind, body: bytes, now: float) -> bytes:
        if kind is Kind.NOTIFICATION:
            self.ended = f"the router ended it: {read_notification(body)}"
            return b""
        if kind is Kind.OPEN and self.state is State.OPEN_SENT:
            return self._opened(read_open(body), now)
        if kind is Kind.KEEPALIVE and self.state is not State.OPEN_SENT:
            return self._alive(now)
        if self.state is State.ESTABLISHED and kind is not Kind.OPEN:
            return self._heard(kind, body, now)
        raise Malformed(f"{kind.name} in state {self.state.value}", Fault.MACHINE, list(State).index(self.state) + 1)

    def _opened(self, said: Open, now: float) -> bytes:
        self.counts["opens_received"] += 1
        terms = self._terms
        if not terms.expects(said.asn):
            wanted = terms.dynamic or f"AS {terms.peer_asn}"
            raise Malformed(f"the router is AS {said.asn}, expected: {wanted}", Fault.OPEN, 2)
        if said.router_id == terms.router_id and said.asn == terms.asn:
            raise Malformed(f"the router has our router ID {said.router_id}", Fault.OPEN, 3)
        if not said.families & terms.way.families:
            raise Malformed("no family of addresses in common", Fault.OPEN, 7)
        self._way = replace(
            terms.way,
            is_internal=said.asn == terms.asn,
            long_as=said.long_as,
            families=said.families & terms.way.families,
            v6_next_hops=said.v6_next_hops and terms.way.v6_next_hops,
        )
        self._agree(said.hold_seconds, now)
        self.state = State.OPEN_CONFIRM
        return self._beat(now)

    def _agree(self, theirs: int, now: float) -> None:
        """The shorter hold time counts; nought is none at all."""
        self._hold = min(self._terms.hold_seconds, theirs)
        third = self._hold / 3
        self._keepalive = min(self._terms.keepalive_seconds or third, third) if self._hold else None
        self._silent_until = now + (self._hold or OPEN_SECONDS)

    def _alive(self, now: float) -> bytes:
        self.counts["keepalives_received"] += 1
        self._extend(now)
        if self.state is State.ESTABLISHED:
            return b""
        self.state = State.ESTABLISHED
        self._extend(now)
        return self.tell(self._wanted) + b"".join(end_of(family) for family in sorted(self._way.families))

    def _heard(self, kind: Kind, body: bytes, now: float) -> bytes:
        self._extend(now)
        if kind is Kind.REFRESH:
            self._told = {}
            return self.tell(self._wanted)
        read_update(body)
        self.counts["updates_total_received"] += 1
        return b""

    def _extend(self, now: float) -> None:
        self._silent_until = now + self._hold if self._hold else float("inf")

    # -- what goes ----------------------------------------------------------------------------------------------------

    def tell(self, wanted: Routes) -> bytes:
        """What the router has not heard yet."""
        self._wanted = wanted
        if self.state is not State.ESTABLISHED or self.ended:
            return b""
        new = {prefix: route for prefix, route in wanted.items() if self._way.can(prefix)}
        messages = list(updates(self._told, new, self._way))
        self.counts["updates_total"] += len(messages)
        self._told = new
        return b"".join(messages)

    def tick(self, now: float) -> bytes:
        """What is due by now."""
        if self.ended:
            return b""
        if now >= self._silent_until:
            return self._end("the router is silent", Notification(Fault.HOLD))
        if self._keepalive is not None and self.state is not State.OPEN_SENT and now >= self._next_beat:
            return self._beat(now)
        return b""

    def next_due(self) -> float:
        beats = self._keepalive is not None and self.state is not State.OPEN_SENT
        return min(self._silent_until, self._next_beat) if beats else self._silent_until

    def _beat(self, now: float) -> bytes:
        self.counts["keepalives_sent"] += 1
        self._next_beat = now + (self._keepalive or 0)
        return KEEPALIVE

    def farewell(self, subcode: int = SHUTDOWN) -> bytes:
        """The router drops our routes at once; with graceful restart it keeps them for our successor."""
        if self.ended:
            return b""
        if self._terms.graceful_restart and subcode == SHUTDOWN:
            self.ended = "restarting"
            return b""
        return self.cut_off("stopped", subcode)

    def cut_off(self, why: str, subcode: int) -> bytes:
        """Over, for a reason from beside the conversation."""
        return b"" if self.ended else self._end(why, Notification(Fault.CEASE, subcode))

    def _end(self, why: str, told: Notification) -> bytes:
        self.ended = f"{why}; told the router: {told}"
        self.counts["notifications_sent"] += 1
        return write_notification(told)
