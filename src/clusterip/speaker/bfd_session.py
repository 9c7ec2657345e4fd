"""One BFD session: whether the router is still there.

Stage: plan.  In: packets, the time, dice.  Out: packets; `state`, and `lost` when the router was there and is not.
Rules: no socket and no clock here.  Slow (1 s) until the session is up.  A router whose operator shuts BFD down is not
lost: routing goes on by its own clock.  Echo and demand mode are not spoken; what a router says of them is heeded.
Truth: RFC 5880 6.8 (states, timers, polls), RFC 5882 3.2 and 4.2 (what a client makes of it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from clusterip.api.metallb import BfdProfile
from clusterip.speaker.bfd_packets import Packet, Reason, State

MS = 1_000  # microseconds
SLOW = 1_000 * MS
INTERVAL, MULTIPLIER = 300, 3  # what a profile does not say
NEVER = float("inf")
Dice = Callable[[], float]  # from 0 to 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a silence is to be noticed; times in microseconds."""

    transmit: int = INTERVAL * MS
    receive: int = INTERVAL * MS
    multiplier: int = MULTIPLIER
    is_passive: bool = False


def pace_of(profile: BfdProfile) -> Pace:
    return Pace(
        (profile.transmit_interval or INTERVAL) * MS,
        (profile.receive_interval or INTERVAL) * MS,
        profile.detect_multiplier or MULTIPLIER,
        profile.passive_mode,
    )


class Session:
    """What both ends know of each other."""

    def __init__(self, mine: int, pace: Pace, now: float, dice: Dice) -> None:
        self.mine, self._pace, self._dice = mine, pace, dice
        self.state, self.reason = State.DOWN, Reason.NONE
        self.counts: Counter[str] = Counter()
        self.lost = ""  # why the router counts as gone; empty while it was never there, or is
        self._yours = 0
        self._heard: Packet | None = None
        self._transmit, self._receive = SLOW, pace.receive  # in force, as opposed to what is wished for
        self._is_polling = False
        self._silent_at, self._next_at = NEVER, NEVER if pace.is_passive else now

    # -- what comes ---------------------------------------------------------------------------------------------------

    def feed(self, said: Packet, now: float) -> list[Packet]:
        """What to answer at once."""
        self.counts["control_packet_input"] += 1
        self._yours, self._heard = said.mine, said
        if said.final and self._is_polling:
            self._agreed()
        if self.state is State.ADMIN_DOWN:
            return []
        self._change(said, now)
        self._silent_at = now + self.detection() if self.state in (State.INIT, State.UP) else NEVER
        interval = self._interval()
        self._next_at = min(self._next_at, now + interval) if interval != NEVER else NEVER
        return [self._say(final=True)] if said.poll else []

    def _change(self, said: Packet, now: float) -> None:
        """The states of 6.8.6."""
        if said.state is State.ADMIN_DOWN:
            if self.state is not State.DOWN:
                self._down(Reason.NEIGHBOUR, "")
        elif self.state is State.DOWN and said.state in (State.DOWN, State.INIT):
            self._rise(State.INIT if said.state is State.DOWN else State.UP, now)
        elif self.state is State.INIT and said.state in (State.INIT, State.UP):
            self._rise(State.UP, now)
        elif self.state is State.UP and said.state is State.DOWN:
            self._down(Reason.NEIGHBOUR, "the router's BFD says that we are gone")

    def _rise(self, state: State, now: float) -> None:
        self.state, self._next_at = state, now
        if state is State.UP:
            self.lost, self.reason = "", Reason.NONE
            self.counts["session_up_events"] += 1
            self.retime(self._pace)

    def _down(self, reason: Reason, lost: str) -> None:
        if self.state is State.UP:
            self.counts["session_down_events"] += 1
            self.lost = lost
        self.state, self.reason = State.DOWN, reason
        self._transmit, self._is_polling = SLOW, False

    # -- times --------------------------------------------------------------------------------------------------------

    def detection(self) -> float:
        """The seconds of silence after which the router is gone."""
        if self._heard is None:
            return NEVER
        return self._heard.multiplier * max(self._receive, self._heard.transmit) / 1e6

    def _interval(self) -> float:
        """Seconds until the next packet: a quarter less at most, so that many sessions do not march in step."""
        wanted = self._heard.receive if self._heard is not None else 1
        if not wanted or (self._heard is not None and self._is_demanded(self._heard)):
            return NEVER
        most = 0.9 if self._pace.multiplier == 1 else 1.0
        return max(self._transmit, wanted) / 1e6 * (0.75 + (most - 0.75) * self._dice())

    def _is_demanded(self, said: Packet) -> bool:
        """A router that asks for no packets while all is well."""
        return said.demand and said.state is State.UP is self.state and not self._is_polling

    def retime(self, pace: Pace) -> None:
        """Another pace: the slower of old and new until the router knows (6.8.3)."""
        self._pace = pace
        if self.state is State.UP:
            self._transmit = min(self._transmit, pace.transmit)
            self._receive = max(self._receive, pace.receive)
            self._is_polling = True

    def _agreed(self) -> None:
        self._is_polling = False
        self._transmit, self._receive = self._pace.transmit, self._pace.receive

    # -- what goes ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Packet]:
        """What is due by now."""
        if now >= self._silent_at:
            self._down(Reason.SILENCE, f"nothing was heard of the router for {self.detection() * 1000:.0f} ms")
            self._yours, self._heard, self._silent_at = 0, None, NEVER
            self._next_at = NEVER if self._pace.is_passive else now
        if now < self._next_at:
            return []
        self._next_at = now + self._interval()
        return [self._say(poll=self._is_polling)]

    def next_due(self) -> float:
        return min(self._silent_at, self._next_at)

    def stop(self) -> list[Packet]:
        """Not dead, only leaving: the router's routes do not depend on us any more."""
        self.state, self.reason, self._is_polling = State.ADMIN_DOWN, Reason.ADMIN, False
        self._silent_at = self._next_at = NEVER
        return [self._say()] if self._yours else []

    def _say(self, *, poll: bool = False, final: bool = False) -> Packet:
        self.counts["control_packet_output"] += 1
        wished = self._pace.transmit if self.state is State.UP else SLOW
        return Packet(
            self.state,
            self.mine,
            self._yours,
            self.reason,
            self._pace.multiplier,
            wished,
            self._pace.receive,
            poll=poll,
            final=final,
        )
