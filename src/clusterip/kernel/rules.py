"""Policy routing: rules that choose a routing table, and routes in tables other than the main one.

Stage: kernel.  In: `Rule`s, routes.  Out: changes of one network namespace.
Rules: what is there already is no error, so that a plan may be carried out again.
Truth: ip-rule(8), linux/fib_rules.h, net/core/fib_rules.c.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from clusterip.kernel import rtnetlink as rt
from clusterip.kernel.link import Netlink
from clusterip.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attribute

RTM_NEWRULE, RTM_DELRULE = 32, 33
FRA_DST, FRA_IIFNAME, FRA_PRIORITY, FRA_TABLE, FRA_IP_PROTO, FRA_DPORT_RANGE = 1, 3, 6, 15, 22, 24
TO_TABLE = 1
LOCAL, MAIN = 255, 254
IPPROTO_TCP = 6
RT_SCOPE_HOST = 254
IFF_NOARP = 0x80
HEADER = struct.Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets that match look into the table; what finds no route there goes on to the next rule."""

    priority: int
    table: int
    iif: str = ""
    to: IPv4Address | None = None
    tcp_port: int = 0

    def body(self) -> bytes:
        head = HEADER.pack(rt.AF_INET, 32 if self.to else 0, 0, 0, min(self.table, 255), TO_TABLE, 0)
        return head + b"".join(self._attributes())

    def _attributes(self) -> list[bytes]:
        found = [rt.number(FRA_PRIORITY, self.priority), rt.number(FRA_TABLE, self.table)]
        if self.iif:
            found.append(rt.text(FRA_IIFNAME, self.iif))
        if self.to:
            found.append(attribute(FRA_DST, self.to.packed))
        if self.tcp_port:
            ports = struct.pack("=HH", self.tcp_port, self.tcp_port)
            found += [attribute(FRA_IP_PROTO, bytes([IPPROTO_TCP])), attribute(FRA_DPORT_RANGE, ports)]
        return found


class PolicyNetlink(Netlink):
    """The links of a namespace, its rules, and its other tables."""

    def add_rule(self, rule: Rule) -> None:
        """Have the rule."""
        with contextlib.suppress(FileExistsError):
            self._ask(rt.Request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule.body(), f"rule {rule}"))

    def delete_rule(self, rule: Rule) -> bool:
        """Have no such rule; whether it was there."""
        return self._remove(rt.Request(RTM_DELRULE, 0, rule.body(), f"delete rule {rule}"), errno.ENOENT)

    def route_in(
        self,
        table: int,
        destination: IPv4Network,
        dev: str | None = None,
        via: IPv4Address | None = None,
        src: IPv4Address | None = None,
        kind: int = rt.RTN_UNICAST,
    ) -> None:
        """Put the route into the table; the gateway need not be on the link's own network."""
        wire = rt.RouteWire(
            family=rt.AF_INET,
            destination=destination.network_address.packed,
            prefix=destination.prefixlen,
            gateway=via.packed if via else b"",
            oif=self.index(dev) if dev else 0,
            source=src.packed if src else b"",
            kind=kind,
            scope=RT_SCOPE_HOST
            if kind == rt.RTN_LOCAL
            else rt.RT_SCOPE_UNIVERSE
            if via or not dev
            else rt.RT_SCOPE_LINK,
            flags=rt.RTNH_F_ONLINK if via and dev else 0,
            table=table,
        )
        self._ask(rt.Request(rt.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, wire.body(), f"route {destination}"))

    def own_without_route(self, name: str, address: IPv4Address) -> None:
        """An address that may be spoken from, while packets to it are routed like any other's."""
        self.add_address(name, f"{address}/32")
        of_any_protocol = rt.RTMSG.pack(rt.AF_INET, 32, 0, 0, LOCAL, 0, RT_SCOPE_HOST, rt.RTN_LOCAL, 0)
        body = of_any_protocol + attribute(rt.RTA_DST, address.packed) + rt.number(rt.RTA_OIF, self.index(name))
        self._remove(rt.Request(rt.RTM_DELROUTE, 0, body, f"delete local route {address}"), errno.ESRCH)

    def without_arp(self, name: str) -> None:
        """The link neither asks nor answers for addresses."""
        self._set(name, f"set {name} arp off", flags=IFF_NOARP, change=IFF_NOARP)
