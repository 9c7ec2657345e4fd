"""A dummy device and the addresses on it, by routing netlink: many changes in few system calls.

Stage: commit and read.  In: the device's name, addresses as text.  Out: the device of one network namespace; events.
Rules: the device stays down: its addresses are this machine's all the same, and nothing is ever sent through it.
An address that was put is in use when the call returns: those of IPv6 are a moment later than the kernel's answer.
FakeDummy obeys the same Protocol.
Truth: rtnetlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from clusterip.kernel import rtnetlink as rt
from clusterip.kernel.link import NETLINK_ROUTE
from clusterip.kernel.netlink import NLM_F_CREATE, NLM_F_REPLACE, attributes, messages
from clusterip.kernel.netlink_pipe import READ_BYTES, Call, Pipe

GROUPS = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
QUIET = {errno.EADDRNOTAVAIL, errno.EEXIST}
USABLE_SECONDS, LOOK_SECONDS = 1.0, 0.001


class Dummy(Protocol):
    """What the kernel offers, and what the fake does too. Refusals are OSErrors."""

    def ensure(self) -> None:
        """Make the device when it is not there."""
        ...

    def delete(self) -> None:
        """Remove the device and its addresses, quietly when it is not there."""
        ...

    def read(self, version: int) -> set[str] | None:
        """The addresses on the device; None when there is no device."""
        ...

    def change(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Put addresses on the device and take others off; what is so already is no error."""
        ...


class KernelDummy:
    """A device of the network namespace that the first call is made in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: Pipe | None = None

    @property
    def _pipe(self) -> Pipe:
        if self._opened is None:
            self._opened = Pipe(NETLINK_ROUTE)
        return self._opened

    @property
    def port(self) -> int:
        """Events of this number are about our own changes."""
        return self._pipe.port

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def index(self) -> int:
        """The device's number; 0 when it is not there."""
        body = rt.link_header() + rt.text(rt.IFLA_IFNAME, self.name)
        try:
            answers = self._pipe.ask(Call(rt.RTM_GETLINK, body), f"link {self.name}")
        except OSError as error:
            if error.errno == errno.ENODEV:
                return 0
            raise
        return int(rt.IFINFO.unpack_from(answers[0].body)[2])

    def ensure(self) -> None:
        if not self.index():
            request = rt.new_link(self.name, "dummy")
            self._pipe.do(Call(request.kind, request.body, request.flags), request.what)

    def delete(self) -> None:
        if index := self.index():
            self._pipe.do(Call(rt.RTM_DELLINK, rt.link_header(index)), f"delete {self.name}")

    def read(self, version: int) -> set[str] | None:
        index = self.index()
        return set(self._addresses(index, version)) if index else None

    def _addresses(self, index: int, version: int) -> Iterable[str]:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        header = rt.IFADDR.pack(family, 0, 0, 0, 0)
        for answer in self._pipe.dump(Call(rt.RTM_GETADDR, header), f"addresses of {self.name}"):
            if rt.IFADDR.unpack_from(answer.body)[4] == index:
                fields = attributes(answer.body[rt.IFADDR.size :])
                packed = fields.get(rt.IFA_LOCAL, fields.get(rt.IFA_ADDRESS, b""))
                text = socket.inet_ntop(family, packed)
                if not text.startswith("fe80:"):
                    yield text

    def change(self, add: Iterable[str], remove: Iterable[str]) -> None:
        index = self.index()
        if not index:
            raise OSError(errno.ENODEV, f"link {self.name}: {os.strerror(errno.ENODEV)}")
        added = list(add)
        calls = [_call(rt.RTM_DELADDR, 0, index, text) for text in remove]
        calls += [_call(rt.RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, text) for text in added]
        for code in self._pipe.run(calls):
            if code and code not in QUIET:
                raise OSError(code, f"addresses of {self.name}: {os.strerror(code)}")
        self._until_usable(text for text in added if ":" in text)

    def _until_usable(self, added: Iterable[str]) -> None:
        """The kernel's own worker makes the routes of addresses on a device that is down; no event is about that alone.

        Where it does not, as without a loopback device that is up, nobody is kept waiting: the rest is programmed.
        """
        ends = time.monotonic() + USABLE_SECONDS
        for text in added:
            while not self._is_own(text) and time.monotonic() < ends:
                time.sleep(LOOK_SECONDS)

    def _is_own(self, text: str) -> bool:
        """Whether packets to the IPv6 address stay on this machine."""
        wire = rt.RouteWire(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text), 128)
        try:
            found = self._pipe.ask(Call(rt.RTM_GETROUTE, wire.question()), text)
        except OSError:
            return False
        return any(rt.RTMSG.unpack_from(answer.body)[7] == rt.RTN_LOCAL for answer in found)


def _call(kind: int, flags: int, index: int, text: str) -> Call:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    packed = socket.inet_pton(family, text)
    request = rt.address(kind, flags, index, packed, 8 * len(packed), text)
    return Call(request.kind, request.body, request.flags)


class DummyEvents:
    """Tells when somebody else takes addresses of an IP version off a device, or the device away."""

    def __init__(self, dummy: KernelDummy, version: int, on_foreign: Callable[[], None]) -> None:
        self._dummy, self._on_foreign = dummy, on_foreign
        self._family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._index = dummy.index()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> None:
        """Read what happened; events that were lost count as a change."""
        foreign = False
        while True:
            try:
                foreign |= self._is_foreign(self._socket.recv(READ_BYTES))
            except BlockingIOError:
                break
            except OSError:
                foreign = True
        if foreign:
            self._index = self._dummy.index()
            self._on_foreign()

    def _is_foreign(self, datagram: bytes) -> bool:
        for event in messages(datagram):
            if event.port == self._dummy.port:
                continue
            if event.kind == rt.RTM_DELADDR:
                family, _, _, _, index = rt.IFADDR.unpack_from(event.body)
                if (family, index) == (self._family, self._index):
                    return True
            if event.kind == rt.RTM_DELLINK and rt.IFINFO.unpack_from(event.body)[2] == self._index:
                return True
        return False


class FakeDummy:
    """A device in memory."""

    def __init__(self) -> None:
        self.addresses: set[str] | None = None
        self.changes: list[tuple[Sequence[str], Sequence[str]]] = []

    def ensure(self) -> None:
        self.addresses = self.addresses or set()

    def delete(self) -> None:
        self.addresses = None

    def read(self, version: int) -> set[str] | None:
        if self.addresses is None:
            return None
        return {text for text in self.addresses if (":" in text) == (version == 6)}

    def change(self, add: Iterable[str], remove: Iterable[str]) -> None:
        if self.addresses is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        added, removed = list(add), list(remove)
        self.changes.append((added, removed))
        self.addresses = (self.addresses - set(removed)) | set(added)
