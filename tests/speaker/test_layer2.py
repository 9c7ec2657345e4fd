"""A node on a LAN in memory: it answers for its own addresses, and for nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network

from clusterip.api.metallb import Address, L2Advertisement, Pool
from clusterip.clock import ManualClock
from clusterip.kernel.packet import LanInterface
from clusterip.kernel.packet_fake import FakeLan, FakeWire
from clusterip.speaker import metrics
from clusterip.speaker.frames import Claim, read, solicited_group
from clusterip.speaker.layer2 import Layer2
from clusterip.speaker.model import Key, Node, Service
from clusterip.speaker.view import View
from speaker.test_frames import ASKER6, MINE, THEIRS, arp, solicitation

VIP, VIP6 = IPv4Address("192.168.4.10"), IPv6Address("fd00::10")
KEY = ("default", "web")
ETH0 = LanInterface("eth0", 2, MINE, True, IPv6Address("fe80::1"))
VETH = LanInterface("veth1", 3, bytes.fromhex("020000000077"))


@dataclass
class Heard:
    """What layer 2 tells."""

    words: list[str] = field(default_factory=list)

    def assigned(self, service: Service, protocol: str) -> None:
        self.words.append(f"assigned {service.name}")

    def failed(self, service: Service, addresses: Iterable[Address], protocol: str) -> None:
        self.words.append(f"failed {service.name}")

    def changed(self, key: Key) -> None:
        self.words.append("changed")


@dataclass
class Machine:
    wire: FakeWire = field(default_factory=FakeWire)
    clock: ManualClock = field(default_factory=ManualClock)
    heard: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.lan = FakeLan({"eth0": self.wire, "veth1": FakeWire()}, [ETH0, VETH])
        self.registry = metrics.registry()
        self.layer2 = Layer2(self.lan, self.heard, self.registry, self.clock, re.compile("^veth"))
        self.layer2.look_around()

    def view(self, me: str = "node-1", alive: tuple[str, ...] = ("node-1",), **more: object) -> View:
        names = frozenset({"node-1", "node-2"})
        advertisement = L2Advertisement("all", names, frozenset(more.get("interfaces", ())))  # type: ignore[call-overload]
        pool = Pool("p", (ip_network("192.168.4.0/24"), ip_network("fd00::/64")), l2=(advertisement,))
        return View(
            me,
            services={KEY: Service(KEY, addresses=(VIP, VIP6))},
            pools={KEY: pool},
            endpoints={KEY: {"node-1"}},
            nodes={name: Node(name) for name in names},
            alive=frozenset(alive),
        )

    def hear(self, frame: bytes) -> list[bytes]:
        """What is sent upon a frame."""
        before = len(self.wire.frames)
        self.layer2.take("eth0", frame)
        return self.wire.frames[before:]

    def unasked(self) -> list[Address]:
        said = [read(frame, THEIRS) for frame in self.wire.frames if frame[:6] == b"\xff" * 6]
        return [claim.address for claim in said if isinstance(claim, Claim)]


def test_the_elected_node_says_so_and_answers() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(), [KEY])
    assert machine.heard.words == ["assigned default/web", "changed"]
    assert machine.unasked() == [VIP, VIP], "a request and a reply"
    (reply,) = machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.10"))
    assert reply == arp(2, MINE, "192.168.4.10", "192.168.4.1", THEIRS, THEIRS)
    (advertisement,) = machine.hear(solicitation(VIP6))
    assert advertisement[38:54] == ASKER6.packed
    assert machine.lan.opened["eth0"].groups == {solicited_group(VIP6)}
    numbers = {name: machine.registry.value(name, ip=str(VIP)) for name in (metrics.RECEIVED, metrics.SENT)}
    assert numbers == {metrics.RECEIVED: 1, metrics.SENT: 1}
    assert machine.registry.value(metrics.GRATUITOUS, ip=str(VIP)) == 2


def test_nobody_elses_address_is_answered_for() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(), [KEY])
    assert machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.11")) == []
    assert machine.hear(solicitation(IPv6Address("fd00::11"))) == []
    machine.layer2.settle(machine.view(alive=("node-2",)), [KEY])
    assert machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.10")) == []
    assert machine.lan.opened["eth0"].groups == set()


def test_a_liar_is_contradicted_once_a_second_and_never_believed() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(), [KEY])
    lie = arp(2, THEIRS, "192.168.4.10", "192.168.4.10", tha=THEIRS)
    truth = machine.hear(lie)
    assert [read(frame, THEIRS) for frame in truth] == [Claim(VIP, MINE)] * 2
    assert machine.hear(lie) == []
    machine.clock.advance(1.0)
    assert len(machine.hear(lie)) == 2
    (reply,) = machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.10"))
    assert reply[22:28] == MINE


def test_who_comes_back_is_told_again() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(), [KEY])
    machine.layer2.settle(machine.view(), [KEY])
    assert len(machine.unasked()) == 2
    machine.layer2.settle(machine.view(alive=("node-1", "node-2")), [KEY])
    assert len(machine.unasked()) == 4


def test_who_was_stopped_himself_says_it_again() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(), [KEY])
    machine.layer2.repeat()
    assert len(machine.unasked()) == 4


def test_an_interface_that_is_not_there_is_told() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(interfaces=("eth9",)), [KEY])
    assert machine.heard.words == ["failed default/web"]
    assert machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.10")) == []
    machine.layer2.settle(machine.view(interfaces=("eth0", "eth9")), [KEY])
    assert len(machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.10"))) == 1


def test_interfaces_come_and_go() -> None:
    machine = Machine()
    assert set(machine.lan.opened) == {"eth0"}, "excluded ones are not opened"
    machine.layer2.settle(machine.view(), [KEY])
    first = machine.lan.opened["eth0"]
    machine.lan.found = []
    machine.layer2.look_around()
    assert first.is_closed
    machine.lan.found = [ETH0]
    machine.layer2.look_around()
    assert machine.lan.opened["eth0"].groups == {solicited_group(VIP6)}
    assert machine.layer2.table.next_due() is not None, "said again on the new interface"


def test_told_to_stop_it_answers_no_more() -> None:
    machine = Machine()
    machine.layer2.settle(machine.view(), [KEY])
    assert machine.layer2.announced() == {KEY: ["192.168.4.10", "fd00::10"]}
    machine.layer2.withdraw()
    assert machine.hear(arp(1, THEIRS, "192.168.4.1", "192.168.4.10")) == []
    assert machine.layer2.announced() == {}
