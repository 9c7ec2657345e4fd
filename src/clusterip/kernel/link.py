"""Links, addresses, routes and neighbours of one network namespace, over a routing netlink socket.

Stage: kernel.  In: names and typed addresses.  Out: changes of that namespace; links, addresses, routes as values.
Rules: the socket belongs to the namespace it was opened in, whatever the calling thread does later.  Each change is one
request and one acknowledgement, some 20 microseconds, so calls block.
Truth: rtnetlink(7); the bytes are in rtnetlink.py.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from types import TracebackType
from typing import Literal, Self

from clusterip.kernel import netlink, netns
from clusterip.kernel import rtnetlink as rt

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
RouteKind = Literal["unicast", "local", "blackhole", "unreachable"]

DEFAULT = IPv4Network("0.0.0.0/0")

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
READ_SIZE = 1 << 16


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    name: str
    index: int
    mac: str
    up: bool
    mtu: int = 1500
    kind: str = ""
    master: int = 0
    peer: int = 0  # a veth's other end: its index, in that end's namespace
    flags: int = 0  # IFF_*


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table."""

    destination: Network
    via: Address | None
    dev: str | None
    source: Address | None
    kind: int = rt.RTN_UNICAST


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of a link."""

    dev: str
    address: Interface


def _open(netns_fd: int | None) -> socket.socket:
    def make() -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        opened.bind((0, 0))
        return opened

    return make() if netns_fd is None else netns.inside(netns_fd, make)


class Netlink:
    """The links of one network namespace (of the calling thread's, when none is given)."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = _open(netns_fd)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # -- asking ---------------------------------------------------------------------------------------------------

    def _ask(self, request: rt.Request) -> None:
        """Send one change; its refusal is an OSError with the kernel's errno."""
        self._sequence += 1
        self._socket.send(request.to_wire(self._sequence, netlink.NLM_F_ACK))
        while True:
            for kind, sequence, _, body in netlink.messages(self._socket.recv(READ_SIZE)):
                if sequence != self._sequence or kind != netlink.NLMSG_ERROR:
                    continue
                if number := netlink.error_of(body):
                    raise OSError(number, f"{request.what}: {os.strerror(number)}")
                return

    def _dump(self, kind: int, header: bytes) -> Iterator[bytes]:
        """The bodies of all objects of a kind."""
        self._sequence += 1
        self._socket.send(rt.Request(kind, netlink.NLM_F_DUMP, header, "dump").to_wire(self._sequence))
        while True:
            for answer, sequence, _, body in netlink.messages(self._socket.recv(READ_SIZE)):
                if sequence != self._sequence:
                    continue
                if answer in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                    if number := netlink.error_of(body):
                        raise OSError(number, f"netlink dump: {os.strerror(number)}")
                    return
                yield body

    def index(self, name: str) -> int:
        """The index of a link; OSError ENODEV when there is none of this name."""
        body = rt.link_header() + rt.text(rt.IFLA_IFNAME, name)
        self._sequence += 1
        request = rt.Request(rt.RTM_GETLINK, 0, body, f"link {name}")
        self._socket.send(request.to_wire(self._sequence))
        while True:
            for kind, sequence, _, answer in netlink.messages(self._socket.recv(READ_SIZE)):
                if sequence != self._sequence:
                    continue
                if kind == netlink.NLMSG_ERROR:
                    number = netlink.error_of(answer)
                    raise OSError(number, f"link {name}: {os.strerror(number)}")
                return int(rt.IFINFO.unpack_from(answer)[2])

    # -- links ----------------------------------------------------------------------------------------------------

    def add_bridge(self, name: str, mac: str | None = None) -> None:
        """A bridge, down; its own mac when given (else it changes with the ports)."""
        more = netlink.attribute(rt.IFLA_ADDRESS, rt.mac_bytes(mac)) if mac else b""
        self._ask(rt.new_link(name, "bridge", more=more))

    def add_veth(
        self,
        name: str,
        peer: str,
        peer_netns_fd: int | None = None,
        *,
        mac: str | None = None,
        peer_mac: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """A veth pair, both ends down; the peer is born in its namespace."""
        self._ask(rt.veth(name, peer, peer_netns_fd, mac, peer_mac, mtu))

    def _set(self, name: str, what: str, more: bytes = b"", flags: int = 0, change: int = 0) -> None:
        header = rt.link_header(self.index(name), flags, change)
        self._ask(rt.Request(rt.RTM_NEWLINK, 0, header + more, what))

    def set_up(self, name: str) -> None:
        self._set(name, f"set {name} up", flags=rt.IFF_UP, change=rt.IFF_UP)

    def set_down(self, name: str) -> None:
        self._set(name, f"set {name} down", change=rt.IFF_UP)

    def set_master(self, name: str, bridge: str) -> None:
        """Make the link a port of the bridge."""
        self._set(name, f"put {name} on {bridge}", rt.number(rt.IFLA_MASTER, self.index(bridge)))

    def rename(self, name: str, new_name: str) -> None:
        """Give the link (which must be down) another name."""
        self._set(name, f"rename {name} to {new_name}", rt.text(rt.IFLA_IFNAME, new_name))

    def delete_link(self, name: str) -> bool:
        """Remove the link, and with it a veth's other end; whether it was there."""
        body = rt.link_header() + rt.text(rt.IFLA_IFNAME, name)
        return self._remove(rt.Request(rt.RTM_DELLINK, 0, body, f"delete link {name}"), errno.ENODEV)

    def _remove(self, request: rt.Request, *absent: int) -> bool:
        try:
            self._ask(request)
        except OSError as error:
            if error.errno in absent:
                return False
            raise
        return True

    def link(self, name: str) -> Link | None:
        """The link of this name."""
        return next((link for link in self.links() if link.name == name), None)

    def links(self) -> list[Link]:
        """Every link."""
        return [_link(body) for body in self._dump(rt.RTM_GETLINK, rt.link_header())]

    # -- addresses ------------------------------------------------------------------------------------------------

    def add_address(self, name: str, address: Interface | Address | str) -> None:
        """Give the link an address with its prefix; there already is no error."""
        self._address(rt.RTM_NEWADDR, netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE, name, address)

    def delete_address(self, name: str, address: Interface | Address | str) -> bool:
        """Take the address off the link; whether it was there."""
        try:
            self._address(rt.RTM_DELADDR, 0, name, address)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
                return False
            raise
        return True

    def _address(self, kind: int, flags: int, name: str, address: Interface | Address | str) -> None:
        interface = ip_interface(address)
        packed, prefix = interface.ip.packed, interface.network.prefixlen
        self._ask(rt.address(kind, flags, self.index(name), packed, prefix, f"address {interface} of {name}"))

    def addresses(self) -> list[LinkAddress]:
        """Every address of every link."""
        names = {link.index: link.name for link in self.links()}
        found = []
        for body in self._dump(rt.RTM_GETADDR, rt.IFADDR.pack(0, 0, 0, 0, 0)):
            _, prefix, _, _, index = rt.IFADDR.unpack_from(body)
            fields = netlink.attributes(body[rt.IFADDR.size :])
            packed = fields.get(rt.IFA_LOCAL, fields.get(rt.IFA_ADDRESS, b""))
            found.append(LinkAddress(names.get(index, ""), ip_interface((packed, prefix))))
        return found

    # -- routes and neighbours ------------------------------------------------------------------------------------

    def _route(
        self,
        destination: Network | str,
        via: Address | str | None,
        dev: str | None,
        src: Address | str | None,
        kind: RouteKind,
        scope_link: bool,
        onlink: bool,
    ) -> rt.RouteWire:
        network = ip_network(destination)
        return rt.RouteWire(
            family=rt.AF_INET if network.version == 4 else rt.AF_INET6,
            destination=network.network_address.packed,
            prefix=network.prefixlen,
            gateway=b"" if via is None else ip_address(via).packed,
            oif=0 if dev is None else self.index(dev),
            source=b"" if src is None else ip_address(src).packed,
            kind=rt.ROUTE_KINDS[kind],
            scope=rt.RT_SCOPE_LINK if scope_link else rt.RT_SCOPE_UNIVERSE,
            flags=rt.RTNH_F_ONLINK if onlink else 0,
        )

    def add_route(
        self,
        destination: Network | str,
        via: Address | str | None = None,
        dev: str | None = None,
        scope_link: bool = False,
        onlink: bool = False,
        src: Address | str | None = None,
        kind: RouteKind = "unicast",
    ) -> None:
        """Put the route into the main table; one to the same destination is replaced."""
        wire = self._route(destination, via, dev, src, kind, scope_link or (via is None and dev is not None), onlink)
        what = f"route {destination}" + (f" via {via}" if via else "") + (f" dev {dev}" if dev else "")
        self._ask(rt.Request(rt.RTM_NEWROUTE, netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE, wire.body(), what))

    def delete_route(
        self,
        destination: Network | str,
        via: Address | str | None = None,
        dev: str | None = None,
        kind: RouteKind = "unicast",
    ) -> bool:
        """Remove the route; whether it was there."""
        try:
            wire = self._route(destination, via, dev, None, kind, via is None and dev is not None, False)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return self._remove(rt.Request(rt.RTM_DELROUTE, 0, wire.body(), f"delete route {destination}"), errno.ESRCH)

    def routes(self) -> list[Route]:
        """The routes of the main table, IPv4."""
        names = {link.index: link.name for link in self.links()}
        header = rt.RTMSG.pack(rt.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        found = [_route(body, names) for body in self._dump(rt.RTM_GETROUTE, header)]
        return [route for route in found if route is not None]

    def add_neighbour(self, dev: str, address: Address | str, mac: str) -> None:
        """Fix the link-layer address of a neighbour: no ARP is asked for it."""
        packed = ip_address(address).packed
        self._ask(rt.neighbour(self.index(dev), packed, mac, f"neighbour {address} on {dev}"))


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = rt.IFINFO.unpack_from(body)
    fields = netlink.attributes(body[rt.IFINFO.size :])
    details = netlink.attributes(fields.get(rt.IFLA_LINKINFO, b""))
    return Link(
        name=fields[rt.IFLA_IFNAME].rstrip(b"\0").decode(),
        index=index,
        mac=fields.get(rt.IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & rt.IFF_UP),
        mtu=int.from_bytes(fields.get(rt.IFLA_MTU, b""), "little"),
        kind=details.get(rt.IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
        master=int.from_bytes(fields.get(rt.IFLA_MASTER, b""), "little"),
        peer=int.from_bytes(fields.get(rt.IFLA_LINK, b""), "little"),
        flags=flags,
    )


def _route(body: bytes, names: dict[int, str]) -> Route | None:
    _, prefix, _, _, table, _, _, kind, _ = rt.RTMSG.unpack_from(body)
    if table != rt.RT_TABLE_MAIN:
        return None
    fields = netlink.attributes(body[rt.RTMSG.size :])
    gateway, source = fields.get(rt.RTA_GATEWAY), fields.get(rt.RTA_PREFSRC)
    oif = int.from_bytes(fields.get(rt.RTA_OIF, b""), "little")
    return Route(
        destination=ip_network((fields.get(rt.RTA_DST, bytes(4)), prefix)),
        via=None if gateway is None else ip_address(gateway),
        dev=names.get(oif),
        source=None if source is None else ip_address(source),
        kind=kind,
    )
