"""IPVS: virtual and real servers as one flat mapping, changed by generic netlink.

Stage: commit and read.  In: Changes of a State.  Out: the kernel's table of one network namespace; refusals by key.
Rules: no Service is known.  Each change is done or refused by itself.  Order: servers that go, then each virtual server
with its real servers behind it, so that none is there for longer than a few microseconds without them.
ipvs_fake.py obeys the same Protocol.
Truth: linux/ip_vs.h; ipvsadm(8).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from clusterip.diff import Changes
from clusterip.kernel import modules
from clusterip.kernel.genetlink import Command, Genetlink
from clusterip.kernel.netlink import ATTRIBUTE, NESTED, attribute, attributes

FAMILY, VERSION = "IPVS", 1
(
    NEW_SERVICE,
    SET_SERVICE,
    DEL_SERVICE,
    GET_SERVICE,
    NEW_DEST,
    SET_DEST,
    DEL_DEST,
    GET_DEST,
) = range(1, 9)
SET_CONFIG, GET_CONFIG, FLUSH = 12, 13, 17
SERVICE, DEST, TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP = 1, 2, 4, 5, 6
S_AF, S_PROTOCOL, S_ADDRESS, S_PORT, S_FWMARK, S_SCHEDULER, S_FLAGS, S_TIMEOUT, S_NETMASK = range(1, 10)
D_ADDRESS, D_PORT, D_METHOD, D_WEIGHT, D_UPPER, D_LOWER, D_ACTIVE, D_INACTIVE = range(1, 9)
D_AF = 11
F_PERSISTENT, F_PORTS = 0x1, 0x10  # F_PORTS: sh and mh hash the port of the sender too
METHOD_MASK, MASQUERADING = 0x7, 0
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
HOST_MASKS = {int(socket.AF_INET): 0xFFFFFFFF, int(socket.AF_INET6): 128}
PLACE = struct.Struct("=HHHxxHHHxxHH16sHH")
PORT = struct.Struct("!Hxx")
HOW = struct.Struct("=HHIIHHIHHI")
REAL_HEAD = struct.Struct("=HHHHHxxHHIHHIHHIHHIHH16sHH")
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf")
# Their modules want a lock that a network namespace holds while it is taken down, until it gets the lock of IPVS; with
# this one held the kernel would load them.
PER_NAMESPACE = frozenset(("lblc", "lblcr"))


class VirtualKey(NamedTuple):
    """A virtual server's place."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}/{self.protocol}"


