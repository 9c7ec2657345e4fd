"""IP sets: sets and their entries as one flat mapping, changed by nfnetlink.

Stage: commit and read.  In: Changes of a State.  Out: the kernel's sets of one network namespace; refusals by key.
Rules: no Service is known.  Entries are texts as `ipset list` prints them.  Each change is done or refused by itself:
sets are made before their entries, entries go before their sets.  ipset_fake.py obeys the same Protocol.
Truth: linux/netfilter/ipset/ip_set.h; ipset(8) 7.17.  The revisions are those that kernels since 4.7 and ipset 6.24
both know, so that an older `ipset` can list what is made here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from clusterip.diff import Changes
from clusterip.kernel.netlink import ATTRIBUTE, KIND_MASK, NETLINK_NETFILTER, attribute, attributes, nest
from clusterip.kernel.netlink_pipe import Call, Pipe

SUBSYSTEM = 6 << 8
CREATE, DESTROY, LIST, ADD, DELETE = 2, 3, 7, 9, 10
A_PROTOCOL, A_NAME, A_TYPE, A_REVISION, A_FAMILY, A_FLAGS, A_DATA, A_ENTRIES = range(1, 9)
D_IP, D_CIDR, D_PORT, D_PORT_TO, D_PROTO = 1, 3, 4, 5, 7
D_HASH_SIZE, D_MAXIMUM, D_IP2, D_CIDR2 = 18, 19, 20, 21
D_ELEMENTS = 24
HEADER_ONLY = 1 << 2
NET_ORDER = 0x4000
VERSION = 6
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
HASH_SIZE, MAXIMUM = 1024, 65536
HASH_IP, HASH_IP_PORT, BITMAP_PORT = "hash:ip", "hash:ip,port", "bitmap:port"
HASH_IP_PORT_IP, HASH_IP_PORT_NET = "hash:ip,port,ip", "hash:ip,port,net"
REVISIONS = {HASH_IP: 4, HASH_IP_PORT: 5, HASH_IP_PORT_IP: 5, HASH_IP_PORT_NET: 7, BITMAP_PORT: 3}
REASONS = {
    4097: "another protocol of ip sets",
    4098: "this kernel has no such type of set; load its module",
    4099: "too many sets",
    4100: "the set is in use",
    4103: "the set or the entry is there already",
    4104: "no such prefix length",
    4352: "the set is full",
}


class SetKey(NamedTuple):
    """A set by its name."""

    name: str


class EntryKey(NamedTuple):
    """One entry of a set, as `ipset list` prints it."""

    set: str
    entry: str


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set's type, and the IP version of its addresses."""

    type: str
    version: int = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """That an entry is there."""


ENTRY = Entry()
Key: TypeAlias = SetKey | EntryKey
Value: TypeAlias = SetSpec | Entry
State: TypeAlias = Mapping[Key, Value]


class IpsetError(Exception):
    """Some changes were refused, each with a reason. All others were made."""

    def __init__(self, refused: Mapping[Key, str]) -> None:
        self.refused = refused
        key, reason = next(iter(refused.items()))
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        super().__init__(f"{' '.join(key)}: {reason}{more}")


class Ipset(Protocol):
    """What the kernel offers, and what the fake does too. OSError when there are no sets in this kernel."""

    def commit(self, changes: Changes[Key, Value]) -> None:
        """Make the changes that can be made; what is so already is no error. IpsetError tells of the others."""
        ...

    def read(self, names: Iterable[str]) -> State:
        """Those of the sets that exist, with their entries."""
        ...

    def sizes(self, names: Iterable[str]) -> Mapping[str, int]:
        """How many entries each existing set has."""
        ...


class KernelIpset:
    """The sets of the network namespace that the first call is made in."""

    def __init__(self) -> None:
        self._opened: Pipe | None = None

    @property
    def _pipe(self) -> Pipe:
        if self._opened is None:
            self._opened = Pipe(NETLINK_NETFILTER)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def commit(self, changes: Changes[Key, Value]) -> None:
        steps = list(ordered(changes))
        codes = self._pipe.run([_call(*step) for step in steps])
        refused = {
            key: _reason(code)
            for (kind, key, _), code in zip(steps, codes, strict=True)
            if code and not (kind in (DESTROY, DELETE) and code == errno.ENOENT)
        }
        if refused:
            raise IpsetError(refused)

    def read(self, names: Iterable[str]) -> State:
        found: dict[Key, Value] = {}
        for name in names:
            spec = None
            for fields in self._list(name):
                spec = spec or _spec(fields)  # a long set is told in several messages, the type in the first
                found[SetKey(name)] = spec
                for kind, content in each(fields.get(A_ENTRIES, b"")):
                    if kind == A_DATA:
                        found[EntryKey(name, _entry_text(spec, attributes(content)))] = ENTRY
        return found

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        found = {}
        for name in names:
            for fields in self._list(name, attribute(A_FLAGS | NET_ORDER, HEADER_ONLY.to_bytes(4, "big"))):
                header = attributes(fields.get(A_DATA, b""))
                if D_ELEMENTS in header:
                    found[name] = int.from_bytes(header[D_ELEMENTS], "big")
        return found

    def _list(self, name: str, more: bytes = b"") -> Iterator[dict[int, bytes]]:
        try:
            answers = self._pipe.dump(Call(SUBSYSTEM | LIST, _body(4, _text(A_NAME, name), more)), f"set {name}")
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        yield from (attributes(answer.body[4:]) for answer in answers)


