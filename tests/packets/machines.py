"""Machines of a packet test: network namespaces with sockets in them that answer who they saw, and ask.

Every machine speaks IPv4 and IPv6.  Nothing here touches the host's network; all is gone with the last descriptor.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from clusterip.kernel import netns, sysctl
from clusterip.kernel.link import Netlink

T = TypeVar("T")
TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
NO_WAITING = {
    f"net.ipv6.conf.{where}.{what}": 0 for where in ("all", "default") for what in ("accept_dad", "accept_ra")
}
ANSWER_SECONDS = 30.0  # what will come comes, also on a busy machine
_PLACE = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d+)(?:/(\w+))?")


@dataclass(frozen=True)
class Where:
    """`10.96.0.20:80/tcp` or `[fd00::1]:80/tcp`, in its parts."""

    address: str
    port: int
    protocol: str

    @classmethod
    def of(cls, text: str) -> Where:
        found = _PLACE.fullmatch(text)
        assert found, text
        return cls(found[1] or found[2], int(found[3]), found[4] or "tcp")

    @property
    def text(self) -> str:
        return f"{host(self.address)}:{self.port}"


def host(address: str) -> str:
    """As an address is written before a port."""
    return f"[{address}]" if ":" in address else address


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Machine:
    """A network namespace with its loopback up."""

    def __init__(self) -> None:
        self.fd = netns.create()
        self.inside(lambda: sysctl.apply(NO_WAITING))
        with Netlink(self.fd) as netlink:
            netlink.set_up("lo")

    def inside(self, act: Callable[[], T]) -> T:
        return netns.inside(self.fd, act)

    def close(self) -> None:
        os.close(self.fd)


def ask(source: str, where: Where, *, seconds: float, from_port: int) -> str:
    """What a new connection from here gets: `<endpoint> saw <address>`, refused, or silence."""
    with socket.socket(family_of(where.address), TYPES[where.protocol]) as sock:
        sock.settimeout(seconds)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, from_port))
        try:
            sock.connect((where.address, where.port))
            with suppress(PermissionError):  # what is refused on its way out is an error of send, and of the next recv
                sock.send(b"?")
            return sock.recv(200).decode() or "silence"
        except (ConnectionRefusedError, ConnectionResetError):
            return "refused"
        except OSError:
            return "silence"


class Answerer:
    """One thread that serves all sockets of a lab."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[Where, socket.socket] = {}
        self._lock = threading.Lock()
        self._wake, other = socket.socketpair()
        self._selector.register(other, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, machine: Machine, where: Where) -> None:
        if where in self._sockets:
            return

        def listen() -> socket.socket:
            sock = socket.socket(family_of(where.address), TYPES[where.protocol])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((where.address, where.port))
            if where.protocol == "tcp":
                sock.listen(128)
            return sock

        with self._lock:
            self._sockets[where] = sock = machine.inside(listen)
            self._selector.register(sock, selectors.EVENT_READ, where)

    def remove(self, where: Where) -> None:
        with self._lock:
            sock = self._sockets.pop(where)
            self._selector.unregister(sock)
            sock.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with self._lock, suppress(OSError, ValueError):
                    if key.data in self._sockets:
                        self._answer(self._sockets[key.data], key.data)

    @staticmethod
    def _answer(sock: socket.socket, where: Where) -> None:
        if where.protocol == "udp":
            _, peer = sock.recvfrom(100)
            sock.sendto(f"{where.text} saw {peer[0]}".encode(), peer)
            return
        connection, peer = sock.accept()
        with connection:
            connection.sendall(f"{where.text} saw {peer[0]}".encode())
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for sock in self._sockets.values():
            sock.close()
        self._selector.close()
        self._wake.close()