class RealKey(NamedTuple):
    """A real server's place behind a virtual one."""

    virtual: VirtualKey
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.virtual} -> {self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """How a virtual server chooses; persistent for so many seconds when not 0, by whole client addresses."""

    scheduler: str = "rr"
    persistence_seconds: int = 0
    hashes_ports: bool = False


@dataclass(frozen=True, slots=True)
class RealServer:
    """How much of the traffic a real server gets; weight 0 keeps what it has and gets nothing new."""

    weight: int = 1


class Load(NamedTuple):
    """The connections of a real server."""

    active: int
    inactive: int

    @property
    def is_idle(self) -> bool:
        return not (self.active or self.inactive)


class Timeouts(NamedTuple):
    """Seconds until an idle connection is forgotten; 0: as it was."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0


Key: TypeAlias = VirtualKey | RealKey
Value: TypeAlias = VirtualServer | RealServer
State: TypeAlias = Mapping[Key, Value]


class IpvsError(Exception):
    """Some changes were refused: each with the kernel's errno. All others were made."""

    def __init__(self, refused: Mapping[Key, int]) -> None:
        self.refused = refused
        key, code = next(iter(refused.items()))
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        super().__init__(f"{key}: {os.strerror(code)}{more}")


class Ipvs(Protocol):
    """What the kernel offers, and what the fake does too. OSError when there is no IPVS."""

    def commit(self, changes: Changes[Key, Value]) -> None:
        """Make the changes that can be made; IpvsError tells of the others."""
        ...

    def read(self, version: int) -> State:
        """All virtual and real servers of an IP version."""
        ...

    def virtual_servers(self, version: int) -> Mapping[VirtualKey, VirtualServer]: ...

    def loads(self, virtual: VirtualKey) -> Mapping[RealKey, Load]:
        """The connections of a virtual server's real servers; empty when it is gone."""
        ...

    def set_timeouts(self, timeouts: Timeouts) -> None: ...

    def timeouts(self) -> Timeouts: ...

    def flush(self) -> None:
        """Remove every virtual server, of both IP versions."""
        ...


def packed(address: str) -> tuple[int, bytes]:
    """An address's family and bytes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


class KernelIpvs:
    """The table of the network namespace that the first call is made in."""

    def __init__(self) -> None:
        self._opened: Genetlink | None = None
        self._loaded: set[str] = set()

    @property
    def _family(self) -> Genetlink:
        if self._opened is None:
            self._opened = Genetlink(FAMILY, VERSION)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def commit(self, changes: Changes[Key, Value]) -> None:
        steps = list(ordered(changes))
        if not steps:
            return
        self._load({value.scheduler for value in changes.put.values() if isinstance(value, VirtualServer)})
        codes = self._family.run([_command(*step) for step in steps])
        refused: dict[Key, int] = {}
        again: list[tuple[int, Key, Value]] = []
        for (number, key, value), code in zip(steps, codes, strict=True):
            if code == errno.EEXIST and number in TWINS:
                again.append((TWINS[number], key, value))
            elif code and not (number in (DEL_SERVICE, DEL_DEST) and code in GONE):
                refused[key] = code
        for (_, key, _), code in zip(again, self._family.run([_command(*step) for step in again]), strict=True):
            if code:
                refused[key] = code
        if refused:
            raise IpvsError(refused)

    def _load(self, schedulers: Set[str]) -> None:
        for scheduler in (PER_NAMESPACE & schedulers) - self._loaded:
            modules.load_now(f"ip_vs_{scheduler}")
            self._loaded.add(scheduler)

    def virtual_servers(self, version: int) -> dict[VirtualKey, VirtualServer]:
        found = (_virtual(answer[SERVICE]) for answer in self._family.dump(Command(GET_SERVICE)))
        return {pair[0]: pair[1] for pair in found if pair and (":" in pair[0].address) == (version == 6)}

    def read(self, version: int) -> State:
        """The real servers come from /proc: netlink wants one question for each virtual server, six times as slow."""
        found: dict[Key, Value] = {}
        found.update(self.virtual_servers(version).items())
        text = Path("/proc/thread-self/net/ip_vs").read_bytes()
        return found | {key: real for key, real in listed(text) if key.virtual in found}

    def loads(self, virtual: VirtualKey) -> dict[RealKey, Load]:
        try:
            answers = self._family.dump(Command(GET_DEST, _service(virtual)))
        except OSError as error:
            if error.errno in GONE:
                return {}
            raise
        pairs = (_real(virtual, answer[DEST]) for answer in answers)
        return {key: Load(_number(fields, D_ACTIVE), _number(fields, D_INACTIVE)) for key, fields in pairs}

    def set_timeouts(self, timeouts: Timeouts) -> None:
        kinds = zip((TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP), timeouts, strict=True)
        content = b"".join(attribute(kind, seconds.to_bytes(4, "little")) for kind, seconds in kinds)
        self._must(Command(SET_CONFIG, content), "timeouts")

    def timeouts(self) -> Timeouts:
        found = self._family.ask(Command(GET_CONFIG))
        return Timeouts(*(_number(found, kind) for kind in (TIMEOUT_TCP, TIMEOUT_TCP_FIN, TIMEOUT_UDP)))

    def flush(self) -> None:
        self._must(Command(FLUSH), "flush")

    def _must(self, command: Command, what: str) -> None:
        if code := self._family.run((command,))[0]:
            raise OSError(code, f"IPVS {what}: {os.strerror(code)}")


TWINS = {NEW_SERVICE: SET_SERVICE, NEW_DEST: SET_DEST}
GONE = (errno.ESRCH, errno.ENOENT)


def ordered(changes: Changes[Key, Value]) -> Iterator[tuple[int, Key, Value]]:
    """The commands in their order. A virtual server that goes takes its real servers along."""
    gone = {key for key in changes.remove if isinstance(key, VirtualKey) and key not in changes.put}
    for key, value in changes.remove.items():
        if key in gone:
            yield DEL_SERVICE, key, value
        elif isinstance(key, RealKey) and key not in changes.put and key.virtual not in gone:
            yield DEL_DEST, key, value
    behind: dict[VirtualKey, list[RealKey]] = {}
    for key in changes.put:
        if isinstance(key, RealKey):
            behind.setdefault(key.virtual, []).append(key)
        else:
            behind.setdefault(key, [])
    for virtual, reals in behind.items():
        if virtual in changes.put:
            yield SET_SERVICE if virtual in changes.remove else NEW_SERVICE, virtual, changes.put[virtual]
        for real in reals:
            yield SET_DEST if real in changes.remove else NEW_DEST, real, changes.put[real]


def _command(number: int, key: Key, value: Value) -> Command:
    if isinstance(key, VirtualKey):
        assert isinstance(value, VirtualServer)
        return Command(number, _service(key, value if number in (NEW_SERVICE, SET_SERVICE) else None))
    assert isinstance(value, RealServer)
    return Command(number, _service(key.virtual) + _dest(key, value))


def _service(key: VirtualKey, server: VirtualServer | None = None) -> bytes:
    """The place of a virtual server, and how it chooses when that is to be set."""
    family, address = packed(key.address)
    place = PLACE.pack(6, S_AF, family, 6, S_PROTOCOL, PROTOCOLS[key.protocol], 20, S_ADDRESS, address, 6, S_PORT)
    place += PORT.pack(key.port)
    if server is not None:
        flags = (F_PERSISTENT if server.persistence_seconds else 0) | (F_PORTS if server.hashes_ports else 0)
        fields = (S_TIMEOUT, server.persistence_seconds, S_NETMASK, HOST_MASKS[family])
        place += attribute(S_SCHEDULER, server.scheduler.encode() + b"\0")
        place += HOW.pack(12, S_FLAGS, flags, 0xFFFFFFFF, 8, *fields[:2], 8, *fields[2:])
    return ATTRIBUTE.pack(4 + len(place), SERVICE | NESTED) + place


def _dest(key: RealKey, server: RealServer) -> bytes:
    family, address = packed(key.address)
    fields = (8, D_METHOD, MASQUERADING, 8, D_WEIGHT, server.weight, 8, D_UPPER, 0, 8, D_LOWER, 0)
    head = (REAL_HEAD.size + PORT.size, DEST | NESTED, 6, D_AF, family, *fields, 20, D_ADDRESS, address, 6, D_PORT)
    return REAL_HEAD.pack(*head) + PORT.pack(key.port)


def _virtual(content: bytes) -> tuple[VirtualKey, VirtualServer] | None:
    """A virtual server; None for one by firewall mark, or of another protocol."""
    fields = attributes(content)
    protocol = PROTOCOL_NAMES.get(int.from_bytes(fields.get(S_PROTOCOL, b""), "little"))
    if protocol is None or S_ADDRESS not in fields:
        return None
    flags = struct.unpack_from("=I", fields[S_FLAGS])[0]
    key = VirtualKey(protocol, _address(fields, S_AF, S_ADDRESS), int.from_bytes(fields[S_PORT], "big"))
    persistence = _number(fields, S_TIMEOUT) if flags & F_PERSISTENT else 0
    scheduler = fields[S_SCHEDULER].rstrip(b"\0").decode()
    return key, VirtualServer(scheduler, persistence, bool(flags & F_PORTS))


def _real(virtual: VirtualKey, content: bytes) -> tuple[RealKey, dict[int, bytes]]:
    fields = attributes(content)
    return RealKey(virtual, _address(fields, D_AF, D_ADDRESS), int.from_bytes(fields[D_PORT], "big")), fields


def listed(text: bytes) -> Iterator[tuple[RealKey, RealServer]]:
    """The real servers in the text of /proc/net/ip_vs; those behind firewall marks are left out."""
    virtual: VirtualKey | None = None
    for line in text.splitlines()[3:]:
        words = line.split()
        if words[0] != b"->":
            protocol = words[0].decode().lower()
            virtual = VirtualKey(protocol, *_place(words[1])) if protocol in PROTOCOLS else None
        elif virtual is not None:
            yield RealKey(virtual, *_place(words[1])), RealServer(int(words[3]))


def _place(word: bytes) -> tuple[str, int]:
    """`0A600001:01BB`, or `[fd00:...]:01BB` with all its zeros."""
    address, _, port = word.rpartition(b":")
    if address[:1] == b"[":
        return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address[1:-1].replace(b":", b"").decode())), int(
            port, 16
        )
    return socket.inet_ntoa(bytes.fromhex(address.decode())), int(port, 16)


def _address(fields: Mapping[int, bytes], af: int, address: int) -> str:
    family = int.from_bytes(fields[af], "little")
    return socket.inet_ntop(family, fields[address][: 16 if family == socket.AF_INET6 else 4])


def _number(fields: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(fields.get(kind, b""), "little")