def ordered(changes: Changes[Key, Value]) -> Iterator[tuple[int, Key, Value]]:
    """The commands in their order. A set that changes is made anew, which the kernel allows while nothing uses it."""
    for key, value in changes.remove.items():
        if isinstance(key, EntryKey) and key not in changes.put:
            yield DELETE, key, value
    for key, value in changes.remove.items():
        if isinstance(key, SetKey):
            yield DESTROY, key, value
    for key, value in changes.put.items():
        if isinstance(key, SetKey):
            yield CREATE, key, value
    for key, value in changes.put.items():
        if isinstance(key, EntryKey):
            yield ADD, key, value


def _call(kind: int, key: Key, value: Value) -> Call:
    if isinstance(key, EntryKey):
        fields = (_text(A_NAME, key.set), nest(A_DATA, *_entry(key.entry)))
        return Call(SUBSYSTEM | kind, _body(6 if ":" in key.entry.split(",")[0] else 4, *fields))
    if kind == DESTROY:
        return Call(SUBSYSTEM | kind, _body(4, _text(A_NAME, key.name)))
    assert isinstance(value, SetSpec)
    return Call(SUBSYSTEM | kind, _body(value.version, *_creation(key.name, value)))


def _creation(name: str, spec: SetSpec) -> Iterator[bytes]:
    family = socket.AF_INET if spec.version == 4 else socket.AF_INET6
    yield _text(A_NAME, name)
    yield _text(A_TYPE, spec.type)
    yield attribute(A_REVISION, bytes([REVISIONS[spec.type]]))
    yield attribute(A_FAMILY, bytes([socket.AF_UNSPEC if spec.type == BITMAP_PORT else family]))
    if spec.type == BITMAP_PORT:
        yield nest(A_DATA, _port(D_PORT, 0), _port(D_PORT_TO, 65535))
    else:
        sizes = ((D_HASH_SIZE, HASH_SIZE), (D_MAXIMUM, MAXIMUM))
        yield nest(A_DATA, *(attribute(kind | NET_ORDER, size.to_bytes(4, "big")) for kind, size in sizes))


def _entry(text: str) -> Iterator[bytes]:
    """`30080`, `10.96.0.1`, `10.96.0.1,tcp:80`, `10.96.0.1,tcp:80,10.0.0.0/8`."""
    first, _, rest = text.partition(",")
    if first.isdigit():
        yield _port(D_PORT, int(first))
        return
    yield _address(D_IP, first)
    if not rest:
        return
    service, _, other = rest.partition(",")
    protocol, _, port = service.partition(":")
    yield _port(D_PORT, int(port))
    yield attribute(D_PROTO, bytes([PROTOCOLS[protocol]]))
    if other:
        address, _, prefix = other.partition("/")
        yield _address(D_IP2, address)
        if prefix:
            yield attribute(D_CIDR2, bytes([int(prefix)]))


def _entry_text(spec: SetSpec, fields: Mapping[int, bytes]) -> str:
    port = str(int.from_bytes(fields.get(D_PORT, b""), "big"))
    if spec.type == BITMAP_PORT:
        return port
    text = _address_text(fields[D_IP])
    if D_PORT in fields:
        number = fields[D_PROTO][0]
        text += f",{PROTOCOL_NAMES.get(number, number)}:{port}"
    if D_IP2 in fields:
        prefix = fields.get(D_CIDR2, b"\0")[0]
        whole = 32 if spec.version == 4 else 128
        text += f",{_address_text(fields[D_IP2])}" + (f"/{prefix}" if prefix not in (0, whole) else "")
    return text


def _spec(fields: Mapping[int, bytes]) -> SetSpec:
    version = 6 if fields[A_FAMILY][0] == socket.AF_INET6 else 4
    return SetSpec(fields[A_TYPE].rstrip(b"\0").decode(), version)


def _body(version: int, *fields: bytes) -> bytes:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return struct.pack("=BBH", family, 0, 0) + attribute(A_PROTOCOL, bytes([VERSION])) + b"".join(fields)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _port(kind: int, port: int) -> bytes:
    return attribute(kind | NET_ORDER, port.to_bytes(2, "big"))


def _address(kind: int, text: str) -> bytes:
    family, inner = (socket.AF_INET6, 2) if ":" in text else (socket.AF_INET, 1)
    return nest(kind, attribute(inner | NET_ORDER, socket.inet_pton(family, text)))


def _address_text(content: bytes) -> str:
    kind, packed = next(each(content))
    return socket.inet_ntop(socket.AF_INET6 if kind == 2 else socket.AF_INET, packed)


def each(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in their order; a kind may come many times."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(content):
        length, kind = ATTRIBUTE.unpack_from(content, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind & KIND_MASK, content[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _reason(code: int) -> str:
    return REASONS.get(code) or (os.strerror(code) if code < 4096 else f"ip set error {code}")
