"""IPVS commands and listings as bytes and text; the kernel itself is asked in tests/uml/inside/test_ipvs_kernel.py."""

from __future__ import annotations

from clusterip.diff import Changes
from clusterip.kernel.ipvs import (
    DEL_DEST,
    DEL_SERVICE,
    NEW_DEST,
    NEW_SERVICE,
    SET_DEST,
    SET_SERVICE,
    RealKey,
    RealServer,
    VirtualKey,
    VirtualServer,
    listed,
    ordered,
)

WEB, DNS = VirtualKey("tcp", "10.96.0.20", 80), VirtualKey("udp", "10.96.0.10", 53)
ONE, TWO = RealKey(WEB, "10.244.1.5", 8080), RealKey(WEB, "10.244.2.5", 8080)
NAME = RealKey(DNS, "10.244.1.6", 53)
LISTING = b"""IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600014:0050 rr persistent 10800 FFFFFFFF
  -> 0AF40205:1F90      Masq    1      0          2
  -> 0AF40105:1F90      Masq    3      1          0
FWM  00000001 wlc
  -> 0AF40105:0000      Route   1      0          0
UDP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 rr
  -> [fd00:0010:0244:0001:0000:0000:0000:0005]:0035      Masq    1      0          0
"""


def test_each_virtual_server_comes_with_its_real_ones() -> None:
    """None is there for long without them, and what goes makes room first."""
    put = {ONE: RealServer(), NAME: RealServer(), WEB: VirtualServer(), TWO: RealServer(), DNS: VirtualServer()}
    steps = [(number, key) for number, key, _ in ordered(Changes(put))]
    assert steps == [
        (NEW_SERVICE, WEB),
        (NEW_DEST, ONE),
        (NEW_DEST, TWO),
        (NEW_SERVICE, DNS),
        (NEW_DEST, NAME),
    ]


def test_what_is_there_is_set_and_what_goes_takes_those_behind_it() -> None:
    changes = Changes(
        {WEB: VirtualServer("wrr"), ONE: RealServer(3)},
        {WEB: VirtualServer(), ONE: RealServer(), TWO: RealServer(), DNS: VirtualServer(), NAME: RealServer()},
    )
    assert [(number, key) for number, key, _ in ordered(changes)] == [
        (DEL_DEST, TWO),
        (DEL_SERVICE, DNS),
        (SET_SERVICE, WEB),
        (SET_DEST, ONE),
    ]


def test_the_kernels_listing() -> None:
    v6 = VirtualKey("udp", "fd00:10:96::a", 53)
    assert dict(listed(LISTING)) == {
        TWO: RealServer(1),
        ONE: RealServer(3),
        RealKey(v6, "fd00:10:244:1::5", 53): RealServer(1),
    }
