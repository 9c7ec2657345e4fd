"""Living and dead speakers: silence is noticed, farewells are heard, no record and no stranger is believed."""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterip.speaker.members import INTERVAL, LEAVE, SILENCE, Members, from_wire

KEY = b"secret"
NAMES = ("a", "b", "c")


@dataclass
class Net:
    """Speakers and a network without loss, but for those that are cut off."""

    members: dict[str, Members] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    now: float = 0.0
    lives: int = 0
    carried: list[tuple[str, str, bytes]] = field(default_factory=list)

    def start(self, name: str) -> Members:
        self.lives += 1
        made = self.members[name] = Members(name, KEY, self.lives)
        made.set_peers(set(NAMES))
        return made

    def send(self, sender: str, to: str, raw: bytes) -> None:
        if {sender, to} & self.cut or to not in self.members:
            return
        self.carried.append((sender, to, raw))
        _, answer = self.members[to].hear(raw, self.now)
        if answer:
            self.send(to, answer, self.members[to].message(answer))

    def round(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += INTERVAL
            for sender, members in list(self.members.items()):
                for to in NAMES:
                    if to != sender:
                        self.send(sender, to, members.message(to))
            for members in self.members.values():
                members.expire(self.now)

    def alive(self) -> dict[str, str]:
        return {name: "".join(sorted(members.alive)) for name, members in self.members.items()}


def three() -> Net:
    net = Net()
    for name in NAMES:
        net.start(name)
    net.round()
    return net


def test_all_are_known_after_one_round() -> None:
    net = three()
    assert net.alive() == {"a": "abc", "b": "abc", "c": "abc"}
    assert all(members.all_heard for members in net.members.values())


def test_a_silent_one_is_dead_before_a_second_has_passed() -> None:
    net = three()
    net.cut.add("a")
    net.round(SILENCE - 1)
    assert net.alive()["b"] == "abc"
    net.round(2)
    assert net.alive() == {"a": "a", "b": "bc", "c": "bc"}
    assert (SILENCE + 1) * INTERVAL < 1.0
    net.cut.clear()
    net.round()
    assert net.alive() == {"a": "abc", "b": "abc", "c": "abc"}


def test_a_farewell_is_heard_at_once() -> None:
    net = three()
    for to in ("b", "c"):
        net.send("a", to, net.members["a"].message(to, LEAVE))
    del net.members["a"]
    assert net.alive() == {"b": "bc", "c": "bc"}


def test_a_restart_is_a_new_life_at_once() -> None:
    net = three()
    net.start("a")
    net.round()
    assert net.alive() == {"a": "abc", "b": "abc", "c": "abc"}


def test_nothing_recorded_brings_the_dead_back() -> None:
    net = three()
    net.round(5)
    recorded = [raw for sender, to, raw in net.carried if (sender, to) == ("a", "b")]
    net.cut.add("a")
    net.round(SILENCE + 2)
    for raw in recorded:
        net.members["b"].hear(raw, net.now)
    assert net.alive()["b"] == "bc"
    net.start("b")
    for raw in recorded:
        net.members["b"].hear(raw, net.now)
    assert "a" not in net.members["b"].alive


def test_who_has_not_the_secret_is_not_heard() -> None:
    net = three()
    forged = Members("a", b"guess", 1).message("b", LEAVE)
    assert net.members["b"].hear(forged, net.now) == (False, "")
    assert from_wire(b"", KEY) is None
    assert from_wire(b"x" * 100, KEY) is None


def test_who_was_stopped_blames_nobody() -> None:
    net = three()
    net.members["a"].excuse(10.0)
    assert not net.members["a"].expire(net.now + 10.0)


def test_a_node_that_is_no_more_is_forgotten() -> None:
    net = three()
    assert net.members["a"].set_peers({"a", "b"})
    assert net.alive()["a"] == "ab"
    assert net.members["a"].hear(net.members["c"].message("a"), net.now) == (False, "")


def test_a_crowd_beats_more_slowly() -> None:
    members = Members("a", KEY, 1)
    members.set_peers({f"n{i}" for i in range(100)})
    assert members.interval == INTERVAL * 5
