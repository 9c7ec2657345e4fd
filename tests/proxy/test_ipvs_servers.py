"""Real servers that leave, and schedulers that a kernel lacks."""

from __future__ import annotations

import logging

import pytest

from clusterip.diff import Changes
from clusterip.kernel.ipvs import IpvsError, Key, Load, RealKey, RealServer, Value, VirtualKey, VirtualServer
from clusterip.kernel.ipvs_fake import FakeIpvs
from clusterip.proxy.backends.ipvs_servers import NOTHING_NEW, Servers

WEB, DNS = VirtualKey("tcp", "10.96.0.20", 80), VirtualKey("udp", "10.96.0.20", 53)
ONE, TWO = RealKey(WEB, "10.244.1.5", 8080), RealKey(WEB, "10.244.2.5", 8080)
NAME = RealKey(DNS, "10.244.1.5", 53)
ALL: dict[Key, Value] = {
    WEB: VirtualServer(),
    ONE: RealServer(),
    TWO: RealServer(),
    DNS: VirtualServer(),
    NAME: RealServer(),
}


def started(schedulers: tuple[str, ...] = ("rr", "wrr")) -> tuple[FakeIpvs, Servers]:
    fake = FakeIpvs(schedulers)
    servers = Servers(fake, "rr")
    servers.commit(Changes(ALL))
    return fake, servers


def test_an_idle_server_goes_at_once() -> None:
    fake, servers = started()
    servers.commit(Changes(remove={ONE: RealServer()}))
    assert ONE not in fake.state
    assert servers.leaving == set()


def test_one_with_connections_waits_for_their_end() -> None:
    fake, servers = started()
    fake.connections[ONE] = Load(1, 2)
    servers.commit(Changes(remove={ONE: RealServer()}))
    assert fake.state[ONE] == NOTHING_NEW
    assert ONE not in servers.hidden(fake.read(4))
    assert servers.sweep() == 0
    fake.connections[ONE] = Load(0, 0)
    assert servers.sweep() == 1
    assert ONE not in fake.state
    assert servers.sweep() == 0


def test_udp_is_not_waited_for() -> None:
    fake, servers = started()
    fake.connections[NAME] = Load(3, 0)
    servers.commit(Changes(remove={NAME: RealServer()}))
    assert NAME not in fake.state


def test_one_that_comes_back_gets_its_weight() -> None:
    fake, servers = started()
    fake.connections[ONE] = Load(1, 0)
    servers.commit(Changes(remove={ONE: RealServer()}))
    servers.commit(Changes({ONE: RealServer(5)}))
    assert fake.state[ONE] == RealServer(5)
    assert servers.leaving == set()


def test_a_virtual_server_takes_those_behind_it_along() -> None:
    fake, servers = started()
    fake.connections[ONE] = Load(1, 0)
    servers.commit(Changes(remove={ONE: RealServer()}))
    servers.commit(Changes(remove={WEB: VirtualServer(), TWO: RealServer()}))
    assert set(fake.state) == {DNS, NAME}
    assert servers.leaving == set()


def test_a_restart_finds_those_that_were_leaving() -> None:
    """Weight 0 is not what was wanted, so they are removed again, and wait again."""
    fake, servers = started()
    fake.connections[ONE] = Load(1, 0)
    servers.commit(Changes(remove={ONE: RealServer()}))
    again = Servers(fake, "rr")
    assert again.hidden(fake.read(4))[ONE] == NOTHING_NEW
    again.commit(Changes(remove={ONE: NOTHING_NEW}))
    assert again.leaving == {ONE}


def test_somebody_else_removed_it() -> None:
    fake, servers = started()
    fake.connections[ONE] = Load(1, 0)
    servers.commit(Changes(remove={ONE: RealServer()}))
    del fake.state[ONE]
    servers.sweep()
    assert servers.leaving == set()


def test_a_scheduler_that_the_kernel_lacks_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    fake, servers = started()
    put: dict[Key, Value] = {WEB: VirtualServer("mh", hashes_ports=True), ONE: RealServer(), DNS: VirtualServer("wrr")}
    with caplog.at_level(logging.WARNING):
        servers.commit(Changes(put, {WEB: VirtualServer(), DNS: VirtualServer()}))
        servers.commit(Changes(put, {WEB: VirtualServer(), DNS: VirtualServer()}))
    assert (fake.state[WEB], fake.state[DNS]) == (VirtualServer("rr"), VirtualServer("wrr"))
    assert [record.getMessage() for record in caplog.records] == [
        "This kernel lacks a scheduler, using the configured one"
    ]


def test_new_servers_come_with_the_replaced_scheduler() -> None:
    fake, servers = started()
    new = VirtualKey("tcp", "10.96.0.21", 80)
    servers.commit(Changes({new: VirtualServer("mh"), RealKey(new, "10.244.1.5", 1): RealServer()}))
    assert fake.state[new] == VirtualServer("rr")
    assert RealKey(new, "10.244.1.5", 1) in fake.state


def test_the_configured_scheduler_is_not_replaced() -> None:
    with pytest.raises(IpvsError, match="No such file"):
        Servers(FakeIpvs(("wrr",)), "rr").commit(Changes({WEB: VirtualServer("rr")}))
