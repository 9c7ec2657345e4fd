"""A LAN in memory: machines with interfaces, and frames that everybody else on it hears at once.

Stage: kernel, the fake of packet.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from clusterip.kernel.packet import LanInterface, Port


@dataclass
class FakeWire:
    """One broadcast domain."""

    ports: list[FakePort] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)  # all that was ever sent

    def carry(self, sender: object, frame: bytes) -> None:
        self.frames.append(frame)
        for port in self.ports:
            if port is not sender:
                port.hear(frame)


class FakePort:
    """An interface on a wire; `arrived` is called where a loop would find a file readable."""

    def __init__(self, wire: FakeWire, interface: LanInterface) -> None:
        self.interface, self._wire = interface, wire
        self.groups: set[IPv6Address] = set()
        self._waiting: list[bytes] = []
        self.arrived: Callable[[], None] = lambda: None
        self.is_closed = False
        wire.ports.append(self)

    def hear(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self.arrived()

    def fileno(self) -> int:
        return -1

    def receive(self) -> Iterator[bytes]:
        while self._waiting:
            yield self._waiting.pop(0)

    def send(self, frame: bytes) -> None:
        if self.is_closed:
            raise OSError("closed")
        self._wire.carry(self, frame)

    def join(self, group: IPv6Address) -> None:
        self.groups.add(group)

    def leave(self, group: IPv6Address) -> None:
        self.groups.discard(group)

    def close(self) -> None:
        self.is_closed = True
        self._wire.ports.remove(self)


@dataclass
class FakeLan:
    """A machine's interfaces, each on some wire."""

    wires: dict[str, FakeWire]
    found: list[LanInterface]
    opened: dict[str, FakePort] = field(default_factory=dict)

    def interfaces(self) -> list[LanInterface]:
        return list(self.found)

    def open(self, interface: LanInterface) -> Port:
        made = self.opened[interface.name] = FakePort(self.wires[interface.name], interface)
        return made
