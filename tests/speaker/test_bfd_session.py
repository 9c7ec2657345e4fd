"""Two ends of a BFD session with a clock that is moved by hand, on a wire that can be cut."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest

from clusterip.api.metallb import BfdProfile
from clusterip.speaker.bfd_packets import Packet, Reason, State
from clusterip.speaker.bfd_session import NEVER, Pace, Session, pace_of

FAST, SLOWER = Pace(), Pace(500_000, 500_000, 4)


@dataclass
class Wire:
    """What one says the other hears at once, unless the wire is cut."""

    ends: list[Session]
    now: float = 0.0
    is_cut: bool = False
    sent: list[tuple[float, int, Packet]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := min(each.next_due() for each in self.ends)) <= end:
            self.now = max(due, self.now)
            for number, each in enumerate(self.ends):
                self.deliver(number, each.tick(self.now))
        self.now = end

    def deliver(self, sender: int, packets: list[Packet]) -> None:
        for packet in packets:
            self.sent.append((self.now, sender, packet))
            if not self.is_cut:
                self.deliver(1 - sender, self.ends[1 - sender].feed(packet, self.now))

    def states(self) -> list[State]:
        return [each.state for each in self.ends]


def wire(one: Pace = FAST, other: Pace = FAST) -> Wire:
    return Wire([Session(1, one, 0.0, lambda: 0.5), Session(2, other, 0.0, lambda: 0.5)])


def up(one: Pace = FAST, other: Pace = FAST) -> Wire:
    made = wire(one, other)
    made.run(10)
    assert made.states() == [State.UP, State.UP]
    return made


def test_three_packets_bring_it_up_and_a_silence_down() -> None:
    net = up()
    net.is_cut = True
    net.run(0.5)
    assert net.states() == [State.UP, State.UP]
    net.run(0.41)
    assert net.states() == [State.DOWN, State.DOWN]
    assert {each.reason for each in net.ends} == {Reason.SILENCE}
    assert net.ends[0].lost == "nothing was heard of the router for 900 ms"
    net.is_cut = False
    net.run(10)
    assert net.states() == [State.UP, State.UP]
    assert net.ends[0].lost == ""
    assert net.ends[0].counts["session_up_events"] == 2
    assert net.ends[0].counts["session_down_events"] == 1


def test_the_slower_of_both_ends_sets_the_pace_and_the_other_multiplies() -> None:
    net = up(FAST, SLOWER)
    assert [each.detection() for each in net.ends] == [pytest.approx(4 * 0.5), pytest.approx(3 * 0.5)]
    net.sent.clear()
    net.run(10)
    gaps = [t for t, sender, _ in net.sent if sender == 0]
    assert {round(b - a, 4) for a, b in itertools.pairwise(gaps)} == {round(0.5 * 0.875, 4)}
    assert not any(packet.poll or packet.final for _, _, packet in net.sent)


def test_nobody_hurries_before_it_is_up() -> None:
    net = wire()
    net.is_cut = True
    net.run(5)
    assert all(packet.transmit == 1_000_000 for _, _, packet in net.sent)
    assert len([1 for _, sender, _ in net.sent if sender == 0]) <= 7


def test_another_pace_is_agreed_upon_without_a_loss() -> None:
    net = up()
    net.ends[0].retime(SLOWER)
    net.run(10)
    assert [each.detection() for each in net.ends] == [pytest.approx(1.5), pytest.approx(2.0)]
    net.ends[0].retime(Pace(50_000, 50_000, 3))
    net.run(10)
    assert net.ends[1].detection() == pytest.approx(0.9)
    assert net.states() == [State.UP, State.UP]
    assert sum(each.counts["session_down_events"] for each in net.ends) == 0


def test_the_passive_wait_to_be_asked() -> None:
    quiet = replace(FAST, is_passive=True)
    net = wire(quiet, quiet)
    net.run(10)
    assert net.sent == []
    up(quiet, FAST)


def test_an_operator_who_shuts_it_down_is_not_a_loss() -> None:
    net = up()
    net.deliver(1, net.ends[1].stop())
    assert net.states() == [State.DOWN, State.ADMIN_DOWN]
    assert net.ends[0].lost == ""
    assert net.ends[0].reason is Reason.NEIGHBOUR
    assert net.ends[1].next_due() == NEVER
    assert net.ends[1].feed(Packet(State.UP, 1, 2), net.now) == []


def test_a_router_that_lost_us_is_lost() -> None:
    net = up()
    net.ends[0].feed(Packet(State.DOWN, 9, 1, Reason.SILENCE), net.now)
    assert net.ends[0].state is State.DOWN
    assert "we are gone" in net.ends[0].lost


def test_who_wants_no_packets_gets_none() -> None:
    net = up()
    net.ends[0].feed(Packet(State.UP, 2, 1, receive=0), net.now)
    assert net.ends[0].tick(net.now + 0.5) == []
    answer = net.ends[0].feed(Packet(State.UP, 2, 1, receive=0, poll=True), net.now)
    assert [(each.final, each.poll) for each in answer] == [(True, False)]
    net.ends[0].feed(Packet(State.UP, 2, 1, receive=10), net.now)
    net.ends[0].feed(Packet(State.UP, 2, 1, receive=10, demand=True), net.now)
    assert net.ends[0].tick(net.now + 0.5) == []


def test_profiles() -> None:
    assert pace_of(BfdProfile("default")) == FAST
    assert pace_of(BfdProfile("x", 20, 30, 5, passive_mode=True)) == Pace(30_000, 20_000, 5, True)
